"""A 2.5D network for stacks of slices: each slice with its neighbors as a picture, attention over the slices.

After what most winners of RSNA 2022 and 2024 do (crops of neighboring slices through a plain network, then attention
or a recurrent layer over them). Ours: one query for each thing that is judged, so that it says which slices it looks
at, and slices of several series in one list, so that a series may be missing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fracture.models.backbone import seeded
from fracture.models.trunks import parameter_groups
from fracture.spine.specs import SliceSpec

_CELLS = 4  # of a picture's map along each side that is kept


class Sliced(NamedTuple):
    """What the network says.

    Attributes:
        logits: (B, outputs, classes).
        attention: (B, outputs, T), how much each picture counted; sums to 1.
    """

    logits: Tensor
    attention: Tensor


class SliceNetwork(nn.Module):
    """The network; get one from :func:`build_slices`.

    Args:
        spec: What it is.
    """

    def __init__(self, spec: SliceSpec) -> None:
        super().__init__()
        self.spec = spec
        layers: list[nn.Module] = []
        before = spec.neighbors
        for width in spec.widths:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        layers += [nn.Conv2d(before, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(_CELLS)  # crops lie alike, so where something is seen counts
        self.mixed = nn.Sequential(nn.Linear(_CELLS**2 * before + spec.facts, before), nn.ReLU())
        self.keys, self.prior = nn.Linear(before, spec.outputs), nn.Linear(spec.facts, spec.outputs)
        self.heads = nn.ModuleList(nn.Linear(before, spec.classes) for _ in range(spec.outputs))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"`` (attention and what follows) and ``"trunk"``."""
        return parameter_groups(self, ("mixed.", "keys.", "prior.", "heads."))

    def forward(self, x: Tensor, where: Tensor) -> Sliced:
        """Judge stacks.

        Args:
            x: Pictures (B, T, neighbors, H, W) in [0, 1].
            where: (B, T, facts); rows of 0 are left out, and each stack needs one that is not.
        """
        batch, count = x.shape[:2]
        pooled = self.pool(self.trunk(x.flatten(0, 1))).reshape(batch, count, -1)
        features = self.mixed(torch.cat([pooled, where], 2))
        there = where.abs().sum(2, keepdim=True) > 0
        attention = (self.keys(features) + self.prior(where)).masked_fill(~there, -1e4).softmax(1).transpose(1, 2)
        seen = attention @ features
        return Sliced(torch.stack([head(seen[:, k]) for k, head in enumerate(self.heads)], 1), attention)


def build_slices(spec: SliceSpec, *, seed: int | None = None) -> SliceNetwork:
    """A new network with random weights; with ``seed`` always the same ones, torch's generator left as it was."""
    return seeded(SliceNetwork, spec, seed)
