"""What the two networks are, as data: small, frozen, JSON-able, and free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from fracture.errors import ModelError

__all__ = ["BODIES", "TRUNKS", "ClassifierSpec", "LocalizerSpec"]

BODIES: Final = ("resnet18", "resnet34", "resnet50", "mobilenetv2_100")
"""Bodies of the localizer, by timm's names. The paper's is ResNet-50."""

TRUNKS: Final = (
    "densenet121",
    "densenet169",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenetv2_100",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg19",
)
"""Trunks of the classifier, by timm's names. The paper's is DenseNet-169; it compares VGG-19, Inception-v3 and
Inception-ResNet-v2."""

Norm = Literal["batch", "group", "frozen"]
_NORMS: Final = ("batch", "group", "frozen")
BoxLoss = Literal["l1", "giou"]
_BOX_LOSSES: Final = ("l1", "giou")
_GEOMETRIES: Final = ("torchvision", "caffe")


class _Spec:
    """JSON in and out, unknown keys refused."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ModelError: An unknown key or an illegal value.
        """
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(data) - known):
            raise ModelError("unknown keys of a network", got=", ".join(unknown), allowed=sorted(known))
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def _require(condition: bool, what: str, got: object, allowed: object) -> None:
    if not condition:
        raise ModelError(what, got=got, allowed=allowed)


@dataclass(frozen=True, slots=True)
class LocalizerSpec(_Spec):
    """A RetinaNet with the classes left and right hip.

    Attributes:
        body: One of :data:`BODIES`.
        levels: Stages of the body that the pyramid is built on, 2 to 4 (strides 8, 16, 32); consecutive. torchvision
            takes 2, 3, 4; without 4 the last stage is not built, without 2 the finest level is not computed.
        channels: Of the pyramid and the heads; 256 in torchvision.
        anchors: Side of the smallest anchor of each level in pixels of the localizer's input: one for each of
            ``levels`` and two more for the levels that are convolved on top. Each comes in three scales, 1, 2^(1/3)
            and 2^(2/3) (Lin et al. 2017).
        ratios: Height over width of the anchors. Lin et al.: 0.5, 1, 2; the box of a proximal femur is as high as
            wide or higher.
        norm: ``"batch"``, ``"group"``, or ``"frozen"``: the body's stored statistics, for loaded weights and small
            batches.
        geometry: ``"caffe"`` for the MSRA weights of ResNet-50, see :class:`fracture.models.ModelSpec`.
        box_loss: ``"l1"`` on the boxes' code (Lin et al. 2017, torchvision's default), or ``"giou"`` (Rezatofighi et
            al. 2019), which grows with what an IoU loses and weighs all four edges by it.

    Raises:
        ModelError: A value outside its limits.
    """

    body: str = "resnet50"
    levels: tuple[int, ...] = (2, 3, 4)
    channels: int = 256
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    norm: Norm = "batch"
    geometry: Literal["torchvision", "caffe"] = "torchvision"
    box_loss: BoxLoss = "l1"

    def __post_init__(self) -> None:
        _require(self.body in BODIES, "the localizer's body", self.body, BODIES)
        consecutive = tuple(range(min(self.levels, default=0), max(self.levels, default=-1) + 1))
        _require(
            self.levels == consecutive and bool(self.levels) and min(self.levels) >= 2 and max(self.levels) <= 4,
            "the stages of the pyramid",
            self.levels,
            "consecutive numbers from 2 to 4",
        )
        _require(16 <= self.channels <= 512 and self.channels % 8 == 0, "channels", self.channels, "16 to 512, by 8")
        _require(
            len(self.anchors) == len(self.levels) + 2 and min(self.anchors) > 0,
            "the anchors",
            self.anchors,
            f"{len(self.levels) + 2} positive sizes",
        )
        _require(len(self.ratios) > 0 and min(self.ratios) > 0, "the anchors' ratios", self.ratios, "positive numbers")
        _require(self.norm in _NORMS, "the normalization", self.norm, _NORMS)
        _require(self.geometry in _GEOMETRIES, "the geometry", self.geometry, _GEOMETRIES)
        _require(
            self.geometry == "torchvision" or self.body == "resnet50", "the caffe geometry", self.body, "resnet50 alone"
        )
        _require(self.box_loss in _BOX_LOSSES, "the box loss", self.box_loss, _BOX_LOSSES)


@dataclass(frozen=True, slots=True)
class ClassifierSpec(_Spec):
    """Trunk, squeeze-and-excitation block, average pooling, softmax over the six classes.

    Attributes:
        trunk: One of :data:`TRUNKS`.
        stages: Residual stages kept of a ResNet, 2 to 4; other trunks are kept whole.
        se_reduction: Reduction of the squeeze-and-excitation block before the pooling, 16 as in Hu et al. 2018;
            0 leaves it out (the paper's ablation).
        dropout: Before the last layer; the paper states none.
        fusion: ``"attention"`` adds learned weights for several views of one hip; see
            :mod:`fracture.hip.fusion`. ``"none"``: views are fused by their probabilities alone.
        norm: As of :class:`LocalizerSpec`.
        geometry: As of :class:`LocalizerSpec`.

    Raises:
        ModelError: A value outside its limits.
    """

    trunk: str = "densenet169"
    stages: int = 4
    se_reduction: int = 16
    dropout: float = 0.0
    fusion: Literal["none", "attention"] = "none"
    norm: Norm = "batch"
    geometry: Literal["torchvision", "caffe"] = "torchvision"

    def __post_init__(self) -> None:
        _require(self.trunk in TRUNKS, "the classifier's trunk", self.trunk, TRUNKS)
        _require(self.stages in (2, 3, 4), "the stages", self.stages, (2, 3, 4))
        _require(self.stages == 4 or self.is_resnet, "stages below 4", self.trunk, "a ResNet")
        _require(self.se_reduction in (0, 4, 8, 16, 32), "the reduction", self.se_reduction, (0, 4, 8, 16, 32))
        _require(0 <= self.dropout < 1, "the dropout", self.dropout, "0 to below 1")
        _require(self.fusion in ("none", "attention"), "the fusion", self.fusion, ("none", "attention"))
        _require(self.norm in _NORMS, "the normalization", self.norm, _NORMS)
        _require(self.geometry in _GEOMETRIES, "the geometry", self.geometry, _GEOMETRIES)
        _require(
            self.geometry == "torchvision" or self.trunk == "resnet50",
            "the caffe geometry",
            self.trunk,
            "resnet50 alone",
        )

    @property
    def is_resnet(self) -> bool:
        """Whether the trunk is a ResNet."""
        return self.trunk.startswith("resnet")
