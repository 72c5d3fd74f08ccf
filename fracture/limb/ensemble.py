"""The ensemble: members, their inputs, and the unweighted mean of what they say.

Jones et al. 2020, Methods, "Analysis stage": the score is the unweighted average over all networks; the map is the
unweighted average over those that give one. Averaged are probabilities, not logits. Where a member has a calibrator,
its score is calibrated before the average (our choice; the card says whether). A member that is ``boxes_only`` or
``regions_only`` in the card has no part in these means (ours, too).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from fracture.errors import ConfigurationError
from fracture.limb.card import Calibration, MemberCard, View
from fracture.limb.cell_boxes import CellBoxes, best_cells
from fracture.limb.store import Weights
from fracture.models import MAP_STRIDE, FractureModel, ModelOutput, build_model
from fracture.models.devices import Precision, resolve_device
from fracture.models.inference import fuse_for_inference, in_precision
from fracture.models.persistence import filled
from fracture.models.pooling import cell_validity
from fracture.preprocess import Prepared, PreprocessSpec, prepare_all
from fracture.preprocess.pipeline import stacked
from fracture.wing.distribution import FeatureDistribution
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import make_runner, resolve_engine
from fracture.wing.runner import TorchRunner, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.radiograph import Radiograph


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One network, ready to run.

    Attributes:
        name: The stem of its weight file; how a prediction's ``member_scores`` call it.
        model: In evaluation mode, on the ensemble's device and in its precision.
        preprocess: What it is fed.
        views: Further ways in which a film is shown to it.
        calibration: Applied to its score before averaging, or ``None``.
        has_opinion: It has a part in the means of scores and maps.
        tells_boxes: Its pyramid's cells, where it has one, give boxes. The best of them may have its part in the score
            either way.
        tells_regions: It has a part in the mean of regions.
    """

    name: str
    model: FractureModel
    preprocess: PreprocessSpec
    calibration: Calibration | None = None
    has_opinion: bool = True
    tells_boxes: bool = True
    tells_regions: bool = True
    views: tuple[View, ...] = ()

    @property
    def looks(self) -> tuple[tuple[PreprocessSpec, bool], ...]:
        """What a film is prepared as for it, and whether it is mirrored then; without its views first."""
        further = [(replace(self.preprocess, size=v.size or self.preprocess.size), v.mirrored) for v in self.views]
        return ((self.preprocess, False), *further)


@dataclass(frozen=True, slots=True)
class _Look:
    """One pass of a film through a member: which member, which of the ensemble's specifications, and how."""

    member: int
    spec: int
    mirrored: bool


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFilm:
    """One film prepared once for each distinct specification, in the order of ``Ensemble.specs``."""

    inputs: tuple[Prepared, ...]

    @property
    def shape_key(self) -> tuple[tuple[int, ...], ...]:
        """Films with equal keys can share a batch."""
        return tuple(prepared.planes.shape for prepared in self.inputs)

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the image within the dark padding, in whole source pixels."""
        return self.inputs[0].geometry.crop


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleOutput:
    """What the ensemble says about one film.

    Attributes:
        score: Mean of the members' (calibrated) scores, in [0, 1].
        raw_score: Mean of the members' scores before calibration; equal to ``score`` without calibrators.
        member_scores: Each member's (calibrated) score by name.
        map: float32, (h, w), mean of the members' probability maps, 0 where the film is not; ``None`` where no
            member gives one.
        grid_to_source: (scale_x, scale_y, offset_x, offset_y): a point u in cells of ``map`` lies at
            ``u * scale + offset`` in source pixels.
        regions: Mean probability of each region the members tell apart, by name; empty without region heads.
        member_logits: Each member's logit by name, the mean over its views, before calibration and before the sigmoid.
        member_peaks: Logit of the highest quality among the boxes that a member tells, the mean over its views, by
            name; for members with a pyramid only. Part of a member's score where its calibrator says so.
        told: Boxes that the cells of each view of each member with a pyramid tell, with their quality, without members
            whose boxes are left out; ``()`` where there is none.
        without_boxes: Names of the members whose boxes are left out.
        input_distance: How far the film's features lie from those of real films, about 1 for a typical film; ``None``
            where the weights have no input check.
    """

    score: float
    raw_score: float
    member_scores: dict[str, float]
    map: NDArray[np.float32] | None
    grid_to_source: tuple[float, float, float, float] | None
    regions: dict[str, float]
    member_logits: dict[str, float]
    input_distance: float | None = None
    told: tuple[CellBoxes, ...] = ()
    member_peaks: dict[str, float] = field(default_factory=dict)
    without_boxes: frozenset[str] = frozenset()

    @property
    def box_score(self) -> float:
        """The film's part in the score of a box, in [0, 1]: the mean of the scores of those members whose boxes are not
        left out; ``score`` where none of them has an opinion. A network that tells no boxes has no say in their order
        either (ours)."""
        own = [score for name, score in self.member_scores.items() if name not in self.without_boxes]
        return float(np.mean(own)) if own else self.score

    def recalibrated(self, calibrations: Mapping[str, Calibration | None]) -> EnsembleOutput:
        """The same output with other calibrators: the scores are made again from the members' logits and peaks.

        Args:
            calibrations: By member name; a member that is not named, or has ``None``, counts with its raw score.
        """
        score, raw, members = _combined(self.member_logits, self.member_peaks, calibrations)
        return replace(self, score=score, raw_score=raw, member_scores=members)


class Ensemble:
    """Members that judge a film together.

    Args:
        members: In the order of the card.
        device: Where the models are.
        dtype: Precision of their arithmetic; heads and averages are float32 whatever it is.
        real_films: Name of a member and the distribution of its features on real films, for the input check.
        engine: What runs the networks; see :mod:`fracture.wing.engines`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        device: torch.device,
        dtype: torch.dtype,
        real_films: tuple[str, FeatureDistribution] | None = None,
        engine: Engine = "torch",
    ) -> None:
        if not members:
            raise ConfigurationError("an ensemble needs at least one member", got=0)
        self.members = tuple(members)
        self.device = device
        self.dtype = dtype
        self.real_films = real_films
        self.specs = tuple(dict.fromkeys(spec for member in members for spec, _ in member.looks))
        self._looks = tuple(
            _Look(k, self.specs.index(spec), mirrored)
            for k, member in enumerate(members)
            for spec, mirrored in member.looks
        )
        watched = None if real_films is None else real_films[0]
        self._runners = [
            make_runner(
                _WithFeatures(m.model) if m.name == watched else m.model,
                device=device,
                dtype=dtype,
                engine=engine,
                name=m.name,
            )
            for m in members
        ]

    @classmethod
    def load(
        cls, weights: Weights, *, device: str = "auto", precision: Precision = "auto", engine: Engine = "torch"
    ) -> Ensemble:
        """Build every member of a card and fill it with its tensors.

        Raises:
            WeightsIntegrityError: A file differs from its card.
            ConfigurationError: An unknown device, precision or engine, or an engine that cannot run here as asked.
        """
        where = resolve_device(device)
        engine, dtype = resolve_engine(engine, checksum=weights.card.checksum, device=where, precision=precision)
        members = [_load_member(weights, member, where, dtype) for member in weights.card.members]
        return cls(members, device=where, dtype=dtype, real_films=_load_distribution(weights, members), engine=engine)

    def prepare(self, radiograph: Radiograph) -> PreparedFilm:
        """Preprocess one film for all members (numpy and OpenCV only; safe to call from several threads).

        Raises:
            PixelValueError: The film is all padding.
        """
        return PreparedFilm(prepare_all(radiograph, self.specs))

    def run(self, films: Sequence[PreparedFilm], *, members: Sequence[str] | None = None) -> list[EnsembleOutput]:
        """Judge films whose ``shape_key`` is the same, as one batch.

        Args:
            films: Prepared for all members.
            members: Names of those that are asked, at least one with an opinion among them; means are then of these.
                All where left out.

        Raises:
            ConfigurationError: Films of several shapes, or no such member.
        """
        if len({film.shape_key for film in films}) > 1:
            raise ConfigurationError(
                "films of one batch must have equal shapes",
                got=sorted({film.shape_key for film in films}),
                hint="group films by PreparedFilm.shape_key",
            )
        looks = self._looks if members is None else self._looks_of(members)
        with torch.inference_mode():
            asked = sorted({look.spec for look in looks})
            inputs = {index: self.tensors([film.inputs[index] for film in films]) for index in asked}
            found = [self._seen(look, *inputs[look.spec]) for look in looks]
            features = next((one.pop("pooled") for one in found if "pooled" in one), None)
            for one in found:  # of further views
                one.pop("pooled", None)
            outputs = [ModelOutput(**one) for one in found]
            scores = torch.stack([output.score_logit.float() for output in outputs]).cpu().double().numpy()
            by = [self.members[look.member] for look in looks]
            maps = [
                _numpy(torch.sigmoid(o.map_logits.float())) if o.map_logits is not None and m.has_opinion else None
                for o, m in zip(outputs, by, strict=True)
            ]
            told = [
                best_cells(output.cells, [film.inputs[look.spec].geometry for film in films])
                if output.cells is not None and (m.tells_boxes or m.has_opinion)
                else None
                for look, m, output in zip(looks, by, outputs, strict=True)
            ]
            regions = [self._regions(m, output) for m, output in zip(by, outputs, strict=True)]
        averaged = [
            self._average(
                films[i],
                looks,
                scores[:, i],
                [m if m is None else m[i, 0] for m in maps],
                [{name: values[i] for name, values in region.items()} for region in regions],
                [b if b is None else b[i] for b in told],
            )
            for i in range(len(films))
        ]
        if features is None or self.real_films is None:
            return averaged
        distances = self.real_films[1].distance(_doubles(features))
        return [replace(one, input_distance=float(d)) for one, d in zip(averaged, distances, strict=True)]

    def _looks_of(self, names: Sequence[str]) -> tuple[_Look, ...]:
        """Raises: ConfigurationError: No such member, or none."""
        known = [member.name for member in self.members]
        if not names or not set(names) <= set(known):
            raise ConfigurationError("no such member", got=", ".join(names) or "none", allowed=known)
        return tuple(look for look in self._looks if known[look.member] in names)

    def features(self, films: Sequence[PreparedFilm], member: str) -> NDArray[np.float64]:
        """What the input check looks at, of films whose ``shape_key`` is the same: (n, C) of one member's backbone.

        C channels of the stride-8 tap, each averaged over the film's valid cells. The tap holds textures and edges,
        which tell a photograph or a slice from a film better than the deepest features do: at the same false alarms
        (1 % of 300 held-out films) the tap of a ResNet-50 and of a ResNet-18 flagged 100 and 97 % of 68 such pictures,
        their deepest features 97 and 71 %.

        Raises:
            ConfigurationError: No such member.
        """
        for own in self.members:
            if own.name == member:
                index = self.specs.index(own.preprocess)
                planes, mask = self.tensors([film.inputs[index] for film in films])
                runner = TorchRunner(_WithFeatures(own.model), device=self.device, dtype=self.dtype)
                return _doubles(runner.run({"planes": planes, "mask": mask})["pooled"])
        raise ConfigurationError("no such member", got=member, allowed=[own.name for own in self.members])

    def tensors(self, batch: Sequence[Prepared]) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes (B, C, H, W) and mask (B, 1, H, W) of equally shaped films, on the device and in its precision."""
        planes = stacked([prepared.planes for prepared in batch])
        mask = stacked([prepared.mask for prepared in batch])[:, None]
        return place(planes, self.device, self.dtype), place(mask, self.device, self.dtype)

    def _seen(self, look: _Look, planes: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """A member's output for one view of a batch, where the film is as it was given."""
        runner = self._runners[look.member]
        if not look.mirrored:
            return dict(runner.run({"planes": planes, "mask": mask}))
        out = dict(runner.run({"planes": planes.flip(-1), "mask": mask.flip(-1)}))
        if out["map_logits"] is not None:
            out["map_logits"] = out["map_logits"].flip(-1)
        if out["cells"] is not None:
            x0, y0, x1, y1 = out["cells"].boxes.unbind(-1)
            width = planes.shape[-1]
            out["cells"] = out["cells"]._replace(boxes=torch.stack([width - x1, y0, width - x0, y1], -1))
        return out

    @staticmethod
    def _regions(member: Member, output: ModelOutput) -> dict[str, NDArray[np.float64]]:
        if output.region_logits is None or not member.tells_regions:
            return {}
        values = torch.sigmoid(output.region_logits.float()).cpu().double().numpy()
        return {name: values[:, k] for k, name in enumerate(member.model.spec.regions)}

    def _average(
        self,
        film: PreparedFilm,
        looks: Sequence[_Look],
        logits: NDArray[np.float64],
        maps: Sequence[NDArray[np.float32] | None],
        regions: Sequence[dict[str, float]],
        told: Sequence[CellBoxes | None],
    ) -> EnsembleOutput:
        of_member = [[k for k, look in enumerate(looks) if look.member == n] for n in range(len(self.members))]
        heard = [(m.name, own) for m, own in zip(self.members, of_member, strict=True) if m.has_opinion and own]
        by_name = {name: float(np.mean([logits[k] for k in own])) for name, own in heard}
        best = {name: [b.best_logit for k in own if (b := told[k]) is not None] for name, own in heard}
        peaks = {name: float(np.mean(each)) for name, each in best.items() if each}
        score, raw, scores = _combined(by_name, peaks, {member.name: member.calibration for member in self.members})
        merged, grid = self._merge_maps(film, looks, maps)
        names = dict.fromkeys(name for region in regions for name in region)
        return EnsembleOutput(
            score=score,
            raw_score=raw,
            member_scores=scores,
            map=merged,
            grid_to_source=grid,
            regions={name: float(np.mean([r[name] for r in regions if name in r])) for name in names},
            member_logits=by_name,
            told=tuple(
                one
                for look, one in zip(looks, told, strict=True)
                if one is not None and self.members[look.member].tells_boxes
            ),
            member_peaks=peaks,
            without_boxes=frozenset(m.name for m in self.members if m.has_opinion and not m.tells_boxes),
        )

    def _merge_maps(
        self, film: PreparedFilm, looks: Sequence[_Look], maps: Sequence[NDArray[np.float32] | None]
    ) -> tuple[NDArray[np.float32] | None, tuple[float, float, float, float] | None]:
        """Average maps on one grid in source coordinates: that of the member with the finest map."""
        given = [(m, film.inputs[look.spec]) for m, look in zip(maps, looks, strict=True) if m is not None]
        if not given:
            return None, None
        target = min((p for _, p in given), key=lambda p: p.geometry.grid_to_source(MAP_STRIDE)[0])
        grid = target.geometry.grid_to_source(MAP_STRIDE)
        shape = (target.planes.shape[1] // MAP_STRIDE, target.planes.shape[2] // MAP_STRIDE)
        total = np.zeros(shape, np.float32)
        for values, prepared in given:
            total += _regrid(values, prepared.geometry.grid_to_source(MAP_STRIDE), grid, shape)
        total /= len(given)
        # A cell belongs to the film where any of its pixels does.
        rows = target.mask.reshape(shape[0], MAP_STRIDE, -1).any(axis=1)  # row by row first: ten times as fast
        cells = rows.reshape(shape[0], shape[1], MAP_STRIDE).any(axis=2)
        return total * cells, grid


def _load_member(weights: Weights, card: MemberCard, device: torch.device, dtype: torch.dtype) -> Member:
    path = weights.folder / card.file
    model = filled(lambda: build_model(card.model_spec), weights.tensors(card), source=str(path))
    # Folded in float32, then cast once: autocast would cast every weight again for every film.
    fused = in_precision(fuse_for_inference(model, inplace=True), dtype).to(device)
    return Member(
        path.stem,
        fused,
        card.preprocess_spec,
        card.calibration,
        has_opinion=card.has_opinion,
        tells_boxes=not (card.regions_only or card.boxes_left_out),
        tells_regions=not (card.boxes_only or card.regions_left_out),
        views=card.views,
    )


def _load_distribution(weights: Weights, members: Sequence[Member]) -> tuple[str, FeatureDistribution] | None:
    check = weights.card.input_check
    if check is None:
        return None
    path = weights.folder / check.file
    name = PurePath(check.member).stem
    (model,) = (member.model for member in members if member.name == name)  # the card's schema sees to it
    tensors = weights.tensors(check)
    return name, FeatureDistribution.from_tensors(tensors, size=model.backbone.skip_channels, source=str(path))


class _WithFeatures(torch.nn.Module):
    """The model, with what the input check looks at beside its output: the two halves of the same forward pass."""

    def __init__(self, model: FractureModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, planes: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        features = self.model.features(planes, mask)
        return {**self.model.decide(features)._asdict(), "pooled": _pooled(features.skip, mask)}


def _pooled(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, C, H / 8, W / 8) and (B, 1, H, W) to the means over valid cells, (B, C), in float32 arithmetic."""
    validity = cell_validity(mask, MAP_STRIDE)
    total = validity.sum(dim=(2, 3)).clamp_min(torch.finfo(validity.dtype).tiny)
    # As a product of matrices, five times as fast as sums over a copy of the features, which lie with channels last.
    cells = features.permute(0, 2, 3, 1).flatten(1, 2).float()
    return torch.bmm(validity.flatten(1)[:, None].float(), cells)[:, 0] / total


def _doubles(tensor: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu().double().numpy(), np.float64)


def _combined(
    logits: Mapping[str, float], peaks: Mapping[str, float], calibrations: Mapping[str, Calibration | None]
) -> tuple[float, float, dict[str, float]]:
    """The ensemble's score, the one without calibrators, and each member's score, from the members' opinions."""
    raw = {name: float(1.0 / (1.0 + np.exp(-np.clip(logit, -700, 700)))) for name, logit in logits.items()}
    scores = {
        name: raw[name] if (calibration := calibrations.get(name)) is None else calibration(logit, peaks.get(name, 0.0))
        for name, logit in logits.items()
    }
    return float(np.mean(list(scores.values()))), float(np.mean(list(raw.values()))), scores


def _regrid(
    values: NDArray[np.float32],
    own: tuple[float, float, float, float],
    target: tuple[float, float, float, float],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Bilinear resampling of a map from its own grid to another, both given as cells to source pixels."""
    if own == target and values.shape == shape:
        return values
    ratio_x, ratio_y = target[0] / own[0], target[1] / own[1]
    # Cell centers lie at index + 1/2; warpAffine asks for the map from target indices to own indices.
    shift_x = (target[2] - own[2]) / own[0] + 0.5 * ratio_x - 0.5
    shift_y = (target[3] - own[3]) / own[1] + 0.5 * ratio_y - 0.5
    matrix = np.array([[ratio_x, 0.0, shift_x], [0.0, ratio_y, shift_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(values, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.cpu().numpy(), np.float32)
