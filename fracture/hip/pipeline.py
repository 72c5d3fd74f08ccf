"""From a film to its hips: what happens between :class:`fracture.wing.reader.ReaderBase`'s reading and its results.

1. ``fracture.read``: the film at its native resolution.
2. ``letterbox`` and ``rgb_input``: the localizer's input, with exact geometry.
3. The localizer's candidates, suppressed at an IoU of 0.3, and at most one box per side (``localizer.choose``).
4. ``crop_hip`` and ``rgb_input``: each hip out of the native film, left ones mirrored; the side is the localizer's,
   or the other where the file says that the film is mirrored (``Radiograph.mirrored``).
5. The classifier's last map; from it the probabilities and the heatmaps of all classes.
6. ``Hip``: thresholds of the card, heatmaps mirrored back and placed on the film.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fracture.data.records import Box
from fracture.errors import ConfigurationError, unforeseen
from fracture.hip.card import HipCard, HipTest
from fracture.hip.classes import CLASSES, SIDES
from fracture.hip.classifier import ClassifierModel, build_classifier
from fracture.hip.crops import HipCrop, crop_hip, touched_edges
from fracture.hip.explain import grad_cam
from fracture.hip.fusion import Fusion, fuse
from fracture.hip.localizer import Found, LocalizerModel, build_localizer, locate
from fracture.hip.prediction import Hip, HipFilm
from fracture.hip.store import STORE
from fracture.io.radiograph import Radiograph
from fracture.models.devices import Precision
from fracture.preprocess import Geometry, letterbox
from fracture.preprocess.rgb import rgb_input
from fracture.wing.engine_choice import Engine
from fracture.wing.networks import Fields, NetworkReader
from fracture.wing.reader import FilmReader, Taken, check_options, kept_readers
from fracture.wing.result import Box as ScoredBox, Failure
from fracture.wing.runner import place
from fracture.wing.verification import self_test_film

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.reading import Source
    from fracture.wing.assembly import Stages
    from fracture.wing.card import WeightFile

_UNTUNED = (
    "these networks' threshold is a placeholder that was found on no hip, so 'fractured' means nothing; "
    "train with hips of both kinds in the tuning part, or give the card a threshold (`fracture hip assemble --card`)"
)


@dataclass(frozen=True, slots=True, eq=False)
class LocalizerInput:
    """A film as the localizer takes it: planes float32 (3, height, width), and where they lie on the film."""

    planes: NDArray[np.float32]
    geometry: Geometry

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the image within the dark padding, in whole source pixels."""
        return self.geometry.crop

    @property
    def shape_key(self) -> tuple[int, ...]:
        """Shape of the planes."""
        return self.planes.shape


class HipReader(FilmReader[LocalizerInput, HipFilm], NetworkReader[Radiograph, LocalizerInput, HipFilm]):
    """Finds hips and names what they show. Get one from :func:`fracture.hip.load`.

    Args:
        card: What the networks say of themselves.
        localizer, classifier: Their tensors are laid out anew for inference.
        device: Where they run.
        dtype: Precision of their convolutions; everything after the last maps is float32.
        engine: What runs them, but what follows the classifier's last maps; see :mod:`fracture.wing.engines`.
    """

    store, layout = STORE, torch.channels_last
    purpose = "Research on hip radiographs; not a medical device."

    def __init__(
        self, card: HipCard, localizer: LocalizerModel, classifier: ClassifierModel, *, device: torch.device,
        dtype: torch.dtype = torch.float32, engine: Engine = "torch",
    ) -> None:  # fmt: skip
        super().__init__(card, localizer, classifier, device=device, dtype=dtype, engine=engine)
        self.localizer, self.classifier = localizer, classifier
        self._localizer, self._classifier = self.runners
        self.preprocess = card.localizer.preprocess_spec
        self.rules = card.localizer.chosen_by
        self.crop = card.classifier.crop_spec

    @classmethod
    def networks_of(cls, card: HipCard) -> list[tuple[WeightFile, Callable[[], Any]]]:
        """Localizer and classifier."""
        one, two = card.localizer, card.classifier
        build = functools.partial
        return [(one, build(build_localizer, one.model_spec)), (two, build(build_classifier, two.model_spec))]

    @classmethod
    def fields_of(cls, run: Path) -> Fields:
        """Localizer and classifier, both needed."""
        del run
        return {"localizer": "localizer", "classifier": "classifier"}

    @classmethod
    def described(cls, stages: Stages, run: Path) -> Mapping[str, Any]:
        """Thresholds, classes and data; see :func:`fracture.hip.assembly.described`.

        Args:
            stages: What the run says of each network.
            run: Its folder.
        """
        from fracture.hip.assembly import described

        return described(stages, run)

    def self_test(self) -> HipTest:
        """What the networks say of a film made of formulas, as one hip and at its best box."""
        film = self_test_film()
        values = self.classify(film, (0.0, 0.0, float(film.width), float(film.height)), "right")
        return HipTest(probabilities=tuple(float(v) for v in values), best_score=self.best_score(film))

    def predict(self, source: Source, **reading: Any) -> tuple[Hip, ...]:
        """The hips of one film; see :func:`fracture.hip.predict`."""
        return self.read_film(source, **reading).hips

    def read_film(self, source: Source, **reading: Any) -> HipFilm:
        """Like :meth:`predict`, with the film's size, warnings and time.

        Raises:
            InputError: The source cannot be read as a radiograph.
            ConfigurationError: An unknown option.
        """
        self._check_request(self.read_film, reading)
        return self._one(source, lambda found: found, **reading)

    def predict_many(
        self, sources: Iterable[Source], *, workers: int = 2, keep: bool = False, **reading: Any
    ) -> Iterator[HipFilm | Failure]:
        """Read the hips of many films, lazily, in order, in constant memory.

        Args:
            sources: Any iterable of what :meth:`predict` takes.
            workers: Threads that read ahead; 0 reads in the calling thread.
            keep: Keep films and heatmaps in the results.
            **reading: Options of :func:`fracture.read`.

        Yields:
            One result per source: a :class:`HipFilm`, or a :class:`Failure` for a source that cannot be used.

        Raises:
            ConfigurationError: One source instead of several, an unknown option, or a number out of range.
        """
        self._check_request(self.predict_many, reading)
        last = (lambda found: found) if keep else HipFilm.drop_pixels
        return self._many(sources, last, batch_size=1, workers=workers, **reading)

    def predict_study(self, sources: Sequence[Source], *, fusion: Fusion = "mean", **reading: Any) -> tuple[Hip, ...]:
        """The hips of one patient from several films: the answers for each side are fused.

        Box and heatmaps of a fused hip are those of the film with the best box.

        Args:
            sources: Films of one patient at one time.
            fusion: ``"mean"``, ``"or"`` (a fracture counts where any film shows one), or ``"attention"`` (learned;
                the weights must have it).
            **reading: Options of :func:`fracture.read`.

        Raises:
            InputError: A source cannot be read.
            ConfigurationError: No source, or an unknown or unavailable fusion.
        """
        self._check_request(self.predict_study, reading)
        if not sources or isinstance(sources, (str, bytes, os.PathLike)):
            raise ConfigurationError("a study needs a list of films", got=repr(sources)[:80])
        if fusion not in ("mean", "or", "attention"):
            raise ConfigurationError("unknown fusion of views", got=fusion, allowed=("mean", "or", "attention"))
        if fusion == "attention" and self.classifier.attention is None:
            raise ConfigurationError(
                "these networks have no learned attention over views", hint="use fusion='mean' or 'or'"
            )
        seen: dict[str, list[tuple[Hip, torch.Tensor]]] = {}
        for source in sources:
            film = self._taken(source, **reading)
            with unforeseen(film.record.source):
                for hip, features in self._hips(film.record, film.inputs):
                    seen.setdefault(hip.side, []).append((hip, features))
        return tuple(self._fused(seen[side], fusion) for side in ("right", "left") if side in seen)

    def classify(self, radiograph: Radiograph, box: Box, side: str) -> NDArray[np.float64]:
        """Probabilities of the six classes for a box that somebody else drew, float64 (6,); for evaluation.

        Args:
            radiograph: The film.
            box: The hip, in source pixels.
            side: The patient's, ``"left"`` or ``"right"``.

        Raises:
            ConfigurationError: An unknown side.
            PixelValueError: The box lies off the film.
        """
        crop = crop_hip(radiograph.pixels, box, _in_the_mirror(side, radiograph), self.crop, radiograph.aspect)
        _, _, probabilities = self._judge_crops([crop])
        return np.asarray(probabilities[0], np.float64)

    def localize(self, radiograph: Radiograph) -> tuple[Found, ...]:
        """The hips' boxes alone, in source pixels."""
        return self._localize(self.prepare(radiograph))

    def best_score(self, radiograph: Radiograph) -> float:
        """The highest score of any box on a film, whatever the rules; for the self-test."""
        output = self._localizer.run({"x": self.prepare(radiograph).planes[None]})
        return float(torch.sigmoid(output["class_logits"]).max())

    def prepare(self, radiograph: Radiograph) -> LocalizerInput:
        """Preprocess one film for the localizer.

        Raises:
            PixelValueError: The film is all padding.
        """
        boxed = letterbox(radiograph, self.preprocess)
        return LocalizerInput(rgb_input(boxed.pixels, boxed.mask), boxed.geometry)

    def examine(self, films: Sequence[Taken[Radiograph, LocalizerInput]]) -> list[HipFilm]:
        """Find and read the hips of each film."""
        untuned = (_UNTUNED,) if self.card.fracture.placeholder else ()
        found = []
        for film in films:
            radiograph = film.record
            hips = tuple(hip for hip, _ in self._hips(radiograph, film.inputs))
            found.append(
                HipFilm(
                    **self.stated(radiograph),
                    hips=hips,
                    seconds=film.seconds,
                    warnings=(*untuned, *radiograph.warnings, *film.warnings, *_findings(hips, radiograph)),
                )
            )
        return found

    def _localize(self, inputs: LocalizerInput) -> tuple[Found, ...]:
        planes = place(inputs.planes[None], self.device, self.dtype)
        return locate(self.localizer, planes, inputs.geometry, self.rules, self._localizer)

    def _hips(self, radiograph: Radiograph, inputs: LocalizerInput) -> list[tuple[Hip, torch.Tensor]]:
        """Each hip with its last map."""
        found = self._localize(inputs)
        if not found:
            return []
        crops = [crop_hip(radiograph.pixels, one.box, one.side, self.crop, radiograph.aspect) for one in found]
        features, maps, probabilities = self._judge_crops(crops)
        size = (radiograph.width, radiograph.height)
        hips = []
        for one, crop, heat, values in zip(found, crops, maps, probabilities, strict=True):
            upright = heat[:, :, ::-1] if crop.place.flipped else heat
            hips.append(
                Hip(
                    side=_in_the_mirror(one.side, radiograph),
                    box=ScoredBox(*one.box, one.score),
                    probabilities=dict(zip(CLASSES, values.tolist(), strict=True)),
                    threshold=self.card.fracture.threshold,
                    advise_threshold=None if self.card.advise_imaging is None else self.card.advise_imaging.threshold,
                    edges=touched_edges(one.box, size),
                    heatmaps=np.ascontiguousarray(upright),
                    map_to_source=crop.place.grid_to_source(heat.shape[-1]),
                    source=radiograph.source,
                    width=radiograph.width,
                    height=radiograph.height,
                    model=self.card.name,
                    model_version=self.card.version,
                    radiograph=radiograph,
                )
            )
        return sorted(zip(hips, features, strict=True), key=lambda pair: pair[0].side != "right")

    def _judge_crops(self, crops: Sequence[HipCrop]) -> tuple[torch.Tensor, NDArray[np.float32], NDArray[np.float64]]:
        """Last maps (n, channels, h, w), heatmaps (n, 6, h, w), probabilities (n, 6)."""
        features = self._classifier.run({"x": np.stack([rgb_input(crop.pixels, crop.mask) for crop in crops])})[
            "output"
        ]
        logits, maps = grad_cam(self.classifier, features)
        probabilities = torch.softmax(logits.double(), dim=1)
        return features, maps.cpu().numpy(), probabilities.cpu().numpy()

    def _fused(self, seen: Sequence[tuple[Hip, torch.Tensor]], fusion: Fusion) -> Hip:
        best = max((hip for hip, _ in seen), key=lambda hip: hip.box_score)
        if fusion == "attention" and self.classifier.attention is not None:
            with torch.inference_mode():
                pooled = torch.cat([self.classifier.pooled(features[None]) for _, features in seen])
                logits = self.classifier.last(self.classifier.attention(pooled[None]))
                values = torch.softmax(logits.double(), dim=1)[0].cpu().numpy()
        else:
            values = fuse([list(hip.probabilities.values()) for hip, _ in seen], "or" if fusion == "or" else "mean")
        return replace(best, probabilities=dict(zip(CLASSES, values.tolist(), strict=True)), views=len(seen))


def _findings(hips: Sequence[Hip], radiograph: Radiograph) -> tuple[str, ...]:
    """What is odd about the sides; they are reported all the same."""
    found = []
    by_side = {hip.side: hip for hip in hips}
    if radiograph.mirrored:
        found.append("PatientOrientation says that the film is mirrored: the sides are named accordingly")
    elif len(by_side) == len(SIDES) and by_side["right"].box.center[0] > by_side["left"].box.center[0]:
        found.append("the patient's right hip stands on the right of the film: mirrored, or exposed from behind?")
    if len(hips) == 1 and radiograph.laterality in SIDES and radiograph.laterality != hips[0].side:
        found.append(f"the file says {radiograph.laterality}, the hip found looks like a {hips[0].side} one")
    cut = [hip.side for hip in hips if {"left", "right", "top"} & set(hip.edges)]
    found.extend(f"the {side} hip reaches the film's edge and may be cut off" for side in cut)
    return tuple(found)


def _in_the_mirror(side: str, radiograph: Radiograph) -> str:
    """Between the side of a hip as it looks and the patient's: they differ where the file says the film is mirrored."""
    return SIDES[1 - SIDES.index(side)] if radiograph.mirrored and side in SIDES else side


load = HipReader.load


_reader = kept_readers(load)


def predict(
    source: Source,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **reading: Any,
) -> tuple[Hip, ...]:
    """Find the hips of one film and read them in six classes; the networks are loaded once and kept.

    Args:
        source: A path, array, PIL image, pydicom data set or Radiograph; see :func:`fracture.read`.
        weights, device, precision: As for :func:`load`.
        **reading: Options of :func:`fracture.read` (``frame``, ``window``, ``allow``, ...).

    Returns:
        Patient's right and left hip, as far as they were found; ``()`` for a film without hips.

    Raises:
        InputError: The source cannot be read as a radiograph.
        WeightsError: The networks cannot be used.
        ConfigurationError: An unknown option, device or precision.
    """
    check_options(predict, reading)
    return _reader(weights, device, precision).predict(source, **reading)


def predict_many(
    sources: Iterable[Source],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **options: Any,
) -> Iterator[HipFilm | Failure]:
    """:meth:`HipReader.predict_many` with networks that are loaded once and kept."""
    return _reader(weights, device, precision).predict_many(sources, **options)


def predict_study(
    sources: Sequence[Source],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    fusion: Fusion = "mean",
    **reading: Any,
) -> tuple[Hip, ...]:
    """:meth:`HipReader.predict_study` with networks that are loaded once and kept."""
    check_options(predict_study, reading)
    return _reader(weights, device, precision).predict_study(sources, fusion=fusion, **reading)
