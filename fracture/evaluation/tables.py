"""The three tables of an evaluation: ``Predictions``, ``Reference`` and, joined film by film, ``Cases``.

Films are matched by file name: the longest tail of the path that the reference has too (down to the base name), else
the name without its extension (so ``/x/IMG7.dcm`` finds ``IMG7.png``), else the reference's id. A name that could mean
two films is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from fracture.data.files import Problems
from fracture.errors import DataError
from fracture.evaluation.files.predictions import Predictions
from fracture.evaluation.files.references import Reference
from fracture.evaluation.matching import BoxTable, select_films
from fracture.evaluation.stats.checks import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Films with a prediction and a reference, in the reference's order; n films.

    Attributes:
        names: File name of each film, as the reference has it.
        labels: bool (n,), fractured by the reference standard.
        scores: float64 (n,), film scores.
        calls: bool (n,), called fractured, or ``None`` where the predictions carry no call.
        thresholds: float64 (n,), threshold behind each call, NaN where unknown.
        groups: Cluster of each film as text, or ``None`` where the reference has none.
        group_field: Which field the groups come from, empty without groups.
        regions: Regions that each film shows, by the reference.
        views: Views that each film shows.
        attributes: Field (``"site"``, ``"hardware"``, ``"sex"``, ...) to one value per film, ``None`` where unknown.
        ages: Age in years per film, ``None`` where unknown; ``None`` as a whole where the reference has no ages.
        indicators: Clinical indicator to present, absent or ``None`` per film.
        disagreement: bool (n,), annotators disagreed on the film; ``None`` where the reference does not say.
        predicted: Predicted boxes for AP and FROC, ``None`` without any.
        shown: The boxes a user is shown, of films called fractured; ``None`` without any.
        predicted_from: ``"candidates"`` or ``"boxes"``: which list of the predictions ``predicted`` is.
        fractures: Reference boxes, ``None`` where the reference has none.
        unboxed: bool (n,), fractured films without all their reference boxes: they are left out of box-level results.
        failures: Name and reason of films that the detector could not read.
        missing: Names of reference films without a prediction.
        extra: Names of predictions without a reference.
        models: Names (with versions) of the models that made the predictions.
        predictions_source: File of the predictions.
        reference_source: File of the reference.
        description: What the reference says it is.
        remarks: What a reader of the report must know about the data.
    """

    names: tuple[str, ...]
    labels: BoolArray
    scores: FloatArray
    calls: BoolArray | None
    thresholds: FloatArray
    groups: tuple[str, ...] | None
    group_field: str
    regions: tuple[tuple[str, ...], ...]
    views: tuple[tuple[str, ...], ...]
    attributes: Mapping[str, tuple[object, ...]]
    ages: tuple[float | None, ...] | None
    indicators: Mapping[str, tuple[bool | None, ...]]
    disagreement: BoolArray | None
    predicted: BoxTable | None
    shown: BoxTable | None
    predicted_from: str
    fractures: BoxTable | None
    unboxed: BoolArray
    failures: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    predictions_source: str = ""
    reference_source: str = ""
    description: str = ""
    remarks: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.names)

    def members(self, name: str) -> dict[str, BoolArray]:
        """Subgroups by ``"region"``, ``"view"`` or an attribute: value to bool (n,), in order of size."""
        if name in ("region", "view"):
            lists = self.regions if name == "region" else self.views
        else:
            values = self.attributes.get(name, ())
            lists = tuple(() if value is None else (str(value),) for value in values)
        if not lists:
            return {}
        found = {part for parts in lists for part in parts}
        masks = {part: np.array([part in parts for parts in lists], dtype=bool) for part in found}
        return dict(sorted(masks.items(), key=lambda item: (-int(item[1].sum()), item[0])))


def join(
    predictions: Predictions,
    reference: Reference,
    *,
    threshold: float | None = None,
    allow_missing: bool = False,
    allow_extra: bool = False,
) -> Cases:
    """Bring predictions and reference together, film by film.

    Args:
        predictions: From ``read_predictions``.
        reference: From ``read_reference``.
        threshold: Call films fractured at score >= threshold, instead of the predictions' own calls.
        allow_missing: Judge only films that have a prediction (a fold, a subset) instead of refusing. Without it,
            films that the detector reported it could not read are still only set aside and counted.
        allow_extra: Ignore predictions of films that the reference does not know.

    Raises:
        DataError: Names that do not match, duplicates, boxes in another frame; all faults at once.
    """
    problems = Problems(f"{predictions.source} against {reference.source}")
    place = match_names(predictions.names, reference.names, predictions.image_ids, reference.image_ids, problems)
    failed = match_names(
        [name for name, _ in predictions.failures], reference.names, None, reference.image_ids, Problems("")
    )
    unread = {index for index in failed if index >= 0}
    source_of: dict[int, int] = {}
    extra = []
    for index, target in enumerate(place):
        if target < 0:
            extra.append(predictions.names[index])
        elif target in source_of:
            problems.add("two predictions for one film", reference.names[target])
        else:
            source_of[int(target)] = index
    absent = [i for i in range(len(reference.names)) if i not in source_of]
    missing = [reference.names[i] for i in absent if i not in unread]
    if extra and not allow_extra:
        for name in extra:
            problems.add("predictions of films that the reference does not have", name)
    if missing and not allow_missing and not predictions.sparse:
        for name in missing:
            problems.add("films of the reference without a prediction", name)
    _check_frames(predictions, reference, source_of, problems)
    problems.raise_if_any(
        "names are matched by path, base name or name without extension; a prediction file for a part of the "
        "films needs allow_missing=True (--allow-missing), one for more films allow_extra=True (--allow-extra)"
    )
    if predictions.sparse:  # COCO results list detections, not films: a film without any scores 0
        chosen = np.array([i for i in range(len(reference.names)) if i not in unread], dtype=np.int64)
    else:
        chosen = np.array(sorted(source_of), dtype=np.int64)
    if chosen.size == 0:
        raise DataError(
            f"{predictions.source}: no film has both a prediction and a reference", hint="check the file names"
        )
    return _cases(predictions, reference, chosen, source_of, threshold, tuple(missing), tuple(extra))


def match_names(
    names: Sequence[str],
    reference: Sequence[str],
    image_ids: Sequence[str] | None,
    reference_ids: Sequence[str] | None,
    problems: Problems,
) -> IntArray:
    """Which reference film each name means, int64 (k,), -1 for none; ambiguous names are noted as problems.

    Args:
        names: Names of the predictions.
        reference: File names of the reference.
        image_ids: COCO image ids of the predictions, used instead of names where given.
        reference_ids: COCO image ids of the reference.
        problems: Collects what is wrong.
    """
    if image_ids is not None and reference_ids is not None:
        by_id = {key: index for index, key in enumerate(reference_ids)}
        return np.array([by_id.get(key, -1) for key in image_ids], dtype=np.int64)
    whole = {_clean(name): [index] for index, name in enumerate(reference)}
    tails, stems = _index(reference, _tails), _index(reference, lambda name: [_stem(name)])
    ids = {key: [index] for index, key in enumerate(reference_ids or ())}
    place = np.full(len(names), -1, dtype=np.int64)
    for index, name in enumerate(names):
        tables = [(table, tail) for tail in _tails(name) for table in (whole, tails)]
        tables += [(stems, _stem(name)), (ids, name)]
        found = next((table[key] for table, key in tables if key in table), [])
        if len(found) == 1:
            place[index] = found[0]
        elif found:
            problems.add("names that could mean several films of the reference", name)
    return place


def _clean(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _tails(name: str) -> list[str]:
    """The path, then without its first folder, and so on down to the base name."""
    parts = _clean(name).split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _stem(name: str) -> str:
    return PurePosixPath(_tails(name)[-1].removesuffix(".gz")).stem


def _index(names: Sequence[str], keys: Callable[[str], Sequence[str]]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        for key in keys(name):
            table.setdefault(key, []).append(index)
    return table


def _check_frames(
    predictions: Predictions, reference: Reference, source_of: Mapping[int, int], problems: Problems
) -> None:
    if predictions.boxes is None and predictions.candidates is None:
        return
    for target, index in source_of.items():
        ours, theirs = predictions.sizes[index], reference.sizes[target]
        if ours is not None and theirs is not None and ours != theirs:
            problems.add(
                "films whose size differs from the reference's, so boxes would lie elsewhere",
                f"{reference.names[target]} {ours[0]}x{ours[1]} against {theirs[0]}x{theirs[1]}",
            )


def _cases(
    predictions: Predictions,
    reference: Reference,
    chosen: IntArray,
    source_of: Mapping[int, int],
    threshold: float | None,
    missing: tuple[str, ...],
    extra: tuple[str, ...],
) -> Cases:
    source = np.array([source_of.get(int(index), -1) for index in chosen], dtype=np.int64)
    found = source >= 0
    scores = np.where(found, predictions.scores[np.maximum(source, 0)], 0.0) if found.any() else np.zeros(source.size)
    remarks = list(reference.remarks)
    calls, thresholds = None, np.full(chosen.size, np.nan)
    if threshold is not None:
        calls, thresholds = scores >= threshold, np.full(chosen.size, float(threshold))
    elif predictions.calls is not None:
        calls = np.where(found, predictions.calls[np.maximum(source, 0)], False)
        thresholds = np.where(found, predictions.thresholds[np.maximum(source, 0)], np.nan)
        known = np.isfinite(thresholds)
        odd = int(((scores[known] >= thresholds[known]) != calls[known]).sum())
        if odd:
            remarks.append(f"{odd} films are not called as score ≥ threshold says; the calls were taken as given")
    fractures = None if reference.boxes is None else select_films(reference.boxes, chosen)
    labels = reference.labels[chosen]
    unboxed = reference.unboxed[chosen] if fractures is not None else np.zeros(chosen.size, dtype=bool)
    if unboxed.any():
        remarks.append(
            f"{int(unboxed.sum())} fractured films have no reference box, or not all of theirs, and are left out of "
            "box-level results"
        )
    if predictions.sparse:
        remarks.append(
            "the predictions list detections, not films: a film's score is its highest box score, 0 without any"
        )
    candidates = predictions.candidates
    boxes = predictions.boxes
    listed = "candidates" if candidates is not None else "boxes"
    predicted = candidates if candidates is not None else boxes
    if predicted is not None and listed == "boxes" and calls is not None and not predictions.sparse:
        remarks.append(
            "box results rest on the boxes shown to users, of films called fractured only: AP and FROC stop there "
            "(predict with --candidates for whole curves)"
        )
    pick = chosen.tolist()
    return Cases(
        names=tuple(reference.names[i] for i in pick),
        labels=labels,
        scores=scores,
        calls=calls,
        thresholds=thresholds,
        groups=None if reference.groups is None else tuple(reference.groups[i] for i in pick),
        group_field=reference.group_field,
        regions=tuple(reference.regions[i] for i in pick),
        views=tuple(reference.views[i] for i in pick),
        attributes={key: tuple(values[i] for i in pick) for key, values in reference.attributes.items()},
        ages=None if reference.ages is None else tuple(reference.ages[i] for i in pick),
        indicators={key: tuple(values[i] for i in pick) for key, values in reference.indicators.items()},
        disagreement=None if reference.disagreement is None else reference.disagreement[chosen],
        predicted=None if predicted is None else select_films(predicted, source),
        shown=None if boxes is None or predictions.sparse else select_films(boxes, source),
        predicted_from=listed,
        fractures=fractures,
        unboxed=unboxed,
        failures=predictions.failures,
        missing=missing,
        extra=extra,
        models=predictions.models,
        predictions_source=predictions.source,
        reference_source=reference.source,
        description=reference.description,
        remarks=tuple(remarks),
    )
