"""What the two networks are, as data: small, frozen, JSON-able, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from fracture.errors import FractureError, ModelError
from fracture.schema import WHOLE, Record, Share

NMS_IOU: Final = 0.3
"""Krogue et al. 2020."""

Body = Literal["resnet18", "resnet34", "resnet50", "mobilenetv2_100"]
"""Bodies of the localizer, by timm's names. The paper's is ResNet-50."""

Trunk = Literal[
    "densenet121",
    "densenet169",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenetv2_100",
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg19",
]
"""Trunks of the classifier, by timm's names. The paper's is DenseNet-169; it compares VGG-19, Inception-v3 and
Inception-ResNet-v2."""

Norm = Literal["batch", "group", "frozen"]
BoxLoss = Literal["l1", "giou"]
HeadGeometry = Literal["torchvision", "caffe"]


def _require(condition: bool, what: str, got: object, allowed: object) -> None:
    if not condition:
        raise ModelError(what, got=got, allowed=allowed)


def _require_caffe(geometry: str, network: str) -> None:
    _require(geometry == "torchvision" or network == "resnet50", "the caffe geometry", network, "resnet50 alone")


@dataclass(frozen=True, slots=True)
class LocalizerSpec(Record):
    """A RetinaNet with the classes left and right hip.

    Attributes:
        body: One of :data:`Body`.
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

    ERROR: ClassVar[type[FractureError]] = ModelError

    body: Body = "resnet50"
    levels: Annotated[tuple[Annotated[int, Field(ge=2, le=4)], ...], Field(min_length=1, max_length=3)] = (2, 3, 4)
    channels: Annotated[int, Field(ge=16, le=512, multiple_of=8)] = 256
    anchors: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (32, 64, 128, 256, 512)
    ratios: Annotated[tuple[Annotated[float, Field(ge=0.01, le=100)], ...], Field(min_length=1, max_length=16)] = (
        0.5,
        1.0,
        2.0,
    )
    norm: Norm = "batch"
    geometry: HeadGeometry = "torchvision"
    box_loss: BoxLoss = "l1"

    def _check(self) -> None:
        run, count = tuple(range(self.levels[0], self.levels[-1] + 1)), len(self.levels) + 2
        _require(self.levels == run, "the stages of the pyramid", self.levels, "consecutive numbers from 2 to 4")
        _require(len(self.anchors) == count, "the anchors", self.anchors, f"{count} positive sizes")
        _require_caffe(self.geometry, self.body)


@dataclass(frozen=True, slots=True)
class ClassifierSpec(Record):
    """Trunk, squeeze-and-excitation block, average pooling, softmax over the six classes.

    Attributes:
        trunk: One of :data:`Trunk`.
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

    ERROR: ClassVar[type[FractureError]] = ModelError

    trunk: Trunk = "densenet169"
    stages: Annotated[Literal[2, 3, 4], WHOLE] = 4
    se_reduction: Annotated[Literal[0, 4, 8, 16, 32], WHOLE] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fusion: Literal["none", "attention"] = "none"
    norm: Norm = "batch"
    geometry: HeadGeometry = "torchvision"

    def _check(self) -> None:
        _require(self.stages == 4 or self.is_resnet, "stages below 4", self.trunk, "a ResNet")
        _require_caffe(self.geometry, self.trunk)

    @property
    def is_resnet(self) -> bool:
        """Whether the trunk is a ResNet."""
        return self.trunk.startswith("resnet")


@dataclass(frozen=True, slots=True)
class Rules(Record):
    """Which candidates are hips. All but ``iou`` are ours.

    Attributes:
        score: Least score of a box, in [0, 1].
        iou: Suppression within a side.
        overlap: Boxes of different sides that overlap more than this IoU are one hip: the better one stays.
        least_area: Least share of the film that a box covers; less is a letter or a finger.
        most_area: Largest share.
        least_visible: Least share of the box's own area that lies on the film.

    Raises:
        ConfigurationError: A value outside [0, 1].
    """

    score: Share = 0.3
    iou: Share = NMS_IOU
    overlap: Share = 0.4
    least_area: Share = 0.004
    most_area: Share = 0.9
    least_visible: Share = 0.4
