"""The numbers of Krogue et al. 2020 for judged hips, from :mod:`fracture.evaluation`'s statistics. No torch.

Localizer: IoU with mean, standard deviation and minimum, hips found, sides right. Classifier: binary and multiclass
accuracy, sensitivity and specificity of each class against the rest, the normalized confusion matrix, ROC curves with
bands by vertical averaging, the bootstrap of 2,000 iterations that first keeps one image of each patient, and the
difference of kappas between labeled and found boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fracture.errors import EvaluationError
from fracture.evaluation.stats.agreement import MARGIN, KappaComparison, compare_kappa
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.intervals import proportion
from fracture.evaluation.stats.reader_study import StudyRow, reader_study, simulate_readers
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import Bootstrap, Resampler, Statistic, bootstrap
from fracture.evaluation.stats.roc import OperatingRow, RocBand, nearest_corner, roc_band
from fracture.evaluation.stats.statistics import AreaUnderCurve, MeanOf, Ratio, confusion_statistics
from fracture.hip.cases import ExtraBox, HipCase, Probabilities
from fracture.hip.classes import CLASSES, FRACTURES, REGIONS

RESAMPLES: Final = 2000
"""Krogue et al. 2020."""

FOUND_IOU: Final = 0.5
"""A hip counts as found where the box of its own side overlaps it this much. Ours; the paper's least IoU was 0.64."""

DRAWS: Final = Bootstrap(RESAMPLES, one_per_group=True)
BROKEN: Final = tuple(CLASSES.index(name) for name in FRACTURES)
BOXES: Final = ("manual", "automatic")
Boxes = Literal["manual", "automatic"]


@dataclass(frozen=True, slots=True)
class Localization(
    Record, keys={"mean": "iou_mean", "deviation": "iou_deviation", "minimum": "iou_minimum", "extra": "extra_boxes"}
):
    """How well hips were found.

    Attributes:
        hips: Labeled hips.
        found: Share with a box of their side at an IoU of :data:`FOUND_IOU` or more, Wilson's interval.
        side_right: Of the hips that any box overlaps at that IoU, the share whose box has the right side.
        mean: Mean IoU over the hips with a box of their side, with a bootstrap interval by patient.
        deviation: Standard deviation of these IoUs; None for fewer than two.
        minimum: The least of them; None where there is none.
        missed: (film, side) of the hips not found.
        extra: Boxes on sides without a labeled hip.
    """

    hips: int
    found: Estimate
    side_right: Estimate
    mean: Estimate
    deviation: float | None
    minimum: float | None
    missed: tuple[tuple[str, str], ...]
    extra: int


@dataclass(frozen=True, slots=True, eq=False)
class ClassRow(Record):
    """One class against the rest.

    Attributes:
        name: The class, or ``"fracture"``.
        positives: Hips of the class.
        sensitivity: By the most probable class (for ``"fracture"`` by the threshold).
        specificity: Likewise.
        auc: Of the class's probability.
        ideal: The point of the ROC curve nearest to its corner; None where a class has no hips.
        band: ROC band by vertical averaging; None likewise.
    """

    name: str
    positives: int
    sensitivity: Estimate
    specificity: Estimate
    auc: Estimate
    ideal: OperatingRow | None
    band: RocBand | None


@dataclass(frozen=True, slots=True, eq=False)
class Reading(Record):
    """How well hips were read, by one kind of box.

    Attributes:
        boxes: ``"manual"`` or ``"automatic"``.
        binary: The row of fracture against none, over every hip that is known to be one or the other.
        binary_accuracy: At the threshold.
        known_accuracy: Share of hips whose most probable class is one that their label leaves possible.
        multiclass_accuracy: Over hips of which exactly one class is known.
        region_accuracy: Four groups (none, neck, trochanteric, hardware): for sets that know no displacement.
        confusion: float64 (6, 6), row: true class, column: called; rows sum to 1, NaN for a class without hips.
        counts: int (6,), hips per class of which exactly that class is known.
        classes: One row per class, over the same hips.
        not_judged: Labeled hips without a judgment (no box was found).
    """

    boxes: str
    binary: ClassRow
    binary_accuracy: Estimate
    known_accuracy: Estimate
    multiclass_accuracy: Estimate
    region_accuracy: Estimate
    confusion: NDArray[np.float64]
    counts: NDArray[np.int64]
    classes: tuple[ClassRow, ...]
    not_judged: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**Record.to_dict(self), "counts": dict(zip(CLASSES, self.counts.tolist(), strict=True))}


@dataclass(frozen=True, slots=True, eq=False)
class HipEvaluation(
    Record,
    keys={
        "binary_kappas": "automatic_minus_manual_binary",
        "multiclass_kappas": "automatic_minus_manual_multiclass",
    },
):
    """Everything about judged hips.

    Attributes:
        localization: Stage one.
        manual: Stage two by labeled boxes; None where not judged.
        automatic: Both stages, by the boxes that were found; None where nothing was.
        binary_kappas: Automatic minus manual boxes, Cohen's kappa against the labels, over hips judged both ways.
        multiclass_kappas: The same over the hips of which one class is known.
        settings: Resamples, seed, level, threshold.
    """

    localization: Localization
    manual: Reading | None
    automatic: Reading | None
    binary_kappas: KappaComparison | None
    multiclass_kappas: KappaComparison | None
    settings: Mapping[str, Any]


def evaluate_hips(
    cases: Sequence[HipCase],
    extra: Sequence[ExtraBox] = (),
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    margin: float = MARGIN,
) -> HipEvaluation:
    """Judge a localizer and a classifier.

    Args:
        cases: Labeled hips, of :func:`fracture.hip.examine.examine` or :func:`fracture.hip.cases.read_cases`.
        extra: Boxes without a labeled hip.
        threshold: What the probability of a fracture must reach.
        resamples, seed, level: Of the bootstrap.
        margin: Non-inferiority margin of the kappa difference.

    Raises:
        EvaluationError: No case.
    """
    if not cases:
        raise EvaluationError("there is no hip to judge")
    draws = Bootstrap(resamples, seed, level, one_per_group=True)
    manual, automatic = (
        evaluate_readings(cases, boxes, threshold=threshold, bootstrap=draws)
        if any(_values(case, boxes) for case in cases)
        else None
        for boxes in BOXES
    )
    both = [case for case in cases if case.manual and case.automatic]
    sided = [case for case in both if case.fractured is not None]
    exact = [case for case in both if case.hip_class is not None]
    kappas = (
        _kappas(sided, lambda case: int(bool(case.fractured)), lambda p: int(_fracture(p) >= threshold), draws, margin),
        _kappas(exact, _code, lambda p: int(np.argmax(p)), draws, margin),
    )
    settings = {"threshold": threshold, "resamples": resamples, "seed": seed, "level": level, "margin": margin}
    settings |= {"found_iou": FOUND_IOU, "one_image_per_patient": True}
    return HipEvaluation(localization(cases, extra, bootstrap=draws), manual, automatic, *kappas, settings)


def localization(
    cases: Sequence[HipCase], extra: Sequence[ExtraBox] = (), *, bootstrap: Bootstrap = DRAWS
) -> Localization:
    """How well hips were found; see :class:`Localization`."""
    level = bootstrap.level
    overlaps, other = np.array([case.iou for case in cases]), np.array([case.wrong_side for case in cases])
    boxed = [case for case in cases if case.found is not None]
    values = np.array([case.iou for case in boxed])
    any_side = np.maximum(overlaps, other) >= FOUND_IOU
    mean = _over(boxed, bootstrap).estimate(MeanOf(values)) if boxed else proportion(0, 0, level, of="hips with a box")
    return Localization(
        hips=len(cases),
        found=proportion(int((overlaps >= FOUND_IOU).sum()), len(cases), level, of="hips"),
        side_right=proportion(
            int((any_side & (overlaps >= other)).sum()), int(any_side.sum()), level, of="hips with a box"
        ),
        mean=mean,
        deviation=float(values.std(ddof=1)) if values.size > 1 else None,
        minimum=float(values.min()) if values.size else None,
        missed=tuple((case.source, case.side) for case in cases if case.iou < FOUND_IOU),
        extra=len(extra),
    )


def evaluate_readings(
    cases: Sequence[HipCase],
    boxes: Boxes | str = "automatic",
    *,
    threshold: float = 0.5,
    bootstrap: Bootstrap = DRAWS,
) -> Reading:
    """How well hips were read by one kind of box; see :class:`Reading`. Hips without a judgment are only counted.

    Raises:
        EvaluationError: An unknown kind of box, or no hip with a judgment and a known label.
    """
    if boxes not in BOXES:
        raise EvaluationError("the boxes that hips were read by", got=boxes, allowed=BOXES)
    judged = [case for case in cases if _values(case, boxes) and case.allowed]
    if not judged:
        raise EvaluationError("no hip has both a label and a judgment", hint="see HipCase.allowed")
    probabilities = np.array([_values(case, boxes) for case in judged])
    called = probabilities.argmax(axis=1)
    draws = bootstrap

    known = np.array([CLASSES[c] in case.allowed for c, case in zip(called, judged, strict=True)])
    region_of = {name: region for region, names in REGIONS.items() for name in names}
    regions = [{region_of[name] for name in case.allowed} for case in judged]
    in_region = np.array([region_of[CLASSES[c]] in names for c, names in zip(called, regions, strict=True)])
    clear = np.array([len(names) == 1 for names in regions])

    sided = np.array([case.fractured is not None for case in judged])
    truth = np.array([bool(case.fractured) for case in judged])[sided]
    fracture = np.clip(probabilities[:, BROKEN].sum(axis=1), 0, 1)[sided]
    calls = fracture >= threshold
    binary_cases = _kept(judged, sided)

    exact = np.array([case.hip_class is not None for case in judged])
    exact_cases = _kept(judged, exact)
    codes = np.array([_code(case) for case in exact_cases], np.int64)
    confusion = np.zeros((len(CLASSES), len(CLASSES)))
    np.add.at(confusion, (codes, called[exact]), 1)
    counts = confusion.sum(axis=1)
    normalized = np.full_like(confusion, np.nan)
    np.divide(confusion, counts[:, None], out=normalized, where=counts[:, None] > 0)

    def share(of: Sequence[HipCase], right: NDArray[np.bool_]) -> Estimate:
        if not of:
            return proportion(0, 0, draws.level, of="hips of which this is known")
        return _over(of, draws).estimate(Ratio(right, np.ones_like(right)))

    return Reading(
        boxes=boxes,
        binary=_row("fracture", binary_cases, truth, calls, fracture, draws),
        binary_accuracy=share(binary_cases, truth == calls),
        known_accuracy=share(judged, known),
        multiclass_accuracy=share(exact_cases, called[exact] == codes),
        region_accuracy=share(_kept(judged, clear), in_region[clear]),
        confusion=normalized,
        counts=counts.astype(np.int64),
        classes=tuple(
            _row(name, exact_cases, codes == k, called[exact] == k, probabilities[exact, k], draws)
            for k, name in enumerate(CLASSES)
        ),
        not_judged=sum(1 for case in cases if case.allowed and not _values(case, boxes)),
    )


def _row(
    name: str,
    cases: Sequence[HipCase],
    truth: NDArray[np.bool_],
    calls: NDArray[np.bool_],
    scores: NDArray[np.float64],
    draws: Bootstrap,
) -> ClassRow:
    positives = int(truth.sum())
    missing = f"there are no hips {'of' if positives == 0 else 'but of'} this class"
    if positives in (0, len(truth)):
        none = proportion(0, 0, draws.level, of=f"hips to compare: {missing}")
        return ClassRow(name, positives, none, none, none, None, None)
    statistics: dict[str, Statistic] = confusion_statistics(truth, calls)
    chosen = {key: statistics[key] for key in ("sensitivity", "specificity")}
    found = bootstrap({**chosen, "auc": AreaUnderCurve(truth, scores)}, _over(cases, draws))
    try:
        band = roc_band(truth, scores, bootstrap=_by_patient(cases, draws))
    except EvaluationError:  # too few resamples hold both classes: a rare class on few patients
        band = None
    ideal = nearest_corner(truth, scores, draws.level)
    return ClassRow(name, positives, found["sensitivity"], found["specificity"], found["auc"], ideal, band)


def _by_patient(cases: Sequence[HipCase], draws: Bootstrap) -> Bootstrap:
    """One image per patient first, then patients with replacement."""
    return replace(draws, groups=[case.group for case in cases])


def _over(cases: Sequence[HipCase], draws: Bootstrap) -> Resampler:
    return _by_patient(cases, draws).over(len(cases))


def _values(case: HipCase, boxes: str) -> tuple[float, ...] | None:
    return case.manual if boxes == "manual" else case.automatic


def _kept(cases: Sequence[HipCase], keep: NDArray[np.bool_]) -> list[HipCase]:
    return [case for case, good in zip(cases, keep, strict=True) if good]


def _fracture(probabilities: Probabilities) -> float:
    return sum(probabilities[place] for place in BROKEN)


def _code(case: HipCase) -> int:
    return CLASSES.index(case.hip_class or "")


def _kappas(
    cases: Sequence[HipCase],
    truth: Callable[[HipCase], int],
    call: Callable[[Probabilities], int],
    draws: Bootstrap,
    margin: float,
) -> KappaComparison | None:
    """Automatic minus manual boxes; None without a case."""
    if not cases:
        return None
    found, labeled = ([call(_values(case, boxes) or ()) for case in cases] for boxes in ("automatic", "manual"))
    labels = [truth(case) for case in cases]
    return compare_kappa(labels, found, labeled, bootstrap=_by_patient(cases, draws), margin=margin)


def simulated_study(
    cases: Sequence[HipCase], *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[StudyRow, ...]:
    """The reader study on invented readers, over the hips of a known class with a judgment.

    A hip is mistaken for its neighbors: a nondisplaced fracture for none, a displaced one for an intertrochanteric
    one, and so on; the nondisplaced ones are missed most (ours).

    Raises:
        EvaluationError: No such hip.
    """
    known = [case for case in cases if case.hip_class is not None and (case.automatic or case.manual)]
    if not known:
        raise EvaluationError("a reader study needs hips of a known class")
    truth = [_code(case) for case in known]
    probabilities = np.array([case.automatic or case.manual for case in known])
    mistaken = {0: (2, 3), 1: (3, 2), 2: (0, 1), 3: (1, 0), 4: (5, 0), 5: (4, 0)}
    hard = CLASSES.index("nondisplaced_neck")
    readings = simulate_readers(truth, probabilities, mistaken=mistaken, hard=hard, seed=seed)
    draws = _by_patient(known, Bootstrap(resamples, seed, level, one_per_group=True))
    return reader_study(truth, probabilities, readings, fractures=BROKEN, bootstrap=draws)
