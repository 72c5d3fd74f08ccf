"""A finder of centers on a sagittal slice: a small feature pyramid on MobileNetV2 with maps at a quarter of its size.

Centers as heatmaps after Zhou et al. 2019 ("Objects as Points"): one map of all centers (discs), one of that from which
the others are counted (L5/S1), and two of width and height. Size, channels and trunk are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from fracture.errors import ConfigurationError
from fracture.models import heatmaps
from fracture.models.backbone import seeded
from fracture.models.spec import IMAGENET_MEAN, IMAGENET_STD
from fracture.models.starting_points import InitReport
from fracture.models.trunks import feature_trunk, parameter_groups, start
from fracture.spine.specs import CenterSpec

SIDE, STRIDE = 256, 4
LEAST_SCORE = 0.05  # of a peak that is kept at all; what counts as a disc is decided later


class CenterNetwork(nn.Module):
    """The network; get one from :func:`build_network`.

    Args:
        spec: What it is.
    """

    def __init__(self, spec: CenterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = feature_trunk(spec.trunk, (1, 2, 3, 4), norm=spec.norm)
        widths = [int(n) for n in self.trunk.feature_info.channels()]
        self.laterals = nn.ModuleList(nn.Conv2d(width, spec.channels, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(spec.channels, spec.channels, 3, padding=1) for _ in widths[:-1])
        self.head = nn.Sequential(
            nn.Conv2d(spec.channels, spec.channels, 3, padding=1), nn.ReLU(), nn.Conv2d(spec.channels, 4, 1)
        )
        with torch.no_grad():  # few cells are a disc's center (Lin et al. 2017)
            last: Any = self.head[-1]
            last.bias.copy_(torch.tensor([-4.0, -4.0, 3.0, 2.5]))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"`` (all but the trunk) and ``"trunk"``."""
        return parameter_groups(self, ("laterals.", "smooth.", "head."))

    def freeze(self, stages: int) -> None:
        """Keep the trunk's stem and its blocks below ``stages`` as they are; 0 lets all learn.

        Raises:
            ConfigurationError: More stages than the trunk has.
        """
        blocks = list(self.trunk.blocks)
        if stages > len(blocks):
            raise ConfigurationError("optimizer.freeze_stages", got=stages, allowed=f"0 to {len(blocks)}")
        for part in (self.trunk.conv_stem, self.trunk.bn1, *blocks[:stages]) if stages else ():
            part.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 1, H, W) in [0, 1], sides divisible by 32, to maps (B, 4, H/4, W/4).

        Channels: logits of discs and of L5/S1, logarithms of width and height in the picture's pixels.
        """
        mean, std = (x.new_tensor(v)[None, :, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        maps = self.trunk((x - mean) / std)
        found = self.laterals[-1](maps[-1])
        for k in range(len(maps) - 2, -1, -1):
            up = F.interpolate(found, size=maps[k].shape[-2:], mode="bilinear", align_corners=False)
            found = F.relu(self.smooth[k](self.laterals[k](maps[k]) + up))
        out: Tensor = self.head(found)
        return out


def build_network(spec: CenterSpec, *, seed: int | None = None) -> CenterNetwork:
    """A new network with random weights; with ``seed`` always the same ones, torch's generator left as it was."""
    return seeded(CenterNetwork, spec, seed)


def initialize(model: CenterNetwork, init: str | Path) -> InitReport:
    """Set the start, see :func:`fracture.models.trunks.start`."""
    return start(model, init, network=model.spec.trunk, trunk="trunk.")


class Peak(NamedTuple):
    """A disc that the maps show, in pixels of the network's picture.

    Attributes:
        x, y: Center.
        width, height: Of its box.
        score: Of the map of discs, in [0, 1].
        last: Of the map of L5/S1 there.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    last: float


def peaks(maps: NDArray[np.float32]) -> tuple[Peak, ...]:
    """Peaks of one picture's maps (4, h, w), the strongest first; a cell's neighbors refine where it lies.

    The map of L5/S1 is taken as its largest value within two cells of a peak, since its own peak may lie beside.
    """
    scores = 1 / (1 + np.exp(-maps[:2].astype(np.float64)))
    cells, near = heatmaps.peaks(scores[0], LEAST_SCORE, 5), ndimage.maximum_filter(scores[1], 5, mode="constant")
    found = []
    for (row, column), (y, x) in zip(cells.tolist(), heatmaps.refined(scores[0], cells).tolist(), strict=True):
        width, height = np.exp(np.clip(maps[2:, row, column], 0, 6)).tolist()
        score, last = float(scores[0, row, column]), float(near[row, column])
        found.append(Peak((x + 0.5) * STRIDE, (y + 0.5) * STRIDE, width, height, score, last))
    kept: list[Peak] = []
    for one in sorted(found, key=lambda one: -one.score):  # cells of equal score beside each other are one peak
        if all(max(abs(one.x - other.x), abs(one.y - other.y)) >= 2.5 * STRIDE for other in kept):
            kept.append(one)
    return tuple(kept)
