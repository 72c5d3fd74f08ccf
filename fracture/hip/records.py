"""Annotated hips: what a set says about each proximal femur, and how sets are read, merged and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Box, Film
from fracture.data.splits import Split, split_parts
from fracture.data.via_write import write_via as write_regions
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.stats.hypothesis_tests import ChiSquare, split_balance
from fracture.hip.classes import CLASSES, FINDINGS, FRACTURES, SIDES, allowed_classes, stratum
from fracture.regions import view_from_dicom

_FIELDS: Final = ("view_position", "view_codes", "view_description")  # of a film, kept in VIA files

SHARES: Final[Mapping[str, float]] = {"train": 0.60, "tune": 0.25, "validation": 0.15}
"""60:25:15 (Krogue et al. 2020). What the paper calls validation stops the training and is ``tune`` in this library;
what it calls test is ``validation`` here."""

_CROSS_TABLE_WORDS: Final = (
    "cross-table",
    "crosstable",
    "xtable",
    "x-table",
    "horizontal",
    "danelius",
    "shoot-through",
)
_FROG_WORDS: Final = ("frog", "lauenstein", "dunn", "cleaves")


@dataclass(frozen=True, slots=True)
class HipLabel:
    """One annotated hip.

    Attributes:
        side: ``"left"`` or ``"right"``, the patient's.
        box: (x0, y0, x1, y1) around the proximal femur, in source pixels (pixel-edge coordinates).
        allowed: The classes that the annotation leaves possible; None where the hip does not train the classifier.
        findings: The annotation's own words.

    Raises:
        DataError: An unknown side, or a box without an area.
    """

    side: str
    box: tuple[float, float, float, float]
    allowed: tuple[str, ...] | None = None
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise DataError("the side of a hip", got=self.side, allowed=SIDES)
        if not (self.box[2] > self.box[0] and self.box[3] > self.box[1]):
            raise DataError("the box of a hip needs an area", got=self.box, allowed="x1 > x0 and y1 > y0")

    @property
    def hip_class(self) -> str | None:
        """The class where exactly one is possible, else None."""
        return self.allowed[0] if self.allowed is not None and len(self.allowed) == 1 else None

    @property
    def fractured(self) -> bool | None:
        """Whether it is fractured; None where the annotation leaves that open."""
        if not self.allowed:
            return None
        known = {name in FRACTURES for name in self.allowed}
        return known.pop() if len(known) == 1 else None


def as_film(
    source: str,
    size: tuple[int, int],
    hips: Sequence[HipLabel],
    *,
    group: str = "",
    extra: Mapping[str, object] | None = None,
) -> Film:
    """A film of an :class:`~fracture.data.records.AnnotatedSet` that holds hips.

    ``Film.boxes`` are the hips' boxes and ``Film.regions`` their strata, one entry for each hip, so that splits by
    group are stratified by class and the set's fingerprint changes with any label; the labels themselves are
    ``Film.extra["hips"]``. ``Film.fractured`` is 1 where a hip is known to be fractured.

    Raises:
        DataError: Two hips of one side.
    """
    sides = [hip.side for hip in hips]
    if len(set(sides)) != len(sides):
        raise DataError(
            f"{source}: two hips of one side", got=", ".join(sides), allowed="at most one left and one right"
        )
    return Film(
        source=source,
        width=size[0],
        height=size[1],
        fractured=int(any(hip.fractured for hip in hips)),
        regions=tuple(stratum(hip.allowed) for hip in hips),
        boxes=tuple(hip.box for hip in hips),
        group=group,
        extra={**(extra or {}), "hips": tuple(hips)},
    )


def hips_of(film: Film) -> tuple[HipLabel, ...]:
    """The hips of a film that :func:`as_film` or :func:`read_hips` made; ``()`` where none is annotated."""
    hips = film.extra.get("hips", ())
    if not isinstance(hips, tuple) or not all(isinstance(hip, HipLabel) for hip in hips):
        raise DataError(f"{film.source}: a film without annotated hips", hint="read the set with read_hips")
    return hips


def read_hips(path: str | Path, format: str = "auto", **options: Any) -> AnnotatedSet:  # noqa: A002
    """Read a set of pelves or hips, in any format of :func:`fracture.data.read_annotations` that has boxes.

    The side (the patient's) is an attribute ``side``, or the category ``left_hip`` or ``right_hip``. Each annotation
    may carry ``hip_class`` (one of the six) and ``findings``; see :func:`fracture.hip.classes.allowed_classes`. Boxes
    are clipped to the film. Groups (patients, accessions) are the file's; films without one are groups of their own.

    Args:
        path: The file or folder, for example COCO's ``annotations.json`` with the films in ``images/``.
        format: The format, or ``"auto"`` to look at what is there.
        options: As for :func:`fracture.data.read_annotations` (``name``, ``images``, ``group_field``, ...).

    Raises:
        DataError: Faults of the file, another category, an unknown class or finding, or two hips of one side on a film.
        ConfigurationError: An unknown format or option.
    """
    if "fracture_classes" in options:
        raise ConfigurationError("hips have classes of their own", got="fracture_classes", hint="leave it out")
    read = read_annotations(path, format, fracture_classes=(), **options)
    films = tuple(_film(film) for film in read)
    return replace(read, films=films, format="hip")


def _film(film: Film) -> Film:
    extra = dict(film.extra)
    annotations: Any = extra.pop("other_boxes", ())
    hips = [_label(film, annotation) for annotation in annotations]
    if isinstance(codes := extra.get("view_codes"), str):
        extra["view_codes"] = [code for code in codes.replace(",", "|").split("|") if code.strip()]
    made = as_film(film.source, (film.width, film.height), hips, group=film.group, extra=extra)
    return replace(made, views=film.views, site=film.site, hardware=film.hardware, id=film.id)


def _label(film: Film, annotation: Mapping[str, Any]) -> HipLabel:
    attributes = annotation.get("attributes")
    told = {**(attributes if isinstance(attributes, dict) else {}), **annotation}
    side = str(told.get("side") or str(annotation["category"] or "").removesuffix("_hip")).strip().lower()
    if side not in SIDES or annotation["box"] is None:
        raise DataError(
            f"{film.source}: a hip needs a side and a box",
            got=f"{side!r}, {annotation['box']}",
            allowed=("left_hip", "right_hip"),
        )
    x0, y0, x1, y1 = annotation["box"]
    far = (float(film.width or x1), float(film.height or y1))
    box = (max(0.0, x0), max(0.0, y0), min(far[0], x1), min(far[1], y1))
    words = told.get("findings") or ()
    if isinstance(words, dict):  # a check box in VIA gives {"neck": true}, a text field a string
        words = [word for word, ticked in words.items() if ticked]
    words = words if isinstance(words, list | tuple) else str(words).split("|")
    findings = tuple(str(word).strip() for word in words if str(word).strip())
    known = str(told.get("hip_class") or "").strip().lower() or None
    try:
        return HipLabel(side, box, allowed_classes(hip_class=known, findings=findings), findings)
    except DataError as error:
        raise DataError(f"{film.source}: {error.what}", got=error.got, allowed=error.allowed, hint=error.hint) from None


def read_via(path: str | Path, *, images: str | Path | None = None, name: str | None = None) -> AnnotatedSet:
    """:func:`read_hips` of a project or an export of VGG Image Annotator 2, the tool of Krogue et al. 2020.

    Args:
        path: A JSON or CSV file; each region has ``side``, and ``hip_class`` or ``findings`` (joined by ``|``).
        images: Folder of the films; the file's own where left out.
        name: Name of the set; the file's where left out.

    Raises:
        DataError: As for :func:`read_hips`.
    """
    return read_hips(path, "via", images=images, name=name)


def write_via(annotated: AnnotatedSet, path: str | Path) -> None:
    """Write a set of hips as a VIA project (``.json``) or export (``.csv``); :func:`read_via` is the inverse.

    Args:
        annotated: The set of hips; boxes in source pixels.
        path: ``.json`` or ``.csv``.

    Raises:
        DataError: Another suffix, or a film without annotated hips.
        OutputError: The file cannot be written.
    """
    menus = {"side": SIDES, "hip_class": CLASSES, "findings": ()}
    write_regions(annotated, path, lambda film: [_region(hip) for hip in hips_of(film)], menus, _FIELDS)


def _region(hip: HipLabel) -> tuple[Box, dict[str, str]]:
    """A label as VIA keeps it; one without words gets the finding that leaves open what it leaves open."""
    words = hip.findings
    if not words and not hip.hip_class:
        words = next(((word,) for word, classes in FINDINGS.items() if classes and classes == hip.allowed), ())
    return hip.box, {"side": hip.side, "hip_class": hip.hip_class or "", "findings": "|".join(words)}


def split_hips(annotated: AnnotatedSet, shares: Mapping[str, float] = SHARES, *, seed: int = 0) -> Split:
    """Divide a set by accession (group), stratified by the hips' classes, 60:25:15 by default.

    Args:
        annotated: The set, with a ``group`` for each patient.
        shares: Part to its share of the hips; they sum to 1.
        seed: Of the draw.

    Raises:
        DataError: Shares that do not sum to 1, or fewer groups than parts.
    """
    return split_parts(annotated, shares, seed=seed)


def balance(annotated: AnnotatedSet, split: Split) -> dict[str, ChiSquare]:
    """Pearson's chi-square of classes over parts, as the paper checks its split (P = .866 and .898 there).

    Returns:
        ``"multiclass"`` over what is known of each hip, ``"binary"`` over fractured or not; hips of which nothing is
        known are left out.

    Raises:
        EvaluationError: A single part or a single class.
    """
    part_of = split.part_of()
    rows = [(part_of[film.source], hip) for film in annotated if film.source in part_of for hip in hips_of(film)]
    known = [(part, hip) for part, hip in rows if hip.allowed]
    binary = [(part, hip) for part, hip in known if hip.fractured is not None]
    return {
        "multiclass": split_balance([part for part, _ in known], [stratum(hip.allowed) for _, hip in known]),
        "binary": split_balance([part for part, _ in binary], [hip.fractured for _, hip in binary]),
    }


def is_cross_table(*, view_position: str = "", view_codes: Iterable[str] = (), description: str = "") -> bool:
    """Whether view codes name a cross-table lateral of the hip, which the paper leaves out (frog-leg views stay).

    A rule on what a file says, ours: words decide first; then every film whose code or view position is a lateral
    counts as one, since the lateral of an injured hip is the horizontal-beam one. A film that says nothing stays.

    Args:
        view_position: DICOM (0018,5101), such as ``"LL"``, ``"AP"``.
        view_codes: Code values of the View Code Sequence (0054,0220).
        description: Series or view description, in free words.
    """
    words = f"{description} {view_position}".lower().replace("_", "-")
    if any(word in words for word in _FROG_WORDS):
        return False
    if any(word in words.replace(" ", "-") for word in _CROSS_TABLE_WORDS):
        return True
    return view_from_dicom(view_position, view_codes) == "lateral"


def exclude_cross_table(annotated: AnnotatedSet) -> tuple[AnnotatedSet, tuple[str, ...]]:
    """The set without cross-table laterals, by each film's ``view_position``, ``view_codes``, ``view_description``
    among its extra fields.

    Returns:
        The films that stay, and the sources of those that do not.
    """

    def crossed(film: Film) -> bool:
        codes = film.extra.get("view_codes") or ()
        return is_cross_table(
            view_position=str(film.extra.get("view_position") or ""),
            view_codes=[str(code) for code in codes] if isinstance(codes, list | tuple) else [str(codes)],
            description=str(film.extra.get("view_description") or ""),
        )

    left_out = tuple(film.source for film in annotated if crossed(film))
    gone = set(left_out)
    return annotated.select(lambda film: film.source not in gone), left_out


def counts(annotated: AnnotatedSet) -> dict[str, int]:
    """How many hips of each stratum a set holds, by name."""
    return dict(sorted(Counter(stratum(hip.allowed) for film in annotated for hip in hips_of(film)).items()))
