"""Run a hip reader over annotated films: labeled boxes and found ones, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fracture.data.records import AnnotatedSet, Box, Film
from fracture.errors import FractureError, unforeseen
from fracture.hip.cases import ExtraBox, HipCase
from fracture.hip.pipeline import HipReader
from fracture.hip.prediction import Hip, HipFilm
from fracture.hip.records import HipLabel, hips_of
from fracture.iou import iou
from fracture.wing.result import Failure


def examine(
    reader: HipReader,
    annotated: AnnotatedSet,
    *,
    manual: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[list[HipCase], list[ExtraBox], list[Failure]]:
    """Judge every labeled hip of a set, by its labeled box and by the box that the localizer finds.

    Args:
        reader: The networks.
        annotated: Films with hips.
        manual: Also judge labeled boxes.
        progress: Called with 1 after each film.

    Returns:
        Cases in the set's order; boxes found where no hip is labeled; films that failed.
    """
    cases: list[HipCase] = []
    extra: list[ExtraBox] = []
    failures: list[Failure] = []
    for film in annotated:
        labeled = {hip.side: hip for hip in hips_of(film)}
        try:
            seen = reader.read_film(annotated.image_path(film))
            found = {hip.side: hip for hip in seen.hips}
            with unforeseen(film.source):
                judged = [_case(reader, film, seen, hip, found, manual=manual) for hip in labeled.values()]
        except FractureError as error:
            failures.append(Failure.of(film.source, error))
            continue
        finally:
            if progress is not None:
                progress(1)
        cases += judged
        extra += [
            ExtraBox(film.source, side, _corners(one), one.box_score)
            for side, one in found.items()
            if side not in labeled
        ]
    return cases, extra, failures


def _case(
    reader: HipReader, film: Film, seen: HipFilm, hip: HipLabel, found: Mapping[str, Hip], *, manual: bool
) -> HipCase:
    one = found.get(hip.side)
    other = next((box for name, box in found.items() if name != hip.side), None)
    by_hand = None
    if manual and seen.radiograph is not None:
        by_hand = reader.classify(seen.radiograph, hip.box, hip.side)
    return HipCase(
        source=film.source,
        group=film.group,
        side=hip.side,
        box=hip.box,
        allowed=hip.allowed or (),
        findings=hip.findings,
        found=None if one is None else _corners(one),
        found_score=None if one is None else one.box_score,
        wrong_side=0.0 if other is None else float(iou(hip.box, _corners(other))),
        manual=None if by_hand is None else tuple(float(v) for v in by_hand),
        automatic=None if one is None else tuple(one.probabilities.values()),
    )


def _corners(hip: Hip) -> Box:
    return hip.box.x0, hip.box.y0, hip.box.x1, hip.box.y1
