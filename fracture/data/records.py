"""An annotated film and a set of them: what every reader returns and what training and evaluation take."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from fracture.errors import DataError

Point: TypeAlias = tuple[float, float]
"""(x, y) in source pixels, continuous pixel-edge convention."""

Box: TypeAlias = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in source pixels; pixel (row i, column j) covers [j, j+1) x [i, i+1)."""

Ring: TypeAlias = tuple[Point, ...]
"""A closed polygon without its repeated last point."""

ANY_REGION = "any"


@dataclass(frozen=True, slots=True)
class Film:
    """One annotated radiograph, as its annotation file describes it (no pixel is read here).

    Attributes:
        source: Path below the set's root with forward slashes; the film's identity within the set.
        width: Columns of the image that the annotations refer to; 0 where the reader could not find out.
        height: Rows of that image; 0 where unknown.
        fractured: 1 where the film shows a fracture, else 0.
        regions: Anatomical regions by name; several are possible, empty where unknown.
        views: Any of ``"frontal"``, ``"lateral"``, ``"oblique"``; a film may hold several exposures.
        boxes: Fractures as (x0, y0, x1, y1) in source pixels.
        polygons: Either empty or as long as ``boxes``: the rings that outline each box's fracture (an empty
            tuple for a box that has none).
        localized: Whether ``boxes`` is complete. False for a fractured film whose fractures nobody outlined
            (a set with image-level labels only): it trains the score and not the map.
        group: Films that must stay in one part of a split (a patient, or what comes nearest to it).
        hardware: Whether plates, nails, screws or wires are seen; None where nobody said.
        site: Where the film was taken; None where unknown.
        label_conflict: Whether annotators or duplicate copies disagreed about this film.
        extra: Whatever else the annotation file says (``age``, ``sex``, ``laterality``, ``patient``, ...).
        crowd: Regions with fractures that nobody told apart (COCO's ``iscrowd``), boxes in source pixels. They make a
            film fractured and not ``localized``; average precision treats them as pycocotools does.
        id: The film's id in its file as text; empty without.
    """

    source: str
    width: int
    height: int
    fractured: int
    regions: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    polygons: tuple[tuple[Ring, ...], ...] = ()
    localized: bool = True
    group: str = ""
    hardware: bool | None = None
    site: str | None = None
    label_conflict: bool = False
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    crowd: tuple[Box, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        if self.fractured not in (0, 1):
            raise DataError(f"{self.source}: the label of a film", got=self.fractured, allowed=(0, 1))
        if self.polygons and len(self.polygons) != len(self.boxes):
            raise DataError(
                f"{self.source}: polygons and boxes do not match",
                got=f"{len(self.polygons)} polygons for {len(self.boxes)} boxes",
                allowed="one tuple of rings per box, or no polygons at all",
            )
        if not self.group:
            object.__setattr__(self, "group", self.source)

    @property
    def view(self) -> str | None:
        """The film's view, or None where it is unknown or the film holds several."""
        return self.views[0] if len(self.views) == 1 else None

    def moved(self, to: Callable[[Point], Point], size: tuple[int, int]) -> Film:
        """The film in another frame.

        Args:
            to: Where a point of this frame lies in the other. Boxes stay upright: their corners are moved.
            size: (width, height) of the other frame.
        """

        def box(old: Box) -> Box:
            (ax, ay), (bx, by) = to(old[:2]), to(old[2:])
            return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

        return replace(
            self,
            width=size[0],
            height=size[1],
            boxes=tuple(map(box, self.boxes)),
            crowd=tuple(map(box, self.crowd)),
            polygons=tuple(tuple(tuple(map(to, ring)) for ring in rings) for rings in self.polygons),
        )

    @property
    def strata(self) -> tuple[tuple[str, int], ...]:
        """The (region, fractured) combinations that the film counts for; region ``"any"`` where unknown."""
        return tuple((region, self.fractured) for region in (self.regions or (ANY_REGION,)))


@dataclass(frozen=True)
class AnnotatedSet:
    """Films with annotations, below one folder.

    Iterating gives films; ``set[i]`` is the i-th. Films keep the order of the annotation file.

    Attributes:
        films: The films; their ``source`` is unique.
        name: A short name, used in reports and split files.
        root: The folder that the films' ``source`` is relative to.
        license: The license text of the set as its file gives it; empty where it says nothing.
        attribution: Title, authors or DOI to quote, as the file gives it; empty where it says nothing.
        format: The reader that read it.
        remarks: (source, finding) of the reader about things it had to decide, with an empty source for the whole set;
            ``verify`` reports them.
        group_field: The field that groups come from; ``"name"`` for augmented copies, empty where every film is a group
            of its own.
        categories: Category id -> whether it counts as a fracture, as the file lists them; empty where it does not.

    Raises:
        DataError: Two films have the same ``source``.
    """

    films: tuple[Film, ...]
    name: str
    root: Path
    license: str = ""
    attribution: str = ""
    format: str = ""
    remarks: tuple[tuple[str, str], ...] = ()
    group_field: str = ""
    categories: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self._index) != len(self.films):
            seen: set[str] = set()
            double = sorted({f.source for f in self.films if f.source in seen or seen.add(f.source)})  # type: ignore[func-returns-value]
            raise DataError(
                f"{self.name}: {len(double)} films are listed more than once",
                got=", ".join(double[:5]) + (" ..." if len(double) > 5 else ""),
                hint="list every film once, with all its boxes",
            )

    @cached_property
    def _index(self) -> dict[str, int]:
        return {film.source: i for i, film in enumerate(self.films)}

    def __len__(self) -> int:
        return len(self.films)

    def __iter__(self) -> Iterator[Film]:
        return iter(self.films)

    def __getitem__(self, index: int) -> Film:
        return self.films[index]

    def __contains__(self, source: object) -> bool:
        return source in self._index

    def film(self, source: str) -> Film:
        """The film of that ``source``.

        Raises:
            DataError: The set has no such film.
        """
        try:
            return self.films[self._index[source]]
        except KeyError:
            raise DataError(f"{self.name}: no film of that name", got=source, hint="see AnnotatedSet.films") from None

    def image_path(self, film: Film) -> Path:
        """Where the film's image file lies."""
        return self.root / film.source

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """All regions that occur, sorted by name."""
        return tuple(sorted({region for film in self.films for region in film.regions}))

    @cached_property
    def positives(self) -> int:
        """Films with a fracture."""
        return sum(film.fractured for film in self.films)

    def select(self, keep: Callable[[Film], bool], *, name: str | None = None) -> AnnotatedSet:
        """The films for which ``keep(film)`` is true, in the same order.

        Args:
            keep: Says of each film whether it stays.
            name: Of the new set; the old one's where left out.
        """
        return replace(self, films=tuple(f for f in self.films if keep(f)), name=name or self.name)

    def subset(self, sources: Iterable[str], *, name: str | None = None) -> AnnotatedSet:
        """The films of these names, in the order of the names.

        Args:
            sources: Names of films, as ``Film.source`` has them.
            name: Of the new set; the old one's where left out.

        Raises:
            DataError: The set lacks one of them (all that are missing are counted, the first five named).
        """
        wanted = list(sources)
        missing = [source for source in wanted if source not in self._index]
        if missing:
            raise DataError(
                f"{self.name}: {len(missing)} of {len(wanted)} films are not in the set",
                got=", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
                hint="the split was made for another version of the set; make it again",
            )
        return replace(self, films=tuple(self.films[self._index[source]] for source in wanted), name=name or self.name)

    def fingerprint(self) -> str:
        """SHA-256 over the films' names, labels, regions, boxes and groups: changes when the set changes."""
        rows = sorted(
            [f.source, f.width, f.height, f.fractured, f.group, list(f.regions), [list(b) for b in f.boxes]]
            + [[list(b) for b in f.crowd]] * bool(f.crowd)
            for f in self.films
        )
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()

    @staticmethod
    def merge(sets: Iterable[AnnotatedSet], *, name: str) -> AnnotatedSet:
        """Several sets as one; groups get their set's name in front, so that equal numbers do not meet.

        Raises:
            DataError: No sets, two sets of one name, or one film in two sets.
        """
        parts = list(sets)
        if not parts or len({part.name for part in parts}) != len(parts):
            raise DataError("sets to merge need names of their own", got=", ".join(p.name for p in parts) or "nothing")
        root = Path(os.path.commonpath([part.root.resolve() for part in parts]))
        films = tuple(
            replace(
                film,
                source=(part.root.resolve() / film.source).relative_to(root).as_posix(),
                group=f"{part.name}/{film.group}",
                id="",  # two files may give one id
            )
            for part in parts
            for film in part.films
        )
        return AnnotatedSet(
            films=films,
            name=name,
            root=root,
            license="\n".join(dict.fromkeys(part.license for part in parts if part.license)),
            attribution="\n".join(dict.fromkeys(part.attribution for part in parts if part.attribution)),
            format="+".join(dict.fromkeys(part.format for part in parts)),
            remarks=tuple(
                ((part.root.resolve() / source).relative_to(root).as_posix(), text)
                if source
                else ("", f"{part.name}: {text}")
                for part in parts
                for source, text in part.remarks
            ),
            group_field="+".join(dict.fromkeys(part.group_field for part in parts if part.group_field)),
        )
