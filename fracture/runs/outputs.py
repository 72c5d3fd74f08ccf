"""Where a run may write: never over an input, nor over a file that is not the library's own."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fracture.errors import ConfigurationError
from fracture.io.marks import is_own_picture, is_results, shows_other, subject_of
from fracture.regular import identity_of
from fracture.runs.journal import is_record, record_files
from fracture.runs.kinds import read_head

_LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a run writes, and what may be there already.

    Attributes:
        json_file: JSON lines; to stdout where None.
        overlay: Folder for pictures, or None.
        report: Folder for a gallery and tables, or None.
        dicom: Folder for DICOM objects, or None.
        resume: Go on with the run that wrote ``json_file``.
        overwrite: Replace results of an earlier run.
        dry_run: List the films, and write nothing.
        kind: What overlays show, as :func:`fracture.io.marks.subject_of` takes it.
    """

    json_file: Path | None = None
    overlay: Path | None = None
    report: Path | None = None
    dicom: Path | None = None
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    kind: str = "film"

    @property
    def drawn(self) -> bool:
        """Whether anything is written that needs the films' pixels."""
        return any(out is not None for out in (self.overlay, self.report, self.dicom))

    @property
    def regular(self) -> Path | None:
        """``json_file`` where it is, or will be, a regular file; None for stdout, devices and pipes."""
        path = self.json_file
        return None if path is None or (path.exists() and not path.is_file() and not path.is_dir()) else path


@dataclass(frozen=True, slots=True)
class Protected:
    """Files that must stay as they are, known by name and by what they are on the disk (links)."""

    names: frozenset[str]
    identities: frozenset[tuple[int, int]] = field(default=frozenset())

    @classmethod
    def of(cls, paths: Iterable[str | os.PathLike[str]]) -> Protected:
        """Of some paths, which need not exist."""
        names = [os.path.abspath(path) for path in paths]  # noqa: PTH100
        return cls(frozenset(names), frozenset(one for name in names if (one := identity_of(name)) is not None))

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path is one of them, by its own name or by another."""
        return os.path.abspath(path) in self.names or identity_of(path) in self.identities  # noqa: PTH100


def check_output(
    path: str | os.PathLike[str], inputs: Protected, *, option: str, own: Callable[[bytes], bool] | None = None
) -> bytes:
    """Refuse to write over an input or over a file of somebody else; called before anything is written.

    Args:
        path: A file that will be written.
        inputs: Files that are read.
        option: How the user chose it (``--json``).
        own: Whether a file that begins so is the library's own and may be replaced; an empty file always may. None:
            any file but an input.

    Returns:
        How the file that may be replaced begins; empty where there is none, or ``own`` is None.

    Raises:
        ConfigurationError: It is an input, or it exists and is not our own.
    """
    if inputs.holds(path):
        raise ConfigurationError(
            f"{option} would replace an input",
            got=os.fspath(path),
            hint=f"give another {option}; nothing was written",
        )
    if own is None or not os.path.isfile(path):  # noqa: PTH113
        return b""
    try:
        head = read_head(os.fspath(path))
    except OSError as error:
        raise ConfigurationError(
            f"{option}: a file is there that cannot be opened", got=f"{os.fspath(path)} ({error.strerror})"
        ) from error
    if head and not own(head):
        raise ConfigurationError(
            f"{option} would replace a file that this command did not write",
            got=os.fspath(path),
            hint=f"choose another {option}, or move that file away; nothing was written",
        )
    return head


def check_folder(
    folder: Path, names: Sequence[str], inputs: Protected, *, option: str, own: Callable[[bytes], bool]
) -> None:
    """``check_output`` for a report of several files.

    Args:
        folder: Where they will be written; need not exist.
        names: Of the files; the first one tells by ``own`` whether an earlier report of ours lies there, which may be
            replaced.
        inputs, option, own: As for ``check_output``.

    Raises:
        ConfigurationError: As ``check_output``, or there are other files of these names and no report of ours.
    """
    for name in names:
        check_output(folder / name, inputs, option=option)
    check_output(folder / names[0], inputs, option=option, own=own)
    if (folder / names[0]).exists():
        return
    for name in names[1:]:
        check_output(folder / name, inputs, option=option, own=lambda _: False)


def check_outputs(
    outputs: Outputs, films: Iterable[str], overlays: Mapping[str, str], beside: Iterable[Path] = ()
) -> None:
    """``check_output`` for all that a run will write, and contradictory options.

    Args:
        outputs: What is asked for.
        films: Paths of films.
        overlays: Film to path, as :func:`overlay_paths` gives them.
        beside: Other files that the run will write, of a report.

    Raises:
        ConfigurationError: As ``check_output``; a folder for a file, or options that exclude each other.
    """
    if outputs.resume and outputs.regular is None:
        raise ConfigurationError("--resume continues a file of results", hint="give --json OUT.jsonl, a plain file")
    if outputs.resume and outputs.overwrite:
        raise ConfigurationError("--resume keeps the earlier results, --overwrite drops them", hint="give one")
    inputs = Protected.of(films)
    if outputs.json_file is not None:
        if outputs.json_file.is_dir():
            raise ConfigurationError("--json is a folder", got=outputs.json_file, hint="give a file's name")
        check_output(outputs.json_file, inputs, option="--json", own=is_results)
        record, lock = record_files(outputs.json_file)
        check_output(record, inputs, option="--json", own=None if outputs.resume else is_record)
        check_output(lock, inputs, option="--json")
        for what, paths in (("an overlay", overlays.values()), ("a file of the report", beside)):
            if os.path.abspath(outputs.json_file) in {os.path.abspath(path) for path in paths}:  # noqa: PTH100
                raise ConfigurationError(f"--json and {what} are the same file", got=outputs.json_file)
    if outputs.overlay is not None and outputs.overlay.exists() and not outputs.overlay.is_dir():
        raise ConfigurationError("--overlay is a file", got=outputs.overlay, hint="give a folder")
    for film, path in overlays.items():
        head = check_output(path, inputs, option="--overlay", own=is_own_picture)
        if shows_other(head, subject_of(outputs.kind, film)) and not outputs.overwrite:
            raise ConfigurationError(
                "--overlay holds the picture of another film, or another command's",
                got=path,
                hint="choose another --overlay, or --overwrite to replace it; nothing was written",
            )


def overlay_paths(
    folder: Path, films: Iterable[str], root: str, *, rename: Callable[[str], str] = lambda name: f"{name}.png"
) -> dict[str, str]:
    """Where each film's overlay goes: the films' own folders below ``folder``, each name with ``.png`` added.

    Args:
        folder: For all overlays.
        films: Paths of films.
        rename: From the name of a film to that of what is written.
        root: The folder that the films' folders are mirrored from; see :class:`fracture.runs.inputs.Inputs`.

    Returns:
        Film to path. A film's overlay is the same whatever other films there are and in whatever order; but where two
        paths differ by letter case alone, which some file systems do not tell apart, a hash tells them apart.
    """
    places = {}
    for film in films:
        place = os.path.abspath(film)  # noqa: PTH100
        below = os.path.relpath(place, root) if root else os.pardir
        if Path(below).parts[:1] == (os.pardir,):  # outside: mirrored from the drive's root, never above `folder`
            below = os.path.splitdrive(place)[1].lstrip(os.sep)
        places[film] = below
    alike = Counter(_renamed(below, rename).casefold() for below in set(places.values()))
    made = {}
    for film, below in places.items():
        parent, name = os.path.split(below)
        if len(os.fsencode(rename(name))) > _LONGEST or alike[_renamed(below, rename).casefold()] > 1:
            name = name[:40] + "-" + hashlib.sha256(os.fsencode(below)).hexdigest()[:16]
        made[film] = os.path.join(folder, parent, rename(name))  # noqa: PTH118
    return made


def _renamed(below: str, rename: Callable[[str], str]) -> str:
    parent, name = os.path.split(below)
    return os.path.join(parent, rename(name))  # noqa: PTH118
