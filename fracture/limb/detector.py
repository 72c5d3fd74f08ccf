"""The detector: a radiograph in, a prediction out."""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fracture.errors import ConfigurationError
from fracture.limb.attention import Attention
from fracture.limb.boxes import BoxParameters, find_boxes, find_candidates
from fracture.limb.card import Card
from fracture.limb.decision import Decider, Decision
from fracture.limb.ensemble import Ensemble, EnsembleOutput, PreparedFilm
from fracture.limb.fast import FAST_SUFFIX, fast_view
from fracture.limb.operating_points import OperatingPoints
from fracture.limb.prediction import Prediction
from fracture.limb.store import Weights, open_weights
from fracture.limb.study import Rule, StudyPrediction, check_rule
from fracture.models.devices import Precision, resolve_device
from fracture.wing.card import SelfTest
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import resolve_engine
from fracture.wing.reader import FilmReader, Taken
from fracture.wing.result import HIGH_SENSITIVITY, Box, Failure, GridToSource
from fracture.wing.rules import distance_warning
from fracture.wing.verification import self_test_film

if TYPE_CHECKING:
    from fracture.io.radiograph import Radiograph
    from fracture.io.reading import Source


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """What the networks say about one film, before any threshold.

    Attributes:
        radiograph: The film.
        output: Score, map and regions.
        seconds: Time spent on it.
        warnings: What the pixels say against its being a musculoskeletal radiograph.
    """

    radiograph: Radiograph
    output: EnsembleOutput
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What results call the film."""
        return self.radiograph.source


class Detector(FilmReader[PreparedFilm, Examined]):
    """Finds fractures on radiographs. Get one from :func:`fracture.load`.

    Args:
        ensemble: The networks.
        card: What the weights say of themselves: thresholds, box rules, region tree, name.
        folder: Where the weights lie, for fine-tuning.
        name: What predictions call the model; the card's name where left out.

    Raises:
        CardError: The card's operating points or box parameters are malformed.
    """

    def __init__(self, ensemble: Ensemble, card: Card, *, folder: Path | None = None, name: str | None = None) -> None:
        self.ensemble = ensemble
        self.card = card
        self._checksum = card.checksum  # a quarter of a millisecond, for each film otherwise
        self.name = card.name if name is None else name
        self.folder = folder
        self.tree = card.region_tree
        self.operating_points = OperatingPoints.from_dict(card.operating_points)
        self.box_parameters = BoxParameters.from_dict(card.boxes)

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        fast: bool = False,
        engine: Engine = "auto",
    ) -> Self:
        """Load weights by name or folder; see :func:`fracture.load`."""
        weights = open_weights(name_or_path)
        name, where = weights.card.name, resolve_device(device)
        engine, _ = resolve_engine(engine, checksum=weights.card.checksum, device=where, precision=precision)
        if fast:
            weights, name = Weights(weights.folder, fast_view(weights.card)), name + FAST_SUFFIX
        ensemble = Ensemble.load(weights, device=device, precision=precision, engine=engine)
        return cls(ensemble, weights.card, folder=weights.folder, name=name)

    def predict(
        self,
        source: Source,
        *,
        region: str | Sequence[str] | None = None,
        operating_point: str = HIGH_SENSITIVITY,
        candidates: bool = False,
        **reading: Any,
    ) -> Prediction:
        """Judge one radiograph.

        Args:
            source: A path, array, PIL image, pydicom data set or :class:`Radiograph`; see :func:`fracture.read`.
            region: The anatomical region or regions shown. Where it is not given, the file's own region is used,
                else the one that the networks recognize; ``Prediction.region_source`` says which.
            operating_point: ``"high_sensitivity"`` (the paper's 92.5 %) or ``"high_specificity"``: which threshold
                decides ``fractured``.
            candidates: Also return every box found in the map, whatever the film's decision.
            **reading: Further options of :func:`fracture.read` (``frame``, ``window``, ``allow``, ...).

        Returns:
            A prediction that keeps the film and the probability map, for plotting.

        Raises:
            InputError: The source cannot be read as a radiograph.
            RegionError: An unknown region.
            OperatingPointError: An unknown operating point, or none for the region.
            ConfigurationError: An unknown option.
        """
        self._check(self.predict, region, operating_point, reading)
        judge = functools.partial(self.judge, operating_point=operating_point, candidates=candidates)
        return self._one(source, judge, region=region, **reading)

    def predict_many(
        self,
        sources: Iterable[Source],
        *,
        region: str | Sequence[str] | None = None,
        operating_point: str = HIGH_SENSITIVITY,
        candidates: bool = False,
        batch_size: int = 8,
        workers: int = 2,
        keep: bool = False,
        **reading: Any,
    ) -> Iterator[Prediction | Failure]:
        """Judge many radiographs, lazily, in order, in constant memory.

        Threads read and prepare the films of the next batch while the networks work on this one. Films of one
        batch that have the same size after preparation run together; no film's score depends on its company.

        Args:
            sources: What :meth:`predict` takes, from any iterable; it is consumed as results are asked for.
            region, operating_point, candidates: As for :meth:`predict`, for all films.
            batch_size: Films per batch.
            workers: Threads that read ahead; 0 reads in the calling thread.
            keep: Keep film and map in each prediction; memory then grows with the results that the caller holds.
            **reading: Further options of :func:`fracture.read`.

        Yields:
            One result per source: a :class:`Prediction`, or a :class:`Failure` for a source that cannot be used.

        Raises:
            RegionError: An unknown region.
            OperatingPointError: An unknown operating point, or none for the region.
            ConfigurationError: One source instead of several, an unknown option, or a number out of range.
        """
        self._check(self.predict_many, region, operating_point, reading)

        def judge(examined: Examined) -> Prediction:
            result = self.judge(examined, operating_point=operating_point, candidates=candidates)
            return result if keep else result.drop_pixels()

        return self._many(sources, judge, batch_size=batch_size, workers=workers, region=region, **reading)

    def predict_study(
        self,
        sources: Sequence[Source],
        *,
        rule: Rule | Attention = "mean",
        name: str = "",
        region: str | Sequence[str] | None = None,
        operating_point: str = HIGH_SENSITIVITY,
        **reading: Any,
    ) -> StudyPrediction:
        """Judge the films of one study together: views of one bone, taken at one time.

        Args:
            sources: The films; one that cannot be read is a failure within the result.
            rule: How they are fused: ``"mean"``, ``"or"`` (sensitive), ``"and"`` (specific), or a learned
                :class:`fracture.limb.attention.Attention`; see :mod:`fracture.limb.study`.
            name: What the result calls the study; the first film's name where left out.
            region, operating_point, **reading: As for :meth:`predict`, for all films.

        Raises:
            ConfigurationError: No film, none that can be judged, an unknown rule or option.
            RegionError, OperatingPointError: As for :meth:`predict`.
        """
        options: dict[str, Any] = {"region": region, "operating_point": operating_point, **reading}
        films = tuple(self.predict_many(sources, keep=True, **options))
        return StudyPrediction(source=name or (films[0].source if films else "study"), films=films, rule=rule)

    def predict_studies(
        self,
        studies: Iterable[tuple[str, Sequence[Source]]],
        *,
        rule: Rule | Attention = "mean",
        keep: bool = False,
        **options: Any,
    ) -> Iterator[StudyPrediction | Failure]:
        """Judge many studies, lazily, in order; memory holds the films of one study and of two batches.

        Args:
            studies: What results call each study, and its films; consumed as results are asked for.
            rule: As for :meth:`predict_study`.
            keep: Keep films and maps in each result.
            **options: Those of :meth:`predict_many`.

        Yields:
            One result per study, in which a film that cannot be used is a failure; a :class:`Failure` for a study
            without a film that could be judged.

        Raises:
            ConfigurationError, RegionError, OperatingPointError: As for :meth:`predict_many`, or an unknown rule.
        """
        check_rule(rule)
        begun: deque[tuple[str, int]] = deque()

        def films() -> Iterator[Source]:
            for name, sources in studies:
                begun.append((name, len(sources)))
                yield from sources

        return _by_study(self.predict_many(films(), keep=keep, **options), begun, rule)

    def decide_many(
        self,
        sources: Iterable[Source],
        *,
        region: str | Sequence[str] | None = None,
        operating_point: str = HIGH_SENSITIVITY,
        batch_size: int = 8,
        workers: int = 2,
        **reading: Any,
    ) -> Iterator[Decision | Failure]:
        """Whether each of many radiographs is called fractured, and nothing else, as :meth:`predict_many` would say.

        Members of the ensemble run one after the other, and a film is left as soon as those that have not run cannot
        change its decision at either operating point; see :mod:`fracture.limb.decision`. What is saved grows with the
        number of members; with a single one in the mean of scores nothing is.

        Args:
            sources, region, operating_point, batch_size, workers, **reading: As for :meth:`predict_many`.

        Yields:
            One result per source: a :class:`fracture.limb.decision.Decision`, or a :class:`Failure`.

        Raises:
            RegionError, OperatingPointError, ConfigurationError: As for :meth:`predict_many`.
        """
        self._check(self.decide_many, region, operating_point, reading)
        decider = Decider(
            self.ensemble,
            self.card,
            self.operating_points,
            name=self.name,
            regions_of=self.regions_of,
            operating_point=operating_point,
        )
        return decider.decide_many(sources, batch_size=batch_size, workers=workers, region=region, **reading)

    def examine_many(
        self,
        sources: Iterable[Source],
        *,
        region: str | Sequence[str] | None = None,
        batch_size: int = 8,
        workers: int = 2,
        **reading: Any,
    ) -> Iterator[Examined | Failure]:
        """The first half of :meth:`predict_many`: what the networks say, before any threshold.

        For finding thresholds and for sweeping box rules; :meth:`judge` is the second half.
        """
        self._check_request(self.examine_many, reading, region)
        return self._many(sources, _as_it_is, batch_size=batch_size, workers=workers, region=region, **reading)

    def prepare(self, radiograph: Radiograph) -> PreparedFilm:
        """Preprocess one film for all members; see :meth:`Ensemble.prepare`."""
        return self.ensemble.prepare(radiograph)

    def examine(self, films: Sequence[Taken[Radiograph, PreparedFilm]]) -> list[Examined]:
        """What the networks say of films of one shape, as one batch."""
        outputs = self.ensemble.run([film.inputs for film in films])
        return [Examined(f.record, out, f.seconds, f.warnings) for f, out in zip(films, outputs, strict=True)]

    def _check(
        self,
        method: Callable[..., Any],
        region: str | Sequence[str] | None,
        operating_point: str,
        reading: Mapping[str, Any],
    ) -> None:
        shown = self._check_request(method, reading, region)
        _ = self.operating_points.lookup(shown, self.tree)[operating_point]

    def judge(
        self, examined: Examined, *, operating_point: str = HIGH_SENSITIVITY, candidates: bool = False
    ) -> Prediction:
        """Thresholds and boxes: the second half of :meth:`predict`, on what the networks said.

        Raises:
            RegionError: A region that is not in the tree.
            OperatingPointError: An unknown operating point, or none for the film's regions.
        """
        radiograph, output = examined.radiograph, examined.output
        regions, region_source = self.regions_of(radiograph, output)
        film = self.operating_points.lookup(regions, self.tree)
        applied = film[operating_point]
        fractured = applied.point.reached(output.score)
        boxes: tuple[Box, ...] = ()
        listed: tuple[Box, ...] | None = () if candidates else None
        grid = map_threshold = None
        if output.map is not None and output.grid_to_source is not None:
            grid = GridToSource(*output.grid_to_source)
            told = bool(output.told)
            parameters = self.box_parameters.with_threshold(film.map_threshold, told=told)
            map_threshold = parameters.reports(told=told)
            arguments: dict[str, Any] = {
                "to_source": grid,
                "size": (radiograph.width, radiograph.height),
                "score": output.box_score,
                "spacing": radiograph.spacing,
                "operating_point": film.strictest(output.score),
                "told": output.told,
            }
            boxes = find_boxes(output.map, parameters, **arguments) if fractured else ()
            listed = find_candidates(output.map, parameters, **arguments) if candidates else None
        return Prediction(
            source=radiograph.source,
            width=radiograph.width,
            height=radiograph.height,
            probability=output.score,
            fractured=fractured,
            boxes=boxes,
            threshold=applied.point.threshold,
            operating_point=operating_point,
            operating_node=applied.node,
            operating_reason=applied.reason,
            thresholds=film.thresholds,
            reached=film.reached(output.score),
            map_threshold=map_threshold,
            candidates=listed,
            regions=regions,
            region_source=region_source,
            region_probabilities=output.regions or None,
            raw_probability=output.raw_score,
            member_scores=output.member_scores,
            probability_map=output.map,
            map_to_source=grid,
            model=self.name,
            model_version=self.card.version,
            weights_checksum=self._checksum,
            spacing=radiograph.spacing,
            seconds=examined.seconds,
            warnings=(
                *applied.warnings,
                *radiograph.warnings,
                *examined.warnings,
                *self._distance_warning(output),
            ),
            input_distance=output.input_distance,
            radiograph=radiograph,
        )

    def _distance_warning(self, output: EnsembleOutput) -> tuple[str, ...]:
        if output.input_distance is None or self.card.input_check is None:
            return ()
        return distance_warning(output.input_distance, self.card.input_check.limit)

    def regions_of(self, radiograph: Radiograph, output: EnsembleOutput) -> tuple[tuple[str, ...], str | None]:
        """What the film shows, and who says so: the caller or the file, else the networks."""
        if radiograph.regions:
            return radiograph.regions, radiograph.region_source
        if not output.regions:
            return (), None
        shown = tuple(name for name, value in output.regions.items() if value >= self.card.region_cutoff)
        return shown or (max(output.regions, key=lambda name: output.regions[name]),), "model"


def measured_self_test(weights: Weights) -> SelfTest:
    """The score of the fixed film, in float32 on the CPU, whatever thresholds were found with: for a card."""
    ensemble = Ensemble.load(weights, device="cpu", precision="float32")
    return SelfTest(probability=Detector(ensemble, weights.card).predict(self_test_film()).probability)


def _by_study(
    films: Iterator[Prediction | Failure], begun: deque[tuple[str, int]], rule: Rule | Attention
) -> Iterator[StudyPrediction | Failure]:
    while (film := next(films, None)) is not None:
        name, count = begun.popleft()
        together = (film, *itertools.islice(films, count - 1))
        try:
            yield StudyPrediction(source=name, films=together, rule=rule)
        except ConfigurationError as error:  # no film could be judged
            yield Failure.of(name, error, sum(one.seconds for one in together))


def _as_it_is(examined: Examined) -> Examined:
    return examined
