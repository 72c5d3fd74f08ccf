"""Stage one: where the hips are and which side they are of. A RetinaNet (Lin et al. 2017) from torchvision.

Krogue et al. 2020, Bounding Box Detection: single-shot detector on ResNet-50-FPN, classes left and right hip, at most
one box per class and film after non-maximum suppression at an IoU of 0.3. Score threshold and plausibility rules are
ours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, nms
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fracture.data.records import Box
from fracture.errors import ModelError
from fracture.hip.classes import SIDES
from fracture.hip.spec import NMS_IOU, LocalizerSpec, Rules
from fracture.iou import clip_box, iou
from fracture.models.backbone import seeded
from fracture.models.starting_points import InitReport
from fracture.models.trunks import feature_trunk, parameter_groups, start
from fracture.preprocess import Geometry
from fracture.wing.runner import Runner, TorchRunner

_CANDIDATES = 300  # anchors looked at per class, by score, before boxes are suppressed


class _Pyramid(nn.Module):
    """Body and feature pyramid; named as torchvision names them, so that its COCO weights fit by name."""

    def __init__(self, spec: LocalizerSpec) -> None:
        super().__init__()
        self.body = feature_trunk(spec.body, spec.levels, geometry=spec.geometry, norm=spec.norm)
        inner = [int(n) for n in self.body.feature_info.channels()]
        self.fpn = FeaturePyramidNetwork(inner, spec.channels, extra_blocks=LastLevelP6P7(spec.channels, spec.channels))
        self.out_channels = spec.channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Maps by level, finest first."""
        maps: OrderedDict[str, Tensor] = OrderedDict((str(i), m) for i, m in enumerate(self.body(x)))
        pyramid: OrderedDict[str, Tensor] = self.fpn(maps)
        return pyramid


class HeadOutput(NamedTuple):
    """What the heads say at every anchor.

    Attributes:
        class_logits: (B, anchors, 2), left and right.
        deltas: (B, anchors, 4), in the code of :class:`torchvision.models.detection._utils.BoxCoder`.
        anchors: (anchors, 4) as (x0, y0, x1, y1) in network pixels.
    """

    class_logits: Tensor
    deltas: Tensor
    anchors: Tensor


class LocalizerModel(nn.Module):
    """The network; get one from :func:`build_localizer`. Its input is :func:`fracture.preprocess.rgb.rgb_input`'s.

    torchvision's own resizing is not used: films come letterboxed, with their exact geometry.

    Args:
        spec: What it is.
    """

    def __init__(self, spec: LocalizerSpec) -> None:
        super().__init__()
        self.spec = spec
        sizes = tuple(tuple(round(side * 2 ** (k / 3)) for k in range(3)) for side in spec.anchors)
        generator = AnchorGenerator(sizes, (spec.ratios,) * len(sizes))
        net: Any = RetinaNet(_Pyramid(spec), len(SIDES), anchor_generator=generator)
        self.backbone: _Pyramid = net.backbone
        self.head: nn.Module = net.head
        net.head.regression_head._loss_type = spec.box_loss  # torchvision's own switch has no argument
        self._matched = net.compute_loss  # a bound method of the torchvision model, kept out of the modules
        self._box_coder: Any = net.box_coder
        self._anchor_generator = generator

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"`` (pyramid and heads, always new) and ``"trunk"``."""
        return parameter_groups(self, ("head.", "backbone.fpn."))

    def forward(self, x: Tensor) -> HeadOutput:
        """Judge films.

        Args:
            x: (B, 3, H, W), sides divisible by 32.

        Raises:
            ModelError: Another shape.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 32 or x.shape[3] % 32:
            raise ModelError("the localizer's input", got=tuple(x.shape), allowed="(B, 3, H, W), H and W by 32")
        maps = list(self.backbone(x).values())
        out = self.head(maps)
        anchors = self.anchors(x, maps)
        return HeadOutput(out["cls_logits"].float(), out["bbox_regression"].float(), anchors)

    def anchors(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """(anchors, 4) for one input size; equal for every film of the batch."""
        images = ImageList(x[:1].float(), [(x.shape[2], x.shape[3])])
        found: list[Tensor] = self._anchor_generator(images, [m.float() for m in maps])
        return found[0]

    def loss(self, output: HeadOutput, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Focal loss of the classes and ``spec.box_loss`` of the boxes, both over the anchors that a hip owns, mean
        over the films.

        Args:
            output: Of :meth:`forward`.
            targets: Per film ``boxes`` (n, 4) in network pixels and ``labels`` (n,), int64, places in ``SIDES``.
        """
        heads = {"cls_logits": output.class_logits, "bbox_regression": output.deltas}
        anchors = [output.anchors] * len(targets)
        losses: dict[str, Tensor] = self._matched([dict(target) for target in targets], heads, anchors)
        return losses

    def candidates(
        self, output: HeadOutput, *, iou: float = NMS_IOU, least: float = 0.0
    ) -> list[list[tuple[int, float, Box]]]:
        """Per film (side, score, box in network pixels), suppressed at ``iou`` within each side, best first.

        Args:
            output: Of :meth:`forward`.
            iou: Boxes of one side that overlap a better one by more are dropped.
            least: Least score. A worse box never suppresses a better one, so that the rest is the same with any value.
        """
        coder = self._box_coder
        return [
            [
                row
                for side in range(len(SIDES))
                for row in _suppressed(side, logits[:, side], deltas, output.anchors, coder, iou, least)
            ]
            for logits, deltas in zip(output.class_logits, output.deltas, strict=True)
        ]


def _suppressed(
    side: int, logits: Tensor, deltas: Tensor, anchors: Tensor, coder: Any, iou: float, least: float
) -> list[tuple[int, float, Box]]:
    scores = torch.sigmoid(logits)
    order = torch.nonzero(scores >= least)[:, 0]
    if len(order) > _CANDIDATES:
        order = order[scores[order].topk(_CANDIDATES).indices]
    scores = scores[order]
    boxes = coder.decode_single(deltas[order], anchors[order])
    kept = nms(boxes, scores, iou)
    return [(side, score, tuple(box)) for score, box in zip(scores[kept].tolist(), boxes[kept].tolist(), strict=True)]


def build_localizer(spec: LocalizerSpec, *, seed: int | None = None) -> LocalizerModel:
    """A new network with random weights; with ``seed`` always the same ones, torch's generator left as it was."""
    return seeded(LocalizerModel, spec, seed)


def initialize_localizer(model: LocalizerModel, init: str | Path | Mapping[str, Tensor] = "random") -> InitReport:
    """Set the start, see :func:`fracture.hip.networks.start`; torchvision's RetinaNet fills pyramid and heads too where
    they have its shapes."""
    return start(model, init, network=model.spec.body, trunk="backbone.body.")


@dataclass(frozen=True, slots=True)
class Found:
    """A hip that the localizer found.

    Attributes:
        side: The patient's.
        box: On the film, in source pixels.
        score: In [0, 1].
    """

    side: str
    box: Box
    score: float


def choose(candidates: Sequence[tuple[int, float, Box]], size: tuple[int, int], rules: Rules) -> tuple[Found, ...]:
    """At most one box per side from a film's candidates.

    Boxes below the score, off the film for their greater part, or of an implausible size are no hips; of the rest
    the best of each side stays. Where the best left and the best right box are one hip, the better one stays, and the
    other side gets its next box elsewhere, if it has one.

    Args:
        candidates: (side, score, box in source pixels), of :meth:`LocalizerModel.candidates`.
        size: (width, height) of the film.
        rules: The rules.

    Returns:
        Patient's right first, as it stands on an AP film read from left to right; ``()`` where there is none.
    """
    area = size[0] * size[1]
    plausible: list[Found] = []
    for side, score, box in candidates:
        inside = clip_box(box, size)
        if inside is None or score < rules.score:
            continue
        visible = (inside[2] - inside[0]) * (inside[3] - inside[1])
        whole = (box[2] - box[0]) * (box[3] - box[1])
        if visible < rules.least_visible * whole or not rules.least_area * area <= visible <= rules.most_area * area:
            continue
        plausible.append(Found(SIDES[side], inside, float(score)))
    chosen: dict[str, Found] = {}
    for found in sorted(plausible, key=lambda one: -one.score):
        others = [other for side, other in chosen.items() if side != found.side]
        if found.side not in chosen and all(iou(found.box, other.box) <= rules.overlap for other in others):
            chosen[found.side] = found
    return tuple(chosen[side] for side in ("right", "left") if side in chosen)


def locate(
    model: LocalizerModel, planes: Tensor, geometry: Geometry, rules: Rules, runner: Runner | None = None
) -> tuple[Found, ...]:
    """The hips of one film: the network, suppression, the rules. Training, evaluation and use all come through here.

    Args:
        model: In evaluation mode.
        planes: (1, 3, H, W), on the model's device and in its precision; see :func:`fracture.preprocess.rgb.rgb_input`.
        geometry: From the film to the planes.
        rules: Which candidates are hips.
        runner: Runs the model, torch where left out.

    Returns:
        As :func:`choose`, in source pixels.

    Raises:
        ModelError: Planes of another shape.
    """
    runner = runner or TorchRunner(model, device=planes.device, dtype=planes.dtype)
    output = HeadOutput(**runner.run({"x": planes}))
    with torch.inference_mode():
        found = model.candidates(output, iou=rules.iou, least=rules.score)[0]
    boxes = geometry.boxes_to_source(np.array([box for *_, box in found]).reshape(-1, 4)).tolist()
    placed = [(side, score, (b[0], b[1], b[2], b[3])) for (side, score, _), b in zip(found, boxes, strict=True)]
    return choose(placed, geometry.source_size, rules)
