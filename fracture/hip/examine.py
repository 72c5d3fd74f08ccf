"""Run a hip reader over annotated films: labelled boxes and found ones, side by side."""

from __future__ import annotations

from collections.abc import Callable

from fracture.data.records import AnnotatedSet
from fracture.errors import InputError
from fracture.hip.cases import ExtraBox, HipCase
from fracture.hip.geometry import box_iou
from fracture.hip.pipeline import HipReader
from fracture.hip.records import hips_of
from fracture.prediction import Failure
from fracture.reading import read

__all__ = ["examine"]


def examine(
    reader: HipReader,
    annotated: AnnotatedSet,
    *,
    manual: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[list[HipCase], list[ExtraBox], list[Failure]]:
    """Judge every labelled hip of a set, by its labelled box and by the box that the localizer finds.

    Args:
        reader: The networks.
        annotated: Films with hips.
        manual: Also judge labelled boxes.
        progress: Called with 1 after each film.

    Returns:
        Cases in the set's order; boxes found where no hip is labelled; films that cannot be read.
    """
    cases: list[HipCase] = []
    extra: list[ExtraBox] = []
    failures: list[Failure] = []
    for film in annotated:
        try:
            radiograph = read(annotated.image_path(film))
            found = {hip.side: hip for hip in reader.read_film(radiograph).hips}
        except InputError as error:
            failures.append(Failure(film.source, error))
            continue
        labelled = {hip.side: hip for hip in hips_of(film)}
        for side, hip in labelled.items():
            one = found.get(side)
            other = next((box.box for name, box in found.items() if name != side), None)
            drawn = (one.box.x0, one.box.y0, one.box.x1, one.box.y1) if one is not None else None
            across = None if other is None else (other.x0, other.y0, other.x1, other.y1)
            by_hand = reader.classify(radiograph, hip.box, side) if manual else None
            cases.append(
                HipCase(
                    source=film.source,
                    group=film.group,
                    side=side,
                    box=hip.box,
                    allowed=hip.allowed or (),
                    findings=hip.findings,
                    found=drawn,
                    found_score=None if one is None else one.box_score,
                    wrong_side=0.0 if across is None else box_iou(hip.box, across),
                    manual=None if by_hand is None else tuple(float(v) for v in by_hand),
                    automatic=None if one is None else tuple(one.probabilities.values()),
                )
            )
        for side, one in found.items():
            if side not in labelled:
                box = (one.box.x0, one.box.y0, one.box.x1, one.box.y1)
                extra.append(ExtraBox(film.source, side, box, one.box_score))
        if progress is not None:
            progress(1)
    return cases, extra, failures
