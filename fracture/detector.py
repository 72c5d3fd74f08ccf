"""The detector: a radiograph in, a prediction out. The one place that walks the whole way through the house."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fracture.ahead import ahead, source_name
from fracture.boxes import BoxParameters, find_boxes, find_candidates
from fracture.card import Card
from fracture.ensemble import Ensemble, EnsembleOutput, Precision, PreparedFilm, shape_groups
from fracture.errors import ConfigurationError, InputError
from fracture.fast import FAST_SUFFIX, fast_view
from fracture.input_check.rules import check_pixels, distance_warning
from fracture.operating_points import OperatingPoints
from fracture.prediction import HIGH_SENSITIVITY, Box, Failure, GridToSource, Prediction
from fracture.reading import read
from fracture.store import Weights, open_weights

if TYPE_CHECKING:
    from fracture.data.records import AnnotatedSet
    from fracture.finetune import FineTuned
    from fracture.radiograph import Radiograph
    from fracture.reading import Source

__all__ = ["Detector", "Examined", "load", "predict"]


_READING = frozenset(inspect.signature(read).parameters) - {"source", "region", "tree"}


@dataclass(frozen=True, slots=True)
class _Film:
    """A film between reading and judging."""

    radiograph: Radiograph
    prepared: PreparedFilm
    seconds: float
    warnings: tuple[str, ...]


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


class Detector:
    """Finds fractures on radiographs. Get one from :func:`fracture.load`.

    Args:
        ensemble: The networks.
        card: What the weights say of themselves: thresholds, box rules, region tree, name.
        folder: Where the weights lie, for :meth:`finetune`.
        name: What predictions call the model; the card's name where left out.

    Raises:
        CardError: The card's operating points or box parameters are malformed.
    """

    def __init__(self, ensemble: Ensemble, card: Card, *, folder: Path | None = None, name: str | None = None) -> None:
        self.ensemble = ensemble
        self.card = card
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
    ) -> Detector:
        """Load weights by name or folder; see :func:`load`."""
        weights = open_weights(name_or_path)
        name = weights.card.name
        if fast:
            weights, name = Weights(weights.folder, fast_view(weights.card)), name + FAST_SUFFIX
        ensemble = Ensemble.load(weights, device=device, precision=precision)
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
            RegionError: An unknown region or operating point.
        """
        self._check_request(region, operating_point, reading)
        start = time.perf_counter()
        radiograph = read(source, region=region, tree=self.tree, **reading)
        prepared = self.ensemble.prepare(radiograph)
        warnings = check_pixels(radiograph, prepared.inputs[0].geometry.crop)
        output = self.ensemble.run([prepared])[0]
        examined = Examined(radiograph, output, 0.0, warnings)
        result = self.judge(examined, operating_point=operating_point, candidates=candidates)
        return replace(result, seconds=time.perf_counter() - start)

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
            batch_size: Films looked at together.
            workers: Threads that read ahead; 0 reads in the calling thread.
            keep: Keep film and map in each prediction; memory then grows with the results that the caller holds.
            **reading: Further options of :func:`fracture.read`.

        Yields:
            One result per source: a :class:`Prediction`, or a :class:`Failure` for a source that cannot be used.

        Raises:
            RegionError: An unknown region or operating point.
            ConfigurationError: One source instead of several, an unknown option, or a number out of range.
        """
        self._check_request(region, operating_point, reading)
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigurationError(
                "predict_many takes several sources", got=repr(sources)[:80], hint="put one source into a list"
            )
        if batch_size < 1 or workers < 0:
            raise ConfigurationError(
                "predict_many needs at least one film per batch and no negative number of workers",
                got=f"batch_size={batch_size}, workers={workers}",
            )
        examined = self.examine_many(sources, region=region, batch_size=batch_size, workers=workers, **reading)

        def results() -> Iterator[Prediction | Failure]:
            for found in examined:
                if isinstance(found, Failure):
                    yield found
                    continue
                result = self.judge(found, operating_point=operating_point, candidates=candidates)
                yield result if keep else result.drop_pixels()

        return results()

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
        options = {"region": region, "tree": self.tree, **reading}
        prepare = functools.partial(self._prepare, options)
        for batch in _batches(ahead(sources, prepare, workers, 2 * batch_size), batch_size):
            start = time.perf_counter()
            films = [film for film in batch if isinstance(film, _Film)]
            outputs: dict[int, EnsembleOutput] = {}
            for group in shape_groups([film.prepared for film in films]):
                for index, output in zip(group, self.ensemble.run([films[i].prepared for i in group]), strict=True):
                    outputs[id(films[index])] = output
            share = (time.perf_counter() - start) / max(1, len(films))
            for film in batch:
                if isinstance(film, Failure):
                    yield film
                else:
                    yield Examined(film.radiograph, outputs[id(film)], film.seconds + share, film.warnings)

    def _prepare(self, options: Mapping[str, Any], source: Source) -> _Film | Failure:
        start = time.perf_counter()
        try:
            radiograph = read(source, **options)
            prepared = self.ensemble.prepare(radiograph)
            warnings = check_pixels(radiograph, prepared.inputs[0].geometry.crop)
        except InputError as error:
            return Failure(source_name(source), error, time.perf_counter() - start)
        return _Film(radiograph, prepared, time.perf_counter() - start, warnings)

    def _check_request(
        self, region: str | Sequence[str] | None, operating_point: str, reading: Mapping[str, Any]
    ) -> None:
        """What is wrong with the request is said at the call, not at the first film."""
        if unknown := sorted(set(reading) - _READING):
            raise ConfigurationError("unknown options", got=", ".join(unknown), allowed=sorted(_READING))
        names = () if region is None else (region,) if isinstance(region, str) else tuple(region)
        shown = tuple(self.tree.normalize(name) for name in names)
        _ = self.operating_points.lookup(shown, self.tree)[operating_point]

    def judge(
        self, examined: Examined, *, operating_point: str = HIGH_SENSITIVITY, candidates: bool = False
    ) -> Prediction:
        """Thresholds and boxes: the second half of :meth:`predict`, on what the networks said.

        Raises:
            RegionError: An unknown operating point, or a region that is not in the tree.
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
            parameters = self.box_parameters.with_threshold(film.map_threshold)
            map_threshold = parameters.threshold
            arguments: dict[str, Any] = {
                "to_source": grid,
                "size": (radiograph.width, radiograph.height),
                "score": output.score,
                "spacing": radiograph.spacing,
                "operating_point": film.strictest(output.score),
            }
            arguments["extents"] = output.extents
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
            spacing=radiograph.spacing,
            seconds=examined.seconds,
            warnings=(*radiograph.warnings, *examined.warnings, *self._distance_warning(output)),
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

    def finetune(
        self,
        data: AnnotatedSet | str | Path,
        *,
        region: str,
        out: str | Path,
        parent: str | None = None,
        **options: Any,
    ) -> FineTuned:
        """Teach these weights a new region from films of it; this detector stays as it is.

        Args:
            data: An annotated set, or its path: films of the region, some fractured.
            region: Its name; one that the region tree lacks is added below ``parent``.
            out: Folder of the new weights.
            parent: Region that the new one is a part of, such as ``"wrist"`` for a scaphoid.
            **options: Those of :func:`fracture.finetune.finetune`: ``old``, ``policy``, ``split``, ``seed``, ...

        Returns:
            The new detector, its card, and a report of what was gained and what it cost the old regions.

        Raises:
            ConfigurationError: This detector was not loaded from a folder; and as for
                :func:`fracture.finetune.finetune`, which see for everything else.
        """
        from fracture.finetune import finetune

        if self.folder is None:
            raise ConfigurationError(
                "this detector was not loaded from a folder of weights",
                hint="get it from fracture.load, or call fracture.finetune.finetune(folder, ...)",
            )
        return finetune(self.folder, data, region=region, out=out, parent=parent, **options)


@functools.lru_cache(maxsize=2)
def _shared(name_or_path: str | None, device: str, precision: Precision, fast: bool) -> Detector:
    return Detector.load(name_or_path, device=device, precision=precision, fast=fast)


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    fast: bool = False,
) -> Detector:
    """Load a detector from shipped weights or a folder; nothing is fetched from the network.

    Args:
        name_or_path: Name of shipped weights, or a folder with ``card.json`` and its safetensors files; the default
            weights where left out.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        precision: ``"auto"`` (bfloat16 where the processor multiplies in it), ``"float32"`` or ``"bfloat16"``.
        fast: Run only the members that the card names for this, with operating points of their own; the card's
            ``fast.loses`` says what that costs.

    Raises:
        WeightsNotFoundError: No such weights.
        CardError: The card does not follow the schema.
        WeightsIntegrityError: A weight file is not what its card describes.
        ConfigurationError: An unknown device or precision, or ``fast`` with weights that have no fast subset.
    """
    return Detector.load(name_or_path, device=device, precision=precision, fast=fast)


def predict(
    source: Source,
    *,
    region: str | Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    fast: bool = False,
    operating_point: str = HIGH_SENSITIVITY,
    candidates: bool = False,
    **reading: Any,
) -> Prediction:
    """Judge one radiograph with the shipped weights, which are loaded once and kept.

    The arguments are those of :meth:`Detector.predict` and :func:`load`; so are the errors.
    """
    key = None if weights is None else os.fspath(weights)
    detector = _shared(key, device, precision, fast)
    return detector.predict(source, region=region, operating_point=operating_point, candidates=candidates, **reading)


def _batches(films: Iterator[_Film | Failure], size: int) -> Iterator[list[_Film | Failure]]:
    batch: list[_Film | Failure] = []
    for film in films:
        batch.append(film)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
