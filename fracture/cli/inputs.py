"""From the paths on a command line to a list of files."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from fracture.errors import ConfigurationError

__all__ = ["expand"]

# Suffixes that a folder is searched for; a file named on the command line may have any name or none.
_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gz", ""})


def expand(paths: Iterable[str]) -> list[str]:
    """Files for the paths, in order: a file as it is, a folder's films sorted by name, a pattern's matches sorted.

    A path that does not exist is kept: it becomes a failure of that one input. Hidden files are left out of folders.

    Raises:
        ConfigurationError: A folder without films, or a pattern that matches nothing.
    """
    files: list[str] = []
    for path in paths:
        if Path(path).is_dir():
            found = _folder(Path(path))
        elif glob.has_magic(path) and not Path(path).exists():
            # pathlib has no glob that keeps a relative pattern as it was typed.
            found = sorted(p for p in glob.glob(path, recursive=True) if Path(p).is_file())  # noqa: PTH207
        else:
            files.append(path)
            continue
        if not found:
            raise ConfigurationError(
                "no radiographs at a path", got=path, hint="pass files, folders that hold films, or a pattern in quotes"
            )
        files.extend(found)
    return files


def _folder(folder: Path) -> list[str]:
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (path.suffix or path.name != "DICOMDIR")
    )
