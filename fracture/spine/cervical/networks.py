"""The two networks: levels in 3D, and fractures by slices, then by vertebrae.

After the first place of RSNA 2022: a vertebra is 15 slices of 5 neighboring planes and its predicted mask; a 2D network
reads each, one recurrent layer goes over the slices and one over the vertebrae. Sizes, norms and the map are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fracture.models.backbone import Untrained, seeded
from fracture.spine.cervical.spec import CHANNELS, SLICES, FractureSpec, LevelSpec

CLASSES = 8
"""Of a vertebra: 0 to 6 C1 to C7, 7 another one."""


def _conv(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv, norm = (nn.Conv3d, nn.BatchNorm3d) if dims == 3 else (nn.Conv2d, nn.BatchNorm2d)
    return nn.Sequential(
        conv(inputs, outputs, 3, stride=stride, padding=1, bias=False), norm(outputs), nn.ReLU(inplace=True)
    )


class LevelNetwork(Untrained):
    """Volumes (B, 1, D, H, W) in [0, 1] at 2 mm, sides divisible by 16, to

    - ``bone``: logits (B, 1, D, H, W) of a vertebra;
    - ``levels``: logits (B, 8, D/2, H/2, W/2) of :data:`CLASSES`;
    - ``centers``: logits (B, 1, D/2, H/2, W/2) of the vertebrae's centers.

    All maps are made at 4 mm, where it is quick: eight voxels of 2 mm are the channels of one cell, there and back.
    """

    def __init__(self, spec: LevelSpec) -> None:
        super().__init__()
        a, b, c, d = spec.widths
        self.spec = spec
        self.stem = nn.Sequential(_conv(3, 8, a), _conv(3, a, a))
        self.down = nn.ModuleList(
            [nn.Sequential(_conv(3, i, o, 2), _conv(3, o, o)) for i, o in ((a, b), (b, c), (c, d))]
        )
        self.bottom = _conv(3, d, d)
        self.laterals = nn.ModuleList([nn.Conv3d(i, o, 1) for i, o in ((d, c), (c, b), (b, a))])
        self.up = nn.ModuleList([_conv(3, c, c), _conv(3, b, b), _conv(3, a, a)])
        self.coarse = nn.Conv3d(a, CLASSES + 1, 1)
        self.fine = nn.Conv3d(a + 8, 8, 3, padding=1)
        # Few cells are a center (Lin et al. 2017).
        nn.init.constant_(self.coarse.bias[CLASSES:], -4.0)  # type: ignore[index]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        count, _, depth, height, width = x.shape
        cells = x.reshape(count, depth // 2, 2, height // 2, 2, width // 2, 2)
        cells = cells.permute(0, 2, 4, 6, 1, 3, 5).flatten(1, 3)
        maps = [self.stem(cells)]
        for down in self.down:
            maps.append(down(maps[-1]))
        found = self.bottom(maps.pop())
        for lateral, up in zip(self.laterals, self.up, strict=True):
            larger = F.interpolate(lateral(found), scale_factor=2.0, mode="trilinear", align_corners=False)
            found = up(larger + maps.pop())
        coarse = self.coarse(found)
        bone = self.fine(torch.cat([found, cells], 1)).reshape(count, 2, 2, 2, *cells.shape[2:])
        bone = bone.permute(0, 4, 1, 5, 2, 6, 3).reshape(x.shape)
        return {"bone": bone, "levels": coarse[:, :CLASSES], "centers": coarse[:, CLASSES:]}


class LevelEnsemble(Untrained):
    """Several :class:`LevelNetwork`, which differ in what they began with: the means of their logits, in its form.

    What one of them does not see in a picture that is unlike those it learned from, another one may.
    """

    def __init__(self, spec: LevelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.copies = nn.ModuleList(LevelNetwork(spec) for _ in range(spec.copies))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        found = [network(x) for network in self.copies]
        return {key: torch.stack([one[key] for one in found]).mean(0) for key in found[0]}


class FractureNetwork(Untrained):
    """Crops of vertebrae to logits of fractures.

    ``x`` is (B, 7, planes, 64, 64) in [0, 1], ``mask`` the same of the probability that a voxel is of this vertebra,
    ``seen`` bool (B, 7), one of them at least; it gives ``levels`` (B, 7), ``patient`` (B,), and ``map``
    (B, 7, 15, 16, 16): where. Vertebrae that are not seen cost nothing; their logits mean nothing.
    """

    def __init__(self, spec: FractureSpec) -> None:
        super().__init__()
        a, b, c = spec.widths
        self.spec, hidden = spec, spec.hidden
        self.early = nn.Sequential(_conv(2, CHANNELS + 1, a, 2), _conv(2, a, a), _conv(2, a, b, 2), _conv(2, b, b))
        self.late = _conv(2, b, c, 2)
        self.map = nn.Conv2d(b, 1, 1)
        self.enter = nn.Linear(2 * c + 2, 2 * hidden)
        self.slices = nn.GRU(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.vertebrae = nn.GRU(4 * hidden + 1, hidden, batch_first=True, bidirectional=True)
        self.level = nn.Linear(6 * hidden + 1, 1)
        self.patient = nn.Linear(6 * hidden + 2, 1)
        nn.init.constant_(self.map.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """See the class."""
        slot = torch.where(seen, seen.flatten().cumsum(0).reshape(seen.shape), 0)
        return self.packed(x[seen], mask[seen], slot)

    def packed(self, x: Tensor, mask: Tensor, slot: Tensor) -> dict[str, Tensor]:
        """The same of the vertebrae that are seen alone, so that no shape depends on what is in a tensor.

        Args:
            x, mask: (V, planes, 64, 64), those of all batches in order.
            slot: int64 (B, 7), which of them a level is, from 1 on; 0 where it is not seen.
        """
        planes = x.unfold(1, CHANNELS, 2).movedim(-1, 2)  # (vertebrae, 15, 5, h, w)
        middle = mask[:, CHANNELS // 2 :: 2][:, :SLICES, None]
        count = planes.shape[0]  # not len: an export would take it for a constant
        early = self.early(torch.cat([planes, middle], 2).flatten(0, 1))
        where = self.map(early)
        late = self.late(early)
        # What a map says at its strongest, as a feature of its own.
        strong = where.flatten(1).topk(4, 1).values
        features = torch.cat([late.mean((2, 3)), late.amax((2, 3)), strong[:, :1], strong.mean(1, keepdim=True)], 1)
        along = self.slices(F.relu(self.enter(features)).reshape(count, SLICES, -1))[0]
        peak = strong.mean(1).reshape(count, SLICES).amax(1, keepdim=True)
        own = _placed(torch.cat([along.mean(1), along.amax(1), peak], 1), slot)
        both = torch.cat([own, self.vertebrae(own)[0]], 2)
        logits = self.level(both)[..., 0]
        away = torch.finfo(both.dtype).min
        most = torch.cat([both, logits[..., None]], 2).masked_fill((slot == 0)[..., None], away).amax(1)
        maps = where[:, 0].reshape(count, SLICES, *where.shape[2:])
        return {"levels": logits, "patient": self.patient(most)[:, 0], "map": _placed(maps, slot)}


def _placed(found: Tensor, slot: Tensor) -> Tensor:
    """What was found of the vertebrae that are seen at their places among all, 0 elsewhere."""
    return torch.cat([torch.zeros_like(found[:1]), found])[slot]


def build_levels(spec: LevelSpec, *, seed: int | None = None) -> LevelNetwork | LevelEnsemble:
    """A new network; with ``seed`` always the same one, torch's generator left as it was."""
    return seeded(LevelEnsemble, spec, seed) if spec.copies > 1 else seeded(LevelNetwork, spec, seed)


def build_fractures(spec: FractureSpec, *, seed: int | None = None) -> FractureNetwork:
    """As :func:`build_levels`."""
    return seeded(FractureNetwork, spec, seed)
