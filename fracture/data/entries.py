"""One way from what an annotation file lists to films: each rule about labels, groups and categories stands here once.

A format's reader only parses: it gives a :class:`Listing` of :class:`Entry` (a film and its fields) and :class:`Mark`
(one annotation on it). :func:`film_set` makes the :class:`~fracture.data.records.AnnotatedSet` that training,
calibration, evaluation and the hips use.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from fracture.data.files import MAX_SIDE, Problems, as_number, first_of, listed, plain_name
from fracture.data.images import read_header
from fracture.data.records import AnnotatedSet, Box, Film, Ring
from fracture.data.views import collapse_views
from fracture.data.words import as_flag, as_label, is_unknown, says_fracture, stem_of_copies
from fracture.errors import ConfigurationError, DataError, UnreadableFileError

NAMES = ("image", "file_name", "filename", "source", "path", "name", "id", "image_id")
"""Columns that name a film, the first one present."""
LABELS = ("fractured", "label", "fracture", "y_true")
"""Fields of the film's label."""
GROUP_FIELDS = ("group", "patient", "patient_id", "study", "study_id")
"""Fields that films are grouped by, the first one present unless the caller names another."""
INDICATORS = ("callus", "displacement", "angulation", "comminution", "lucent_line")
"""Clinical indicators of a fracture, Jones et al. 2020; a film has one where any of its fractures has it."""

_REGIONS, _VIEWS = ("regions", "region"), ("views", "view", "projection")
_HARDWARE, _SITE = ("hardware", "metal"), ("site", "institution")
_CONFLICT, _COMPLETE = ("label_conflict", "disagreement"), "boxes_available"
_FILM = ("id", "file_name", "path", "width", "height", "group", "fractured", _COMPLETE)
_CONSUMED = frozenset((*_FILM, *_REGIONS, *_VIEWS, *_HARDWARE, *_SITE, *_CONFLICT))


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation: its category (None where the file has none), its box (None: of the film as a whole), its rings,
    whether it is a crowd region (fractures that nobody told apart), and what else the file says of it.
    """

    category: str | None
    box: Box | None
    rings: tuple[Ring, ...] = ()
    crowd: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One film as listed: its name below the root, its fields, its marks, and its (width, height), (0, 0) if unsaid."""

    source: str
    fields: Mapping[str, Any]
    marks: list[Mark]
    size: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Listing:
    """What a file lists.

    Attributes:
        file: The file or folder, for messages.
        root: The folder that sources are relative to.
        format: Name of the format.
        entries: The films.
        problems: Faults found so far.
        categories: Category id -> name, as the file lists them.
        name, license, attribution, region_prefix: Of the set; what options may replace.
        boxed: Whether a film without a label and without a mark is normal (the marks are complete by the format).
        remarks: (source, finding); the source is empty for the whole set.
    """

    file: Path
    root: Path
    format: str
    entries: list[Entry]
    problems: Problems
    categories: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    license: str = ""
    attribution: str = ""
    region_prefix: str = ""
    boxed: bool = True
    remarks: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """What a caller may say about a set; every format takes them, as text from ``-o name=value`` too.

    Attributes:
        images: Folder of the films; by default where the format keeps them.
        region: The region of all films, in place of what the file says.
        region_prefix: Put before region names that ``region_map`` does not have.
        region_map: Region names of the file to ours; as text ``leg=tibia,hand=wrist``.
        fracture_classes: The categories that are fractures; ``fracture_categories`` is another name of it.
        group_field: The field or column that films are grouped by.
        group_pattern: Regular expression on the film's path; its first group (or the whole match) names the group.
        name: Name of the set.
        group_run: FracAtlas: consecutive file numbers per group.
        skip_missing: GRAZPEDWRI-DX: leave out films that are not there (a part of the archive only).
    """

    images: Path | None = None
    region: str | None = None
    region_prefix: str | None = None
    region_map: Mapping[str, str] = field(default_factory=dict)
    fracture_classes: tuple[str, ...] | None = None
    group_field: str | None = None
    group_pattern: str | None = None
    name: str | None = None
    group_run: int = 20
    skip_missing: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], *, what: str = "reader") -> Options:
        """Options from names and values.

        Raises:
            ConfigurationError: An unknown name, or a value of the wrong kind.
        """
        named = {"fracture_classes" if k == "fracture_categories" else k: v for k, v in given.items() if v is not None}
        allowed = [item.name for item in fields(cls)]
        unknown = [key for key in named if key not in allowed]
        if unknown:
            raise ConfigurationError(f"options of the {what} reader", got=", ".join(unknown), allowed=allowed)
        try:
            return cls(**{key: _OPTION.get(key, str)(value) for key, value in named.items()})
        except (TypeError, ValueError, re.error) as error:
            raise ConfigurationError(f"options of the {what} reader", got=f"{dict(given)} ({error})") from None

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """``group_pattern``, compiled."""
        return re.compile(self.group_pattern) if self.group_pattern else None


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _mapping(value: str | Mapping[str, str]) -> dict[str, str]:
    pairs = [part.partition("=")[::2] for part in _words(value)] if isinstance(value, str) else value.items()
    return {plain_name(key): str(name).strip() for key, name in pairs}


def _pattern(value: str) -> str:
    re.compile(value)
    return value


def _run(value: int | str) -> int:
    if int(value) < 1:
        raise ValueError("films per group: 1 or more")
    return int(value)


_OPTION: Mapping[str, Any] = {
    "images": Path,
    "region_map": _mapping,
    "fracture_classes": _words,
    "group_pattern": _pattern,
    "group_run": _run,
    "skip_missing": lambda value: bool(as_flag(value)),
}


def film_set(listing: Listing, options: Options) -> AnnotatedSet:
    """The set that a listing means.

    Raises:
        DataError: Faults of the file, all told at once, or no category that is a fracture.
    """
    problems, remarks = listing.problems, list(listing.remarks)
    taken = _fracture_categories(listing, options, remarks)
    column = _group_column(listing, options)
    films = tuple(_film(listing, entry, taken, column, options) for entry in listing.entries)
    problems.raise_if_any("mend the annotations and try again")
    if not films:
        raise DataError(f"{listing.file}: it lists no film")
    if options.pattern is None and column is None:
        films, grouped = _copies_together(films, remarks)
        column = "name" if grouped else None
    elif lone := [film.source for film in films if film.group == film.source]:
        remarks.append(("", f"{len(lone)} films without a group are groups of their own: {listed(lone)}"))
    return AnnotatedSet(
        films=films,
        name=options.name or listing.name or listing.root.resolve().name,
        root=listing.root,
        license=listing.license or license_text(listing.root),
        attribution=listing.attribution,
        format=listing.format,
        remarks=tuple(remarks),
        group_field="pattern" if options.pattern else column or "",
        categories={key: name in taken for key, name in listing.categories.items()},
    )


def _film(
    listing: Listing,
    entry: Entry,
    taken: frozenset[str],
    column: str | None,
    options: Options,
) -> Film:
    source, row, problems = entry.source, entry.fields, listing.problems
    unnamed = options.fracture_classes is None
    counts = [unnamed if mark.category is None else mark.category in taken for mark in entry.marks]
    fractures = [mark for mark, count in zip(entry.marks, counts, strict=True) if count]
    drawn = [mark for mark in fractures if mark.box is not None and not mark.crowd]
    crowd = tuple(mark.box for mark in fractures if mark.box is not None and mark.crowd)
    boxes = tuple(mark.box for mark in drawn if mark.box is not None)
    outlines = tuple(mark.rings for mark in drawn)
    fractured = _label(listing, entry, bool(fractures))
    complete = as_flag(row.get(_COMPLETE)) is not False and len(boxes) == len(fractures)
    extra = {key: value for key, value in row.items() if key not in _CONSUMED}
    for name in INDICATORS:
        flags = [flag for mark in fractures if (flag := as_flag(mark.extra.get(name))) is not None]
        if flags and name not in extra:
            extra[name] = any(flags)
    others = tuple(
        {"category": mark.category, "box": mark.box, **mark.extra}
        for mark, count in zip(entry.marks, counts, strict=True)
        if not count
    )
    if others:
        extra["other_boxes"] = others
    hardware = row.get(first_of(tuple(row), _HARDWARE) or "")
    metal = None if is_unknown(hardware) else as_flag(hardware)
    if metal is None and not is_unknown(hardware):
        problems.add("hardware that is neither yes, no nor unknown", f"{source} {hardware!r}")
    site = row.get(first_of(tuple(row), _SITE) or "")
    match = options.pattern.search(source) if options.pattern else None
    group = match.group((match.lastindex and 1) or 0) if match else "" if options.pattern else row.get(column or "")
    width, height = entry.size if all(entry.size) else film_size(listing.root / source)
    prefix = listing.region_prefix if options.region_prefix is None else options.region_prefix
    named = [options.region] if options.region else rename_regions(_list(row, _REGIONS), prefix, options.region_map)
    return Film(
        source=source,
        width=width,
        height=height,
        fractured=int(fractured),
        regions=tuple(named),
        views=collapse_views(_list(row, _VIEWS)),
        boxes=boxes,
        polygons=outlines if any(outlines) else (),
        localized=complete and (bool(boxes) or not fractured),
        group="" if is_unknown(group) else str(group),
        hardware=metal,
        site=None if is_unknown(site) else str(site),
        label_conflict=as_flag(row.get(first_of(tuple(row), _CONFLICT) or "")) is True,
        extra=extra,
        crowd=crowd,
        id=id_text(row.get("id")),
    )


def _label(listing: Listing, entry: Entry, marked: bool) -> bool:
    value = entry.fields.get(first_of(tuple(entry.fields), LABELS) or "")
    if is_unknown(value):
        if not marked and not listing.boxed:
            listing.problems.add("films without a label", entry.source)
        return marked
    label = as_label(value)
    if label is None:
        listing.problems.add("labels that are neither 0 nor 1", f"{entry.source} {value!r}")
    return bool(label)


def _fracture_categories(listing: Listing, options: Options, remarks: list[tuple[str, str]]) -> frozenset[str]:
    """The names of the categories that are fractures; what was taken and what not is told in the remarks."""
    counted = Counter(mark.category for entry in listing.entries for mark in entry.marks)
    names = list(dict.fromkeys((*listing.categories.values(), *(name for name in counted if name is not None))))
    if counted[None] and options.fracture_classes is None:
        remarks.append(("", f"{counted[None]} annotations name no category; they were read as fractures"))
    if options.fracture_classes is not None:
        wanted = {name.casefold() for name in options.fracture_classes}
        taken = [name for name in names if name.strip().casefold() in wanted]
        if unknown := sorted(wanted - {name.strip().casefold() for name in names}):
            raise DataError(f"{listing.file}: no such category", got=", ".join(unknown), allowed=sorted(names))
        return frozenset(taken)
    taken = [name for name in names if says_fracture(name)]
    if len(names) == 1 and says_fracture(names[0]) is None and names[0].strip().isdigit():
        taken = names  # a set of one class that was given no name
    labeled = all(first_of(tuple(entry.fields), LABELS) for entry in listing.entries)
    if names and not taken and not labeled and any(says_fracture(name) is None for name in names):
        raise DataError(
            f"{listing.file}: neither a category named fracture nor a label fractured per image",
            got=", ".join(sorted(names)),
            hint="say which categories are fractures with fracture_classes=... (fracture_categories=[...])",
        )
    if len(names) > 1 or taken != [name for name in names if says_fracture(name)]:
        shown = [f"{', '.join(part) or 'none'}" for part in (taken, [name for name in names if name not in taken])]
        remarks.append(
            ("", f"classes that count as fractures: {shown[0]}; that do not: {shown[1]} (fracture_classes=... chooses)")
        )
    return frozenset(taken)


def _group_column(listing: Listing, options: Options) -> str | None:
    """The field that groups come from, however it is spelled (``patient_id``, ``Patient ID``, ``patientId``)."""
    fields = (item for entry in listing.entries for item in entry.fields.items())
    present = {plain_name(key).replace("_", ""): key for key, value in fields if not is_unknown(value)}
    wanted = GROUP_FIELDS if options.group_field is None else (plain_name(options.group_field),)
    found = first_of(tuple(present), [name.replace("_", "") for name in wanted])
    if found is None and options.group_field is not None:
        allowed = sorted(present.values())
        raise DataError(f"{listing.file}: no film has the field to group by", got=options.group_field, allowed=allowed)
    return None if found is None else present[found]


def _copies_together(films: tuple[Film, ...], remarks: list[tuple[str, str]]) -> tuple[tuple[Film, ...], int]:
    """Augmented copies of one film in one group, by the name that exports give them."""
    stems = [stem_of_copies(film.source) for film in films]
    copies = len([stem for stem in stems if stem]) - len({stem for stem in stems if stem})
    if not copies:
        return films, 0
    remarks.append(("", f"{copies} films are augmented copies of others by their names; copies were grouped"))
    made = tuple(replace(film, group=stem) if stem else film for film, stem in zip(films, stems, strict=True))
    return made, copies


def _list(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    value = next((row[name] for name in names if not is_unknown(row.get(name))), ())
    parts = value if isinstance(value, list | tuple) else re.split(r"[;|+,]", str(value))
    return [str(part).strip() for part in parts if str(part).strip()]


def rename_regions(names: Iterable[str], prefix: str = "", mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Regions under our names: ``mapping[name]`` where it has the name, else ``prefix + name``; each kept once."""
    plain = [plain_name(name) for name in names]
    return tuple(dict.fromkeys((mapping or {}).get(name, prefix + name) for name in plain if name))


def id_text(value: object) -> str:
    """An id as text, whether a file writes it as a number (``1``, ``1.0``) or as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def stated_size(row: Mapping[str, Any], source: str, problems: Problems) -> tuple[int, int]:
    """(width, height) as the file gives them, (0, 0) where it does not."""
    sides = []
    for name in ("width", "height"):
        value = row.get(name)
        number = 0.0 if is_unknown(value) else as_number(value)
        if number is None or not 0 <= number <= MAX_SIDE:
            problems.add("films whose width or height is not a usable number", f"{source} {str(value)[:40]!r}")
            number = 0.0
        sides.append(int(number))
    return (sides[0], sides[1]) if all(sides) else (0, 0)


def film_size(path: Path) -> tuple[int, int]:
    """(width, height) as read, or (0, 0) for a file that cannot be read: ``verify`` reports it."""
    try:
        return read_header(path).size
    except UnreadableFileError:
        return 0, 0


def hull(points: Iterable[tuple[float, float]]) -> Box:
    """The smallest box around points, of which there must be one at least."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def locate(root: Path, images: Path | None, names: Sequence[Sequence[str]]) -> list[str]:
    """The films' files below ``root``, each the first of its possible names that exists.

    Backslashes part folders too. A name with folders of another machine is looked for by its last part. A missing file
    is expected where most of the others are. With ``images`` the last name counts, below that folder.

    Raises:
        DataError: A name that no file system has.
    """
    parts = (part for possible in names for name in possible for part in name.replace("\\", "/").split("/"))
    if long := next((part for part in parts if len(part.encode(errors="replace")) > 255), None):
        raise DataError("the name of a film is longer than any file's", got=ascii(long[:60]), allowed="255 bytes")
    options = [[_slashes(root, name) for name in possible] for possible in names]
    if images is not None:
        folder = images if images.is_absolute() else root / images
        return [_below(root, folder / possible[-1]) for possible in options]
    bases = [possible[-1].rsplit("/", 1)[-1] for possible in options]
    options = [[f"images/{base}", base, *possible] for base, possible in zip(bases, options, strict=True)]
    # The names as they stand first, from the first to the last; then by the last part.
    order = [*range(2, max(map(len, options), default=2)), 0, 1]
    chosen = [next((i for i in order if possible[i] and (root / possible[i]).is_file()), -1) for possible in options]
    usual = Counter(i for i in chosen if i >= 0).most_common(1)
    fallback = usual[0][0] if usual else -1
    return [
        possible[i] if i >= 0 else possible[fallback] or possible[-1]
        for possible, i in zip(options, chosen, strict=True)
    ]


def _slashes(root: Path, name: str) -> str:
    plain = name if "\\" not in name or (root / name).is_file() else name.replace("\\", "/")
    return PurePosixPath(plain).as_posix() if plain else ""


def _below(root: Path, path: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()  # root / absolute path is the absolute path


def license_text(folder: Path) -> str:
    """The text of a LICENSE file in ``folder``, or empty."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt"):
        path = folder / name
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""
