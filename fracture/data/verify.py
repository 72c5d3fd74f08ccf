"""Check an annotated set, and its split, before any training; tell all faults at once."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fracture.data import duplicates
from fracture.data.exif import frame_of
from fracture.data.files import listed
from fracture.data.images import ImageHeader, read_header
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split
from fracture.errors import InputError

Severity = Literal["error", "warning"]

CODES: Mapping[str, tuple[Severity, str]] = {
    "missing_file": ("error", "the film's file is not there"),
    "unreadable_file": ("error", "the film's file cannot be read"),
    "size_mismatch": ("error", "the annotations are for an image of another size"),
    "exif_frame": ("error", "the size is that before the EXIF rotation that every reader applies"),
    "exif_unclear": ("warning", "an EXIF orientation that keeps the size: look whether the boxes lie right"),
    "box_degenerate": ("error", "a box without area"),
    "box_outside": ("error", "a box reaches out of the image"),
    "box_overhang": ("warning", "a box reaches out of the image by two pixels at most"),
    "box_tiny": ("warning", "a box with a side under two pixels"),
    "box_huge": ("warning", "a box that covers nine tenths of the film"),
    "label_contradiction": ("error", "labeled normal, but with fracture boxes"),
    "label_unlocalized": ("warning", "fractured without all its boxes in a set that has boxes: no map loss there"),
    "label_conflict": ("warning", "annotators or duplicates disagree about this film"),
    "region_unknown": ("warning", "a region that the region tree does not have"),
    "region_missing": ("warning", "no region given: it counts for the region 'any'"),
    "reader_remark": ("warning", "the reader had to decide"),
    "duplicate_exact": ("warning", "the same pixels twice"),
    "duplicate_exact_parts": ("error", "the same pixels in two parts of the split"),
    "duplicate_labels": ("error", "copies of one film with different labels"),
    "duplicate_near_labels": ("warning", "nearly equal films with different labels: look which is right"),
    "duplicate_near": ("warning", "nearly the same film twice"),
    "duplicate_near_groups": ("warning", "nearly the same film in two groups, which a split may part"),
    "duplicate_near_parts": ("error", "nearly the same film in two parts of the split"),
    "group_straddles": ("error", "a group has films in two parts of the split"),
    "groups_absent": ("warning", "every film is its own group: films of one patient may be parted"),
    "class_empty": ("error", "no fractured or no normal films"),
    "class_empty_part": ("error", "a part of the split has no fractured or no normal films"),
    "stratum_empty": ("warning", "a region without fractured or without normal films"),
    "stratum_empty_part": ("warning", "a region of the set lacks fractured or normal films in this part"),
    "split_unknown_film": ("error", "the split names films that the set does not have"),
    "split_left_out": ("warning", "films that are in no part of the split"),
    "split_stale": ("warning", "the split was made for another version of the annotations"),
    "file_unlisted": ("warning", "image files that the annotations do not name"),
}
"""Fault code -> severity and meaning."""

_SLACK = 0.5  # rounding in annotation files, in pixels
_OVERHANG = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding.

    Attributes:
        code: One of :data:`CODES`.
        message: What is wrong, with the numbers.
        films: The films concerned, by ``source``; empty for the whole set.
        part: The part or parts of the split concerned.
    """

    code: str
    message: str
    films: tuple[str, ...] = ()
    part: str | None = None

    @property
    def severity(self) -> Severity:
        """``"error"`` (training would be wrong) or ``"warning"`` (a person should look)."""
        return CODES[self.code][0]


@dataclass(frozen=True)
class VerifyReport:
    """All findings about a set.

    Attributes:
        name: Name of the set.
        faults: The findings, errors first, by code.
        films: Films in the set.
        fractured: Fractured films.
        boxes: Boxes.
        checked: What was looked at (``annotations``, ``files``, ``duplicates``, ``split``).
    """

    name: str
    films: int
    fractured: int
    boxes: int
    faults: tuple[Fault, ...]
    checked: tuple[str, ...] = field(default=())

    @property
    def errors(self) -> tuple[Fault, ...]:
        """Faults that make training wrong."""
        return tuple(fault for fault in self.faults if fault.severity == "error")

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Faults that a person should look at."""
        return tuple(fault for fault in self.faults if fault.severity == "warning")

    @property
    def exit_code(self) -> int:
        """0: no errors (there may be warnings); 1: errors. 2 is left to what cannot be read at all."""
        return 1 if self.errors else 0

    @property
    def counts(self) -> dict[str, int]:
        """Findings per code, in the order of :data:`CODES`."""
        counted = Counter(fault.code for fault in self.faults)
        return {code: counted[code] for code in CODES if counted[code]}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        return {
            **asdict(self),
            "exit_code": self.exit_code,
            "counts": self.counts,
            "faults": [{**asdict(fault), "severity": fault.severity} for fault in self.faults],
        }

    def to_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def to_text(self, *, limit: int = 10) -> str:
        """The report to read: per code its meaning, its count and the first ``limit`` findings."""
        errors, warnings = len(self.errors), len(self.warnings)
        counted = f"{self.films} films, {self.fractured} fractured, {self.boxes} boxes"
        lines = [
            f"{self.name}: {counted}; checked {', '.join(self.checked)}",
            f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}",
        ]
        for code, count in self.counts.items():
            severity, meaning = CODES[code]
            lines += ["", f"{severity.upper()} {code} ({count}): {meaning}"]
            found = [fault for fault in self.faults if fault.code == code]
            lines += [f"  {fault.message}" for fault in found[:limit]]
            if count > limit:
                lines.append(f"  ... and {count - limit} more (see the JSON report)")
        return "\n".join(lines)


@dataclass(slots=True)
class _Seen:
    """What reading the films found."""

    headers: list[ImageHeader | None]
    prints: list[duplicates.Fingerprint | None]
    faults: list[Fault]


def verify_set(
    annotated: AnnotatedSet,
    split: Split | None = None,
    *,
    files: bool = True,
    near: bool = True,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check a set, and a split of it, and list every fault.

    Args:
        annotated: The set.
        split: Its split, if there is one.
        files: Whether every film is read (existence, damage, size, EXIF, exact duplicates). Without it only
            the annotations are checked, which takes no time.
        near: Whether near duplicates are searched (needs ``files``).
        workers: Threads that read; default the number of cores, 8 at most.
        progress: Called with (films read, films in all).

    Returns:
        The report; nothing is raised for faults of the data.
    """
    faults: list[Fault] = [
        Fault("reader_remark", f"{s}: {text}" if s else text, (s,) * bool(s)) for s, text in annotated.remarks
    ]
    checked = ["annotations"]
    faults += _annotations(annotated)
    if files:
        checked.append("files")
        seen = _read_all(annotated, workers or min(8, os.cpu_count() or 1), progress)
        faults += seen.faults
        for film, header in zip(annotated, seen.headers, strict=True):
            if header is not None:
                faults += _frame(film, header)
        faults += _unlisted(annotated)
        checked.append("duplicates" if near else "exact duplicates")
        faults += _duplicates(annotated, split, seen.prints, near=near)
    if split is not None:
        checked.append("split")
        faults += _split(annotated, split)
    order = list(CODES)
    faults.sort(key=lambda fault: (fault.severity != "error", order.index(fault.code)))
    return VerifyReport(
        name=annotated.name,
        films=len(annotated),
        fractured=annotated.positives,
        boxes=sum(len(film.boxes) for film in annotated),
        faults=tuple(faults),
        checked=tuple(checked),
    )


def _annotations(annotated: AnnotatedSet) -> list[Fault]:
    """What the annotations alone tell."""
    from fracture import regions

    found: list[Fault] = []
    outlined = any(film.boxes for film in annotated)
    known = set(regions.DEFAULT_TREE.names)
    unknown: Counter[str] = Counter()
    unnamed = 0
    for film in annotated:
        found += [fault for box in (*film.boxes, *film.crowd) for fault in _box(film, box)]
        if (film.boxes or film.crowd) and not film.fractured:
            found.append(
                Fault(
                    "label_contradiction",
                    f"{film.source}: {len(film.boxes) + len(film.crowd)} boxes on a normal film",
                    (film.source,),
                )
            )
        if outlined and film.fractured and not (film.boxes and film.localized):
            lacks = "not all boxes" if film.boxes else "no box"
            found.append(Fault("label_unlocalized", f"{film.source}: fractured, {lacks}", (film.source,)))
        if film.label_conflict:
            found.append(Fault("label_conflict", f"{film.source}: marked as disputed", (film.source,)))
        unknown.update(region for region in film.regions if region not in known)
        unnamed += not film.regions
    found += [Fault("region_unknown", f"{r}: {n} films", ()) for r, n in sorted(unknown.items())]
    if unnamed:
        found.append(Fault("region_missing", f"{unnamed} of {len(annotated)} films"))
    if len(annotated) > 1 and len({film.group for film in annotated}) == len(annotated):
        found.append(Fault("groups_absent", f"{len(annotated)} films, {len(annotated)} groups"))
    found += _classes(annotated, None, annotated.regions)
    return found


def _box(film: Film, box: tuple[float, float, float, float]) -> list[Fault]:
    x0, y0, x1, y1 = box
    text = f"{film.source}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not (x1 > x0 and y1 > y0):
        return [Fault("box_degenerate", text, (film.source,))]
    found = []
    if film.width and film.height:
        out = max(-x0, -y0, x1 - film.width, y1 - film.height)
        if out > _SLACK:
            code = "box_overhang" if out <= _OVERHANG else "box_outside"
            image = f"{film.width} x {film.height}"
            found.append(Fault(code, f"{text} on an image of {image}, {out:.1f} px over", (film.source,)))
        if (x1 - x0) * (y1 - y0) > 0.9 * film.width * film.height:
            found.append(Fault("box_huge", text, (film.source,)))
    if min(x1 - x0, y1 - y0) < _OVERHANG:
        found.append(Fault("box_tiny", text, (film.source,)))
    return found


def _classes(films: Iterable[Film], part: str | None, regions: Iterable[str]) -> list[Fault]:
    """Labels, and regions x labels, without a film."""
    strata: Counter[tuple[str, int]] = Counter()
    labels: Counter[int] = Counter()
    for film in films:
        labels[film.fractured] += 1
        strata.update(film.strata)
    suffix, where = ("_part", f"part {part}: ") if part else ("", "")
    names = {1: "fractured", 0: "normal"}
    found = [
        Fault(f"class_empty{suffix}", f"{where}no {names[label]} films", (), part)
        for label in (1, 0)
        if not labels[label]
    ]
    found += [
        Fault(f"stratum_empty{suffix}", f"{where}no {names[label]} films of {region}", (), part)
        for region in regions
        for label in (1, 0)
        if labels[label] and not strata[region, label]
    ]
    return found


def _read_all(annotated: AnnotatedSet, workers: int, progress: Callable[[int, int], None] | None) -> _Seen:
    """Read every film once: header, hash, thumbnail."""
    seen = _Seen([], [], [])
    with ThreadPoolExecutor(max_workers=workers) as pool:
        results = pool.map(lambda film: _read_one(annotated.image_path(film), film), annotated)
        for done, (header, item, fault) in enumerate(results, start=1):
            seen.headers.append(header)
            seen.prints.append(item)
            if fault is not None:
                seen.faults.append(fault)
            if progress is not None:
                progress(done, len(annotated))
    return seen


def _read_one(path: Path, film: Film) -> tuple[ImageHeader | None, duplicates.Fingerprint | None, Fault | None]:
    if not path.is_file():
        return None, None, Fault("missing_file", f"{film.source}: no such file", (film.source,))
    try:
        header = read_header(path)
        return header, duplicates.fingerprint(_pixels(path)), None
    except InputError as error:
        return None, None, Fault("unreadable_file", f"{film.source}: {error.what}", (film.source,))


def _pixels(path: Path) -> NDArray[np.float32]:
    from fracture.io.reading import read

    return read(path).pixels


def _frame(film: Film, header: ImageHeader) -> list[Fault]:
    """Does the annotation's size fit the film as it is read?"""
    stated, stored = (film.width, film.height), (header.stored_width, header.stored_height)
    turned = f"EXIF orientation {header.orientation}"
    if stated == (0, 0):
        return []
    if stated != header.size:
        code = "exif_frame" if stated == stored else "size_mismatch"
        message = (
            f"{film.source}: annotated as {stated[0]} x {stated[1]}, "
            f"the file is read as {header.size[0]} x {header.size[1]}"
        )
        if header.orientation != 1:
            message += f" ({turned})"
        if code == "exif_frame":
            frame = frame_of(film, header)
            message += f"; its boxes fit {f'the frame as {frame} only' if frame else 'both frames, or neither'}"
        return [Fault(code, message, (film.source,))]
    unclear = header.orientation != 1 and stored == header.size and film.boxes
    return [Fault("exif_unclear", f"{film.source}: {turned}", (film.source,))] if unclear else []


def _unlisted(annotated: AnnotatedSet) -> list[Fault]:
    """Image files beside the annotated ones that nobody annotated."""
    from fracture.data.images import IMAGE_SUFFIXES

    known = {annotated.image_path(film).resolve() for film in annotated}
    unlisted = sorted(
        path.name
        for folder in sorted({path.parent for path in known})
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.resolve() not in known
    )
    if not unlisted:
        return []
    return [Fault("file_unlisted", f"{len(unlisted)} files: {listed(unlisted)}")]


def _duplicates(
    annotated: AnnotatedSet,
    split: Split | None,
    prints: list[duplicates.Fingerprint | None],
    *,
    near: bool,
) -> list[Fault]:
    parts = split.part_of() if split else {}
    found: list[Fault] = []

    def report(code: str, indices: tuple[int, ...], detail: str) -> None:
        films = [annotated[i] for i in indices]
        names = tuple(film.source for film in films)
        where = sorted({parts[name] for name in names if name in parts})
        text = f"{' = '.join(names)}{detail}"
        if len({film.fractured for film in films}) > 1:
            labels = "duplicate_labels" if code == "duplicate_exact" else "duplicate_near_labels"
            found.append(Fault(labels, f"{text}: one is labeled fractured, one normal", names))
        if len(where) > 1:
            found.append(Fault(f"{code}_parts", f"{text}: in {' and '.join(where)}", names, "+".join(where)))
        elif code == "duplicate_near" and len({film.group for film in films}) > 1:
            groups = ", ".join(film.group for film in films)
            found.append(Fault("duplicate_near_groups", f"{text}: groups {groups}", names))
        else:
            found.append(Fault(code, text, names))

    for indices in duplicates.exact_groups(prints):
        report("duplicate_exact", indices, "")
    if near:
        pairs = duplicates.near_pairs(prints, lambda index: _pixels(annotated.image_path(annotated[index])))
        for pair in pairs:
            turn = f", {90 * (pair.orientation % 4)} degrees" if pair.orientation % 4 else ""
            turn += ", mirrored" if pair.orientation >= 4 else ""
            report("duplicate_near", (pair.first, pair.second), f" ({pair.similarity:.2f}{turn})")
    return found


def _split(annotated: AnnotatedSet, split: Split) -> list[Fault]:
    parts = split.part_of()
    found: list[Fault] = []
    gone = sorted(source for source in parts if source not in annotated)
    if gone:
        found.append(Fault("split_unknown_film", f"{len(gone)} films: {listed(gone)}", tuple(gone)))
    left = tuple(film.source for film in annotated if film.source not in parts)
    if left:
        found.append(Fault("split_left_out", f"{len(left)} films: {listed(left)}", left))
    if split.fingerprint != annotated.fingerprint():
        found.append(Fault("split_stale", "its fingerprint differs from the set's"))
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for film in annotated:
        if film.source in parts:
            groups[film.group][parts[film.source]].append(film.source)
    for group, members in groups.items():
        if len(members) > 1:
            counted = ", ".join(f"{len(sources)} films in {part}" for part, sources in members.items())
            films = tuple(source for sources in members.values() for source in sources)
            found.append(Fault("group_straddles", f"group {group}: {counted}", films, "+".join(sorted(members))))
    for part in split.parts:
        films_of = [film for film in annotated if parts.get(film.source) == part]
        found += _classes(films_of, part, annotated.regions)
    return found
