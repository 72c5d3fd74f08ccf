"""Only the decision, from as many members as it takes: the rest could not change it any more.

The ensemble's score is the unweighted mean of M members' scores, each in [0, 1] (Jones et al. 2020, Methods). Once k of
them have spoken, with the sum S, the mean of all lies between S / M and (S + M - k) / M, whatever the others would say.
Where no threshold of the film lies between these, every operating point is decided as by all members. The bound is
ours, and so is the order, which is the card's.

How soon that happens depends on the thresholds: with ten members and a threshold of 0.1 a film may be called normal
only when the tenth is the last that is left, but fractured as soon as the scores of a few add up to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from fracture.limb.card import Card
from fracture.limb.ensemble import Ensemble, EnsembleOutput, PreparedFilm
from fracture.limb.operating_points import FilmThresholds, OperatingPoints
from fracture.wing.reader import FilmReader, Taken
from fracture.wing.result import Failure, ResultBase, plain_number

if TYPE_CHECKING:
    from fracture.io.radiograph import Radiograph
    from fracture.io.reading import Source

_ROUNDING: Final = 1e-9  # the mean of all is summed in another order than ours; that moves it by some 1e-16


@dataclass(frozen=True, kw_only=True)
class Decision(ResultBase):
    """How one film is decided at each operating point, without its probability and boxes.

    Attributes:
        source: The film, as the caller gave it.
        fractured: Whether the ensemble's probability reaches the threshold at ``operating_point``.
        operating_point: The one that was asked for.
        reached: Names of all operating points that it reaches, in the order of ``POINTS``.
        thresholds: Score thresholds of the film's operating points by name.
        regions: Anatomical regions shown, by name; ``()`` where unknown.
        region_source: ``"caller"``, ``"dicom"``, ``"model"``, or ``None`` where unknown.
        between: The least and the greatest probability that all members together could give; equal where all ran.
        members: Names of the members that ran and had a part in the score, in order.
        of: Members that have a part in the score.
        model, model_version, weights_checksum: Of the weights, as in a ``Prediction``.
        seconds: Wall time from file to decision.
        warnings: Findings that a user should see. The input check is not among them: it needs a member that may not
            have run.
    """

    _shown: ClassVar[tuple[str, ...]] = ("source", "fractured", "reached", "between", "members", "of")

    source: str
    fractured: bool
    operating_point: str
    reached: tuple[str, ...]
    thresholds: dict[str, float]
    regions: tuple[str, ...]
    region_source: str | None
    between: tuple[float, float]
    members: tuple[str, ...]
    of: int
    model: str
    model_version: str
    weights_checksum: str
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-able values."""
        low, high = self.between
        return {
            "source": self.source,
            "ok": True,
            "fractured": self.fractured,
            "operating_point": self.operating_point,
            "reached": list(self.reached),
            "thresholds": {name: plain_number(value) for name, value in self.thresholds.items()},
            "regions": list(self.regions),
            "region_source": self.region_source,
            "between": [plain_number(low), plain_number(high)],
            "members": list(self.members),
            "of": self.of,
            "model": self.model,
            "model_version": self.model_version,
            "weights_checksum": self.weights_checksum,
            "seconds": plain_number(self.seconds),
            "warnings": list(self.warnings),
        }


@dataclass(slots=True)
class _Open:
    """A film that is being decided: scores of the members that ran, and what it is judged by."""

    taken: Taken[Radiograph, PreparedFilm]
    regions: tuple[str, ...]
    region_source: str | None
    film: FilmThresholds
    scores: dict[str, float]

    def is_open(self, members: int) -> bool:
        return is_open(list(self.scores.values()), members, list(self.film.thresholds.values()))


def bounds(scores: Sequence[float], members: int) -> tuple[float, float]:
    """The least and the greatest mean that ``members`` scores in [0, 1] can have of which ``scores`` are known."""
    total = float(np.sum(scores))
    return (total / members, (total + members - len(scores)) / members)


def is_open(scores: Sequence[float], members: int, thresholds: Sequence[float]) -> bool:
    """Whether the scores that are not known could bring the mean to the other side of a threshold.

    Args:
        scores: Those that are known, in [0, 1].
        members: How many there are in all.
        thresholds: Reached at or above, each.
    """
    low, high = bounds(scores, members)
    return len(scores) < members and any(low - _ROUNDING < t <= high + _ROUNDING for t in thresholds)


class Decider(FilmReader[PreparedFilm, Decision]):
    """Decides films with as few members of an ensemble as it takes; ``Detector.decide_many`` makes one.

    Args:
        ensemble: Its networks.
        card: Of the weights.
        points: Their thresholds.
        name: What decisions call the model.
        regions_of: What a film shows and who says so, from the film and what the members said that tell regions.
        operating_point: What decides ``Decision.fractured``.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        card: Card,
        points: OperatingPoints,
        *,
        name: str,
        regions_of: Callable[[Radiograph, EnsembleOutput], tuple[tuple[str, ...], str | None]],
        operating_point: str,
    ) -> None:
        self.ensemble = ensemble
        self.card = card
        self._checksum = card.checksum  # a quarter of a millisecond, for each film otherwise
        self.points = points
        self.name = name
        self.regions_of = regions_of
        self.operating_point = operating_point
        self.tree = card.region_tree
        self._opinions = [member.name for member in ensemble.members if member.has_opinion]
        self._regions = [m.name for m in ensemble.members if m.tells_regions and m.model.spec.regions]

    def prepare(self, radiograph: Radiograph) -> PreparedFilm:
        """Preprocess one film for all members; see :meth:`Ensemble.prepare`."""
        return self.ensemble.prepare(radiograph)

    def examine(self, films: Sequence[Taken[Radiograph, PreparedFilm]]) -> list[Decision]:
        """Ask member after member about films of one shape, each as long as it is open."""
        first = self._opinions[:1]
        if any(not film.record.regions for film in films):
            # A film's thresholds depend on what it shows, so that all who tell that come first.
            first = list(dict.fromkeys([*first, *self._regions]))
        outputs = self.ensemble.run([film.inputs for film in films], members=first)
        every = [self._begun(film, output) for film, output in zip(films, outputs, strict=True)]
        count = len(self._opinions)
        for name in self._opinions:
            going = [film for film in every if name not in film.scores and film.is_open(count)]
            if going:
                said = self.ensemble.run([film.taken.inputs for film in going], members=[name])
                for film, output in zip(going, said, strict=True):
                    film.scores.update(output.member_scores)
        return [self._concluded(film) for film in every]

    def decide_many(self, sources: Iterable[Source], **options: Any) -> Iterator[Decision | Failure]:
        """Decide many films; see ``Detector.decide_many``."""
        return self._many(sources, lambda decision: decision, **options)

    def _begun(self, taken: Taken[Radiograph, PreparedFilm], output: EnsembleOutput) -> _Open:
        regions, source = self.regions_of(taken.record, output)
        film = self.points.lookup(regions, self.tree)
        _ = film[self.operating_point]
        return _Open(taken, regions, source, film, dict(output.member_scores))

    def _concluded(self, film: _Open) -> Decision:
        count = len(self._opinions)
        low, high = bounds(list(film.scores.values()), count)
        if len(film.scores) == count:  # the very mean that a prediction has
            low = high = float(np.mean([film.scores[name] for name in self._opinions]))
        reached = film.film.reached(low)
        return Decision(
            source=film.taken.source,
            fractured=self.operating_point in reached,
            operating_point=self.operating_point,
            reached=reached,
            thresholds=film.film.thresholds,
            regions=film.regions,
            region_source=film.region_source,
            between=(low, high),
            members=tuple(name for name in self._opinions if name in film.scores),
            of=count,
            model=self.name,
            model_version=self.card.version,
            weights_checksum=self._checksum,
            warnings=(
                *film.film[self.operating_point].warnings,
                *film.taken.record.warnings,
                *film.taken.warnings,
            ),
        )
