"""The ensemble: members, their inputs, and the unweighted mean of what they say.

Jones et al. 2020, Methods, "Analysis stage": the score is the unweighted average over all networks; the map is the
unweighted average over those that give one. Averaged are probabilities, not logits. Where a member has a calibrator,
its score is calibrated before the average (our choice; the card says whether).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch

from fracture.card import Calibration, MemberCard
from fracture.errors import ConfigurationError
from fracture.models import MAP_STRIDE, FractureModel, build_model
from fracture.models.inference import fuse_for_inference
from fracture.models.persistence import load_state
from fracture.preprocess import Prepared, PreprocessSpec, prepare_all
from fracture.store import Weights, read_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.models import ModelOutput
    from fracture.radiograph import Radiograph

__all__ = ["Ensemble", "EnsembleOutput", "Member", "Precision", "PreparedFilm", "resolve_device", "resolve_precision"]

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One network, ready to run.

    Attributes:
        name: The stem of its weight file; how a prediction's ``member_scores`` call it.
        model: In evaluation mode, on the ensemble's device and in its precision.
        preprocess: What it is fed.
        calibration: Applied to its score before averaging, or ``None``.
    """

    name: str
    model: FractureModel
    preprocess: PreprocessSpec
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFilm:
    """One film prepared once for each distinct specification, in the order of ``Ensemble.specs``."""

    inputs: tuple[Prepared, ...]

    @property
    def shape_key(self) -> tuple[tuple[int, ...], ...]:
        """Films with equal keys can share a batch."""
        return tuple(prepared.planes.shape for prepared in self.inputs)


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
    """

    score: float
    raw_score: float
    member_scores: dict[str, float]
    map: NDArray[np.float32] | None
    grid_to_source: tuple[float, float, float, float] | None
    regions: dict[str, float]


class Ensemble:
    """Members that judge a film together.

    Args:
        members: In the order of the card.
        device: Where the models are.
        dtype: Precision of their arithmetic; heads and averages are float32 whatever it is.
    """

    def __init__(self, members: Sequence[Member], *, device: torch.device, dtype: torch.dtype) -> None:
        if not members:
            raise ConfigurationError("an ensemble needs at least one member", got=0)
        self.members = tuple(members)
        self.device = device
        self.dtype = dtype
        self.specs = tuple(dict.fromkeys(member.preprocess for member in members))
        self._spec_of = tuple(self.specs.index(member.preprocess) for member in members)

    @classmethod
    def load(cls, weights: Weights, *, device: str = "auto", precision: Precision = "auto") -> Ensemble:
        """Build every member of a card and fill it with its tensors.

        Raises:
            WeightsIntegrityError: A file differs from its card.
            ConfigurationError: An unknown device or precision.
        """
        where = resolve_device(device)
        dtype = resolve_precision(precision, where)
        members = [_load_member(weights, member, where, dtype) for member in weights.card.members]
        return cls(members, device=where, dtype=dtype)

    def prepare(self, radiograph: Radiograph) -> PreparedFilm:
        """Preprocess one film for all members (numpy and OpenCV only; safe to call from several threads).

        Raises:
            PixelValueError: The film is all padding.
        """
        return PreparedFilm(prepare_all(radiograph, self.specs))

    def run(self, films: Sequence[PreparedFilm]) -> list[EnsembleOutput]:
        """Judge films whose ``shape_key`` is the same, as one batch."""
        if len({film.shape_key for film in films}) > 1:
            raise ConfigurationError(
                "films of one batch must have equal shapes",
                got=sorted({film.shape_key for film in films}),
                hint="group films by PreparedFilm.shape_key",
            )
        with torch.inference_mode():
            inputs = [self.tensors([film.inputs[index] for film in films]) for index in range(len(self.specs))]
            outputs = [member.model(*inputs[index]) for member, index in zip(self.members, self._spec_of, strict=True)]
            scores = torch.stack([output.score_logit.float() for output in outputs]).cpu().double().numpy()
            maps = [_numpy(torch.sigmoid(o.map_logits.float())) if o.map_logits is not None else None for o in outputs]
            regions = [self._regions(member, output) for member, output in zip(self.members, outputs, strict=True)]
        return [
            self._average(
                films[i],
                scores[:, i],
                [m if m is None else m[i, 0] for m in maps],
                [{name: values[i] for name, values in region.items()} for region in regions],
            )
            for i in range(len(films))
        ]

    def tensors(self, batch: Sequence[Prepared]) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes (B, C, H, W) and mask (B, 1, H, W) of equally shaped films, on the device and in its precision."""
        planes = torch.from_numpy(np.stack([prepared.planes for prepared in batch]))
        mask = torch.from_numpy(np.stack([prepared.mask for prepared in batch])[:, None])
        planes = planes.to(self.device, self.dtype).to(memory_format=torch.channels_last)
        return planes, mask.to(self.device)

    @staticmethod
    def _regions(member: Member, output: ModelOutput) -> dict[str, NDArray[np.float64]]:
        if output.region_logits is None:
            return {}
        values = torch.sigmoid(output.region_logits.float()).cpu().double().numpy()
        return {name: values[:, k] for k, name in enumerate(member.model.spec.regions)}

    def _average(
        self,
        film: PreparedFilm,
        logits: NDArray[np.float64],
        maps: Sequence[NDArray[np.float32] | None],
        regions: Sequence[dict[str, float]],
    ) -> EnsembleOutput:
        raw = [1.0 / (1.0 + np.exp(-np.clip(logit, -700, 700))) for logit in logits]
        calibrated = [
            float(p) if member.calibration is None else member.calibration(float(logit))
            for member, logit, p in zip(self.members, logits, raw, strict=True)
        ]
        merged, grid = self._merge_maps(film, maps)
        names = dict.fromkeys(name for region in regions for name in region)
        return EnsembleOutput(
            score=float(np.mean(calibrated)),
            raw_score=float(np.mean(raw)),
            member_scores={member.name: score for member, score in zip(self.members, calibrated, strict=True)},
            map=merged,
            grid_to_source=grid,
            regions={name: float(np.mean([r[name] for r in regions if name in r])) for name in names},
        )

    def _merge_maps(
        self, film: PreparedFilm, maps: Sequence[NDArray[np.float32] | None]
    ) -> tuple[NDArray[np.float32] | None, tuple[float, float, float, float] | None]:
        """Average maps on one grid in source coordinates: that of the member with the finest one."""
        given = [(m, film.inputs[i]) for m, i in zip(maps, self._spec_of, strict=True) if m is not None]
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
        cells = target.mask.reshape(shape[0], MAP_STRIDE, shape[1], MAP_STRIDE).any(axis=(1, 3))
        return total * cells, grid


def resolve_device(device: str) -> torch.device:
    """``"auto"`` is CUDA where there is one, else the CPU; anything else is torch's own name of a device.

    Raises:
        ConfigurationError: No such device, here or at all.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError("unknown device", got=repr(device), allowed="auto, cpu, cuda, cuda:N, mps") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("no CUDA device here", got=repr(device), hint="use device='cpu' or 'auto'")
    return resolved


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """``"auto"`` is bfloat16 where the processor multiplies in it, else float32.

    Raises:
        ConfigurationError: An unknown precision.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if precision != "auto":
        raise ConfigurationError("unknown precision", got=repr(precision), allowed=("auto", "float32", "bfloat16"))
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        known = capabilities()
        return bool(known.get("amx_bf16") or known.get("avx512_bf16"))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False


def _load_member(weights: Weights, card: MemberCard, device: torch.device, dtype: torch.dtype) -> Member:
    path = weights.folder / card.file
    tensors = read_tensors(weights, card)
    model = build_model(card.model_spec)
    load_state(model, tensors, source=str(path))
    # Folded in float32, then cast once: autocast would cast every weight again for every film.
    fused = fuse_for_inference(model).to(device=device, dtype=dtype)
    return Member(path.stem, fused, card.preprocess_spec, card.calibration)


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


def shape_groups(films: Iterable[PreparedFilm]) -> list[list[int]]:
    """Indices of films grouped by shape, groups in order of first appearance."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, film in enumerate(films):
        groups.setdefault(film.shape_key, []).append(index)
    return list(groups.values())
