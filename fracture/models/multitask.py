"""The network: planes and valid mask to a score, a map and regions. Start with :func:`build_model`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fracture.errors import ModelError
from fracture.models.backbone import Backbone, convert_norm, seeded
from fracture.models.heads import Heads
from fracture.models.pooling import AttentionPool, cell_validity
from fracture.models.pyramid import Cells, PyramidHeads
from fracture.models.spec import ModelSpec


class ModelOutput(NamedTuple):
    """What a model says about a batch of films, float32; scores, maps and regions are logits, before any sigmoid.

    Attributes:
        score_logit: (B,), whether the film shows a fracture.
        map_logits: (B, 1, H / 8, W / 8), where; None for a model without a map. Cell (i, j) covers the input
            pixels [8 j, 8 j + 8) x [8 i, 8 i + 8), in the pixel-edge convention.
        region_logits: (B, R), which of ``spec.regions`` are shown, each for itself; None for a model without
            them.
        cells: What the cells of the pyramid say about boxes; None for a model without one.
    """

    score_logit: Tensor
    map_logits: Tensor | None
    region_logits: Tensor | None
    cells: Cells | None = None


class Features(NamedTuple):
    """What the heads see; for heatmaps and diagnostics.

    Attributes:
        deep: In the dtype of the backbone, (B, C, H / output_stride, W / output_stride).
        skip: The same dtype, (B, C', H / 8, W / 8), the last undilated stage at stride 8.
        validity: (B, 1, H / output_stride, W / output_stride), share of valid pixels per cell, float32.
    """

    deep: Tensor
    skip: Tensor
    validity: Tensor


class FractureModel(nn.Module):
    """A backbone and its heads; build it with :func:`build_model`.

    In evaluation mode a film's outputs do not depend on the other films of its batch. They do depend slightly on how
    far the film was padded: padding is 0 in the planes and has no vote in the pooling, but inside the backbone it is
    mid-gray image like any other, and what is convolved with it reaches the film's rim. Features are not multiplied by
    the mask (our choice, for simplicity): pad a film the same way in training and in prediction, and batch only films
    of one padded shape, if scores must not move at all.

    Attributes:
        spec: What this model is.
        backbone: Planes to features.
        heads: Features to logits.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = build_backbone(spec)
        heads = PyramidHeads if spec.pyramid else Heads
        self.heads = heads(spec, self.backbone.channels, self.backbone.skip_channels)

    def forward(self, planes: Tensor, mask: Tensor) -> ModelOutput:
        """Score, map and regions of a batch of films.

        Args:
            planes: (B, C, H, W), floating, in [-1, 1], 0 in padding; C planes in the order of
                ``spec.inputs``. H and W are multiples of ``spec.size_multiple``.
            mask: (B, 1, H, W), bool or floating, true or 1 where a pixel belongs to the film.

        Raises:
            ModelError: Tensors of a wrong shape; the message names the shape to pad to.
        """
        return self.decide(self.features(planes, mask))

    def features(self, planes: Tensor, mask: Tensor) -> Features:
        """The first half of :meth:`forward`, with the same arguments and errors: what the heads see."""
        self._check(planes, mask)
        validity = cell_validity(mask, self.spec.output_stride)
        if self.spec.stem_rgb:
            planes = torch.cat([planes, mask.to(planes.dtype)], dim=1)
        deep, skip = self.backbone(planes)
        return Features(deep, skip, validity)

    def decide(self, features: Features) -> ModelOutput:
        """The second half of :meth:`forward`: the heads on given features."""
        return ModelOutput(*self.heads(features.deep, features.skip, features.validity))

    def attention(self, features: Features) -> Tensor:
        """Weights of the attention pooling, (B, 1, h, w), in the dtype of the features, summing to 1 over each film.

        Raises:
            ModelError: The model pools in another way.
        """
        if not isinstance(self.heads.pool, AttentionPool):
            raise ModelError("this model has no attention", got=f"pooling={self.spec.pooling!r}")
        return self.heads.weights(features.deep, features.skip, features.validity)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by stage from the input on (``backbone.stage_names``), then ``"heads"``.

        For freezing the first stages or for learning rates that grow with depth.
        """
        groups = {
            stage: [p for name in modules for p in self.backbone.get_submodule(name).parameters()]
            for stage, modules in self.backbone.plan
        }
        groups["heads"] = list(self.heads.parameters())
        return groups

    def _check(self, planes: Tensor, mask: Tensor) -> None:
        if planes.ndim != 4 or planes.shape[1] != self.spec.planes:
            raise ModelError(
                f"planes must have the shape (batch, {self.spec.planes}, height, width), "
                f"with the planes {', '.join(self.spec.inputs)}",
                got=tuple(planes.shape),
            )
        if not planes.is_floating_point():
            raise ModelError("planes must be floating point in [-1, 1]", got=planes.dtype)
        batch, _, height, width = planes.shape
        if tuple(mask.shape) != (batch, 1, height, width):
            raise ModelError(
                "mask must have one plane of the size of the planes",
                got=tuple(mask.shape),
                allowed=(str((batch, 1, height, width)),),
            )
        n = self.spec.size_multiple
        if height % n or width % n or not height or not width:
            target = (max(1, -(-height // n)) * n, max(1, -(-width // n)) * n)
            raise ModelError(
                f"height and width must be multiples of {n}",
                got=(height, width),
                hint=f"pad planes and mask with zeros to {target}",
            )


def build_backbone(spec: ModelSpec) -> Backbone:
    """The backbone of a specification, randomly initialized, with ``spec.norm`` applied."""
    planes = spec.planes + spec.stem_rgb
    backbone: Backbone
    # Families are imported when one is built: a DRN or DenseNet needs no timm, which is slow to import.
    if spec.family == "drn":
        from fracture.models.drn import DrnBackbone

        backbone = DrnBackbone(spec.backbone, planes=planes, width=spec.width)
    elif spec.family == "densenet":
        from fracture.models.densenet import DenseNetBackbone

        backbone = DenseNetBackbone(spec.backbone, planes=planes, stages=spec.stages, output_stride=spec.output_stride)
    elif spec.family == "mobilenet":
        from fracture.models.mobilenet import MobileNetBackbone

        backbone = MobileNetBackbone(spec.backbone, planes=planes, output_stride=spec.output_stride)
    else:
        from fracture.models.resnet import ResNetBackbone

        backbone = ResNetBackbone(
            spec.backbone,
            planes=planes,
            stages=spec.stages,
            output_stride=spec.output_stride,
            geometry=spec.geometry,
        )
    convert_norm(backbone, spec.norm)
    return backbone


def build_model(spec: ModelSpec, *, seed: int | None = None) -> FractureModel:
    """The network of a specification, randomly initialized, in training mode, on the CPU in float32.

    Args:
        spec: What to build.
        seed: Makes the initialization repeatable and leaves torch's global generator as it was; None draws
            from that generator.

    See :func:`fracture.models.starting_points.initialize` for other starting points than random numbers (the
    paper's).
    """
    return seeded(FractureModel, spec, seed)
