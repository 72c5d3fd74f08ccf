"""From a film to its joints: what stands between :class:`fracture.wing.reader.ReaderBase`'s reading and its results.

1. ``fracture.read``: the film at its native resolution; rows are resampled where pixels are not square.
2. ``finding.find``: hands and forefeet with their points.
3. The side: the caller's, the header's, or the letter's; else open.
4. Points that the caller corrected, widths of joint spaces, and scores where the weights have networks for them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fracture.digits import ENDS, Points, is_mirrored, kind_of, unit_length
from fracture.errors import ConfigurationError, InputError, WeightsIntegrityError
from fracture.io.radiograph import Radiograph, Spacing, given_spacing
from fracture.joints.card import STORE, JointsTest
from fracture.joints.finding import Found, find
from fracture.joints.layout import FAMILIES, POINTS
from fracture.joints.networks import CHANNELS, PLACE_SIZE, Finder, Placer
from fracture.joints.prediction import JointsFilm, JointsLimb
from fracture.joints.scoring import ScoreNetworks, score_joints
from fracture.joints.spaces import joint_spaces
from fracture.models.devices import Precision
from fracture.models.heatmaps import decode_heat
from fracture.preprocess.pipeline import SquareFilm, square_pixels
from fracture.preprocess.side_letter import Side, Sides, checked_sides, sides_of
from fracture.wing.assembly import Stages
from fracture.wing.card import WeightFile
from fracture.wing.engine_choice import Engine
from fracture.wing.networks import Fields, NetworkReader
from fracture.wing.reader import FilmReader, Taken, check_options, kept_readers
from fracture.wing.result import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.reading import Source

_BOX: Final = 0.3  # a joint's box as a share of the unit length
_UNSURE: Final = 0.87  # mean certainty below which a user is warned; see docs/joints.md
_TRUNK: Final = "Trunk of the point networks: hand landmark model (full) of MediaPipe Hands, Google, Apache-2.0"
_PAINTED: Final = "lesions painted into films with marked points; no film with rheumatoid damage"
_CAST: Final = 0.3  # chance of a cast from which a user is warned; see docs/joints.md
_ODD: Final = 0.17  # of Found.shape: nine in ten of the annotated hands and forefeet lie below


@dataclass(frozen=True, slots=True, eq=False)
class _Seen(Taken[Radiograph, SquareFilm]):
    """A film between the networks and the result."""

    limbs: tuple[Found, ...] = ()


class JointsReader(FilmReader[SquareFilm, _Seen], NetworkReader[Radiograph, SquareFilm, _Seen]):
    """Finds, measures and scores joints: a finder, a placer, and by families of joints networks that score damage."""

    store, float32, layout = STORE, True, torch.channels_last
    purpose = "Research on radiographs of hands and forefeet; not a medical device."

    def __init__(
        self, card: Any, finder: Finder, placer: Placer, *scores: torch.nn.Module, device: torch.device,
        dtype: torch.dtype = torch.float32, engine: Engine = "torch",
    ) -> None:  # fmt: skip
        self.template = placer.template.double().cpu().numpy()
        super().__init__(card, finder, placer, *scores, device=device, dtype=dtype, engine=engine)
        self._finder, self._placer, *rest = self.runners
        self._scores = dict(zip(card.scores, rest, strict=True))

    @classmethod
    def networks_of(cls, card: Any) -> list[tuple[WeightFile, Callable[[], Any]]]:
        """Finder, placer, and those of scores in the card's order."""
        scores = [(part, functools.partial(ScoreNetworks, part.model)) for part in card.scores.values()]
        return [(card.finder, Finder), (card.placer, Placer), *scores]

    @classmethod
    def fields_of(cls, run: Path) -> Fields:
        """Finder, placer, and the families of scores that the run has."""
        scored = {str(name): f"scores_{name}" for name in FAMILIES if (run / f"scores_{name}.json").exists()}
        return {"finder": "finder", "placer": "placer", "scores": scored}

    @classmethod
    def described(cls, stages: Stages, run: Path) -> Mapping[str, Any]:
        """What points and scores were learned from, and what must be said of scores.

        Args:
            stages: What the run says of each network.
            run: Its folder.
        """
        del run
        judged = {name.removeprefix("scores_"): stages[name]["training"].get("results", {}) for name in stages}
        judged = {family: judged[family] for family in FAMILIES if family in judged}
        points = str(stages["placer"]["training"].get("set", "films with marked points"))
        scored = {"scores": {"trained_on": _PAINTED}} if judged else {}
        return {
            "limitations": [
                "Damage scores are proven on painted lesions only.",
                "Measured only where the metrics below say so.",
            ],
            "attribution": [_TRUNK],
            "parts": {"points": {"trained_on": points}, **scored},
            "metrics": {"scores": judged} if judged else {},
        }

    def concluding(
        self, *, side: Sides = None, spacing: Spacing = None, points: Points | Sequence[Points] | None = None
    ) -> Callable[[_Seen], JointsFilm]:
        """The last step: sides, widths and scores; options as for :func:`fracture.joints.predict`."""
        given = [_checked(one) for one in ((points,) if isinstance(points, Mapping) else points or ())]
        return functools.partial(self._conclude, sides=checked_sides(side), size=given_spacing(spacing), given=given)

    def prepare(self, radiograph: Radiograph) -> SquareFilm:
        """The film with square pixels."""
        return square_pixels(radiograph)

    def examine(self, films: Sequence[Taken[Radiograph, SquareFilm]]) -> list[_Seen]:
        """The hands and forefeet of each film."""
        seen = [find(film.inputs.pixels, self._finder, self._placer, self.template) for film in films]
        return [_Seen(f.record, f.inputs, f.warnings, f.seconds, limbs) for f, limbs in zip(films, seen, strict=True)]

    def _conclude(
        self, seen: _Seen, *, sides: Sides, size: tuple[float, float] | None, given: Sequence[Points]
    ) -> JointsFilm:
        film, square = seen.record, seen.inputs
        found = _corrected(seen.limbs, [square.to_square(one) for one in given])
        if not found:
            raise InputError(
                f"{film.source}: no hand and no forefoot was found",
                allowed="a hand (PA) or a forefoot (AP), whole or nearly so",
                hint="if there is one, give its joints (in Python, points=)",
            )
        spacing = size or film.spacing
        told = sides_of(film, square.pixels, [one.points for one in found], sides)
        limbs = tuple(self._limb(film, square, *each, spacing) for each in zip(found, told, strict=True))
        return JointsFilm(
            **self.stated(film),
            limbs=limbs,
            spacing=spacing,
            seconds=seen.seconds,
            warnings=(*film.warnings, *seen.warnings, *_findings(found, limbs, square)),
        )

    def _limb(
        self, film: Radiograph, square: SquareFilm, one: Found, side: Side, spacing: tuple[float, float] | None
    ) -> JointsLimb:
        measurable = all(name in one.points for name in ENDS[one.kind])
        half, (across, down) = _BOX / 2 * unit_length(one.points) if measurable else 0.0, square.scale
        size = None if spacing is None else spacing[1] / across
        return JointsLimb(
            kind=one.kind,
            side=side.side,
            side_source=side.source,
            points=square.to_source(one.points),
            certainty=one.certainty,
            boxes={
                name: ((x - half) / across, (y - half) / down, (x + half) / across, (y + half) / down)
                for name, (x, y) in one.points.items()
                if half
            },
            spaces=joint_spaces(square.pixels, one.points, one.kind, size) if measurable else {},
            scores=score_joints(self._scores, square.pixels, one.points, one.kind) if measurable else {},
            center=one.center,
            mirrored=one.mirrored,
            source=film.source,
        )

    def self_test(self) -> JointsTest:
        """What the networks say of the self-test's picture.

        Raises:
            WeightsIntegrityError: A score is no number.
        """
        ramp = np.linspace(0, 1, PLACE_SIZE, dtype=np.float32)
        wave = 0.5 + 0.5 * np.sin(40 * ramp)[None, :] * np.cos(23 * ramp)[:, None] * ramp[:, None]
        plane = np.ascontiguousarray(wave, np.float32)[None, None]
        logits = self._placer.run({"x": plane})["output"][:, CHANNELS["hand"]]
        # Means of the whole maps: peaks of a meaningless picture would jump.
        points = decode_heat(logits, reach=logits.shape[-1])[0][0] / PLACE_SIZE
        center = torch.sigmoid(self._finder.run({"x": plane})["centers"].float()).max()
        for family, runner in self._scores.items():
            told = runner.run({"planes": plane - 0.5})
            if not all(bool(logits.isfinite().all()) for logits in told.values()):
                raise WeightsIntegrityError(f"the scores of {family} are no numbers for the self-test's picture")
        return JointsTest(points=tuple(points.flatten().clamp(0, 1).tolist()), center=float(center))


def _checked(points: Points) -> Points:
    """Points of one limb that the caller gives."""
    kind = kind_of(points)
    faults = [f"unknown: {name}" for name in sorted(set(points) - set(POINTS[kind]))]
    faults += [f"missing: {name}" for name in ENDS[kind] if name not in points]
    try:
        places = np.array([tuple(point) for point in points.values()], np.float64).reshape(len(points), 2)
    except (TypeError, ValueError):
        places = np.array([np.nan])
    if faults or not np.isfinite(places).all():
        raise ConfigurationError(
            "points of a hand or forefoot",
            got="; ".join(faults) or "a point that is no pair of finite numbers",
            allowed=f"name -> (x, y) of {', '.join(POINTS[kind])}, {' and '.join(ENDS[kind])} among them",
        )
    return {name: (x, y) for name, (x, y) in zip(points, places.tolist(), strict=True)}


def _corrected(found: Sequence[Found], given: Sequence[Points]) -> list[Found]:
    """The limbs of the caller, each completed by what was found of the same one; those found where he gives none."""

    def middle(points: Points) -> NDArray[np.float64]:
        return np.asarray(np.mean(list(points.values()), 0))

    limbs = []
    for points in given:
        kind, here = kind_of(points), middle(points)
        away = [(float(np.hypot(*(middle(one.points) - here))), one) for one in found if one.kind == kind]
        nobody = (unit_length(points), Found(kind, {}, {}, 1.0, False, 0.0, 0.0))  # one farther away is another one
        near = min([nobody, *away], key=lambda pair: pair[0])[1]
        merged = {**near.points, **points}
        ordered = {name: merged[name] for name in POINTS[kind] if name in merged}
        sure = {**near.certainty, **dict.fromkeys(points, 1.0)}
        limbs.append(replace(near, points=ordered, certainty=sure, mirrored=is_mirrored(merged), shape=0.0))
    return limbs or list(found)


def _findings(found: Sequence[Found], limbs: Sequence[JointsLimb], square: SquareFilm) -> tuple[str, ...]:
    """What a user should know."""
    said = []
    height, width = square.pixels.shape
    for number, (one, limb) in enumerate(zip(found, limbs, strict=True), 1):
        name = limb.kind if len(limbs) == 1 else f"{limb.kind} {number}"
        if one.score < _UNSURE or one.shape > _ODD or one.cast >= _CAST:
            said.append(
                f"{name}: the points are less certain than usual (bent or hidden digits, a child's hand, a cast, "
                "another view?); look at the overlay"
            )
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in one.points.values()):
            said.append(f"{name}: reaches beyond the film; points outside are guessed")
        if limb.side is None:
            said.append(f"{name}: the side is not known, so the challenge's columns stay empty; give the side")
    return tuple(said)


load = JointsReader.load
_reader = kept_readers(load)


def predict(
    source: Source,
    side: Sides = None,
    points: Points | Sequence[Points] | None = None,
    spacing: Spacing = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    **reading: Any,
) -> JointsFilm:
    """Find the joints of the hands or forefeet on one film, measure and score them; networks are loaded once and kept.

    Args:
        source: A path, array, PIL image, pydicom data set or Radiograph; see :func:`fracture.read`.
        side: ``"left"`` or ``"right"``, the patient's; of several limbs one each, from left to right in the picture.
            None: what the header says, or the letter in the film; else it stays open.
        points: Joints by name, (x, y) in source pixels, in place of those found: one mapping, or one per limb.
        spacing: Millimeters per pixel at the object, in place of what the file says: a number, or (row, column).
        weights, device, precision: As for :func:`load`.
        **reading: Options of :func:`fracture.read` (``frame``, ``window``, ``allow``, ...).

    Raises:
        InputError: The source cannot be read as a radiograph, or shows neither hand nor forefoot.
        WeightsError: The networks cannot be used.
        ConfigurationError: An unknown option or device, or a malformed side, spacing or point.
    """
    check_options(predict, reading)
    reader = _reader(weights, device, precision)
    found: JointsFilm = reader.predict(source, side=side, points=points, spacing=spacing, **reading)
    return found


def predict_many(
    sources: Iterable[Source],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    **options: Any,
) -> Iterator[JointsFilm | Failure]:
    """:meth:`JointsReader.predict_many` with networks that are loaded once and kept."""
    return _reader(weights, device).predict_many(sources, **options)
