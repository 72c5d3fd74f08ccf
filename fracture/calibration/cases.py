"""What the ensemble says about annotated films, kept small: outputs and annotations, no pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fracture.data.records import AnnotatedSet, Film
from fracture.errors import DataError
from fracture.evaluation.files.references import reference_boxes
from fracture.evaluation.matching import BoxTable, box_table
from fracture.limb.card import Calibration, Card
from fracture.limb.detector import Detector, Examined
from fracture.wing.result import Box, Failure


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One annotated film and what the networks said.

    Attributes:
        film: Its annotation.
        examined: The networks' output; the radiograph in it has the film's size and facts but blank pixels, and its
            regions are the annotated ones.
        told: Regions as the networks themselves would have named them.
        judge: Card of the weights whose networks these were, where they are not the weights to be calibrated.
    """

    film: Film
    examined: Examined
    told: tuple[str, ...]
    judge: Card | None = None

    @property
    def score(self) -> float:
        """The ensemble's score."""
        return self.examined.output.score

    @property
    def box_score(self) -> float:
        """The film's part in the scores of its boxes (:attr:`EnsembleOutput.box_score`)."""
        return self.examined.output.box_score


def examine_films(
    detector: Detector, annotated: AnnotatedSet, *, progress: Callable[[int], object] | None = None
) -> tuple[list[Case], list[Failure]]:
    """Run the networks over every film of a set.

    Returns:
        The cases, and the films that cannot be read or judged, each under the set's name for it; together all films,
        both in the set's order.

    Raises:
        DataError: No film can be judged.
    """
    cases: list[Case] = []
    failures: list[Failure] = []
    paths = [annotated.image_path(film) for film in annotated]
    for film, found in zip(annotated, detector.examine_many(paths), strict=True):
        if progress is not None:
            progress(1)
        if isinstance(found, Failure):
            failures.append(replace(found, source=film.source))
            continue
        told, _ = detector.regions_of(replace(found.radiograph, regions=(), region_source=None), found.output)
        blank: NDArray[np.float32] = np.broadcast_to(np.float32(0.0), found.radiograph.pixels.shape)
        radiograph = replace(
            found.radiograph,
            pixels=blank,
            source=film.source,
            regions=film.regions,
            region_source="caller" if film.regions else None,
        )
        cases.append(Case(film, replace(found, radiograph=radiograph), told))
    if failures and not cases:
        raise DataError(
            f"none of the {len(failures)} films of {annotated.name} can be judged",
            got=f"{failures[0].source}: {failures[0].error}",
            hint="see verify-data",
        )
    return cases, failures


def recalibrated(cases: Sequence[Case], calibrators: Mapping[str, Calibration | None]) -> list[Case]:
    """The same cases with scores made by other calibrators, given by member name."""
    return [
        replace(case, examined=replace(case.examined, output=case.examined.output.recalibrated(calibrators)))
        for case in cases
    ]


def box_tables(
    films: Sequence[Film], boxes: Sequence[Sequence[Box]], factors: Sequence[float] | None = None
) -> tuple[BoxTable, BoxTable]:
    """Predicted and reference boxes of the same films, as the matcher takes them; a film's factor is of its scores."""
    by = [1.0] * len(films) if factors is None else factors
    found = [(i, (b.x0, b.y0, b.x1, b.y1), by[i] * b.score) for i, row in enumerate(boxes) for b in row]
    predicted = box_table(
        [i for i, _, _ in found],
        [c for _, c, _ in found],
        [s for _, _, s in found],
        films=len(films),
        name="predictions",
    )
    return predicted, reference_boxes(films)
