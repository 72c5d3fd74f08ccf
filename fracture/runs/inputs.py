"""From the paths of a request to the films that are read, and to what is left out and why."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fracture.errors import ConfigurationError
from fracture.regular import identity_of
from fracture.runs.kinds import ARCHIVES, FILM, kind_of

_EXAMPLES = 3  # names given for each kind that is left out


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a request names.

    Attributes:
        films: Paths to read, in order.
        left_out: Other paths in the folders or patterns, and what each is.
        root: Absolute; the deepest folder that holds all that was asked for and exists, whatever films it has. ``""``
            where there is none (two drives).
        studies: Films by study, by what results call it, where those of a study are judged together.
    """

    films: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    root: str
    studies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What results are called: the films, or their studies."""
        return tuple(self.studies) or self.films

    def films_of(self, name: str) -> tuple[str, ...]:
        """The films that one result is about."""
        return self.studies.get(name, (name,))

    @property
    def counts(self) -> dict[str, int]:
        """How many were left out, by kind, the most frequent first."""
        return dict(Counter(kind for _, kind in self.left_out).most_common())

    def told(self) -> str:
        """What was left out, in one line; empty where nothing was."""
        if not self.left_out:
            return ""
        parts = []
        for kind, count in self.counts.items():
            names = [os.path.basename(path) for path, what in self.left_out if what == kind]  # noqa: PTH119
            parts.append(f"{kind}: {count} ({', '.join(names[:_EXAMPLES])}{', ...' if count > _EXAMPLES else ''})")
        hint = "; unpack archives to have films in them read" if ARCHIVES & self.counts.keys() else ""
        return f"{len(self.left_out)} left out; {'; '.join(parts)}{hint}"

    def named(self, source: str) -> str:
        """The film that a line of a file means: by its path, else by its name where but one film bears it.

        Raises:
            ConfigurationError: None, or several.
        """
        if source in self.films:
            return source
        found = [film for film in self.films if Path(film).name == Path(source).name]
        if len(found) != 1:
            raise ConfigurationError(
                "the film of this line is not among the films" if not found else "several films bear this name",
                got=source,
                hint="give its path, as the films are named here",
            )
        return found[0]


def collect(paths: Sequence[str]) -> Inputs:
    """The films at some paths: a file as it is, the films in a folder sorted by name, a pattern's matches sorted.

    In folders and patterns the content decides what is a film (:mod:`fracture.runs.kinds`). A path that is named is
    always kept, even if it is no film or does not exist: it becomes a failure of that one input. Hidden files and
    folders are left out. Links to folders are followed, each folder once.

    Raises:
        ConfigurationError: A folder without films, or a pattern that matches none.
    """
    films: list[str] = []
    left_out: list[tuple[str, str]] = []
    roots: list[str] = []
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112
            roots.append(path)
            found = _walk(path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            roots.append(os.path.dirname(re.split(r"[*?[]", path, maxsplit=1)[0]) or os.curdir)  # noqa: PTH120
            # pathlib has no glob that keeps a relative pattern as it was typed.
            found = _sorted([pair for match in glob.glob(path, recursive=True) for pair in _at(match)])  # noqa: PTH207
        else:
            if os.path.lexists(path):
                roots.append(os.path.dirname(path) or os.curdir)  # noqa: PTH120
            films.append(path)
            continue
        here = [name for name, kind in found if kind == FILM]
        others = [pair for pair in found if pair[1] != FILM]
        if not here:
            told = Inputs((), tuple(others), "").told()
            raise ConfigurationError(
                "no radiographs found at a path",
                got=f"{path} ({told})" if told else path,
                hint="pass files, folders that hold films, or a pattern in quotes",
            )
        films += here
        left_out += others
    return Inputs(tuple(films), tuple(left_out), _common(roots))


def _at(path: str) -> list[tuple[str, str]]:
    return _walk(path) if os.path.isdir(path) else [(path, kind_of(path))]  # noqa: PTH112


def _sorted(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(dict(found).items())


def _walk(folder: str) -> list[tuple[str, str]]:
    """Everything below a folder with its kind, sorted by path; folders themselves are not listed, but told of where
    they are not gone into. Links to folders wait until all real ones are done, so that a film has its real name."""
    found: list[tuple[str, str]] = []
    root = str(Path(folder))
    real, linked = deque([root]), deque[str]()
    seen = {identity_of(str(parent)) for parent in Path(os.path.realpath(root)).parents}
    while real or linked:
        here = real.popleft() if real else linked.popleft()
        identity = identity_of(here)
        if identity in seen:
            found.append((here, "link to a folder that is read already or holds this one"))
            continue
        seen.add(identity)
        try:
            with os.scandir(here) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError:
            found.append((here, "folder that cannot be opened"))
            continue
        for entry in entries:
            path = entry.name if here == os.curdir else entry.path
            if entry.name.startswith("."):
                found.append((path, "hidden"))
            elif os.path.isdir(path):  # noqa: PTH112 (an entry's own is_dir raises on links in a circle)
                (linked if entry.is_symlink() else real).append(path)
            else:
                found.append((path, kind_of(path)))
    return _sorted(found)


def _common(roots: Sequence[str]) -> str:
    try:
        return os.path.commonpath([os.path.abspath(root) for root in roots])  # noqa: PTH100
    except ValueError:
        return ""
