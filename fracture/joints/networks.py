"""Two networks on one trunk: where hands and forefeet lie on a film, and where their points lie in a turned crop.

Heatmaps as usual in landmark detection (Payer et al. 2016), the object's center with offsets after CenterNet (Zhou et
al. 2019). Both are small, and learn heads alone: the trunk stays as MediaPipe trained it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fracture.joints.layout import FOREFOOT, HAND, Kind
from fracture.models.hand_trunk import TAPS, Trunk

FIND_SIZE: Final = 256
"""Side of the letterboxed film that the finder sees, in pixels; ours."""
PLACE_SIZE: Final = 224
"""Side of the crop that the placer sees: the trunk's own."""
KINDS: Final[tuple[Kind, ...]] = ("hand", "forefoot")
ROUGH: Final = {"hand": HAND[:14], "forefoot": FOREFOOT}
"""The points that the finder guesses: those that every annotated film has."""
CHANNELS: Final = {"hand": slice(0, len(HAND)), "forefoot": slice(len(HAND), len(HAND) + len(FOREFOOT))}
"""The placer's maps of each kind."""
POINT_COUNT: Final = len(HAND) + len(FOREFOOT)
ROUGH_COUNT: Final = len(ROUGH["hand"]) + len(ROUGH["forefoot"])
OFFSET_UNIT: Final = 32.0
"""Network pixels that an offset of 1 stands for."""
_WIDTH, _FINE = 64, 32


def _lateral(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.GroupNorm(8, outputs))


def _mix(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)
    )


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class _OnTrunk(nn.Module):
    """A trunk that does not learn, and maps of strides 32 to 8 brought together at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk().requires_grad_(False)
        self.laterals = nn.ModuleList(_lateral(channels, _WIDTH) for channels in TAPS[1:])
        self.mixes = nn.ModuleList(_mix(_WIDTH, _WIDTH) for _ in TAPS[1:])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``"heads"``: all that is new; ``"trunk"``."""
        trunk = list(self.trunk.parameters())
        own = {id(one) for one in trunk}
        return {"heads": [one for one in self.parameters() if id(one) not in own], "trunk": trunk}

    def forward(self, x: Tensor) -> Any:
        """(B, 1, H, W) in [0, 1], sides by 32; see :meth:`heads`."""
        with torch.no_grad():
            maps = self.trunk(x)
        return self.heads(maps)

    def heads(self, maps: Sequence[Tensor]) -> Any:
        """What the network says of the trunk's maps."""
        raise NotImplementedError

    def _mixed(self, coarse: Sequence[Tensor]) -> Tensor:
        mixed: Tensor | None = None
        for tap, lateral, mix in zip(coarse[::-1], self.laterals[::-1], list(self.mixes)[::-1], strict=True):
            own = lateral(tap)
            mixed = mix(own if mixed is None else own + _up(mixed, own))
        assert mixed is not None  # there are three taps
        return mixed


class FinderOutput(NamedTuple):
    """What the finder says at every cell of stride 8.

    Attributes:
        centers: (B, 2, h, w), logits of a hand's and of a forefoot's center.
        offsets: (B, 20, 2, h, w), from the cell's middle to the rough points, in ``OFFSET_UNIT`` network pixels.
    """

    centers: Tensor
    offsets: Tensor


class Finder(_OnTrunk):
    """Stage one: the centers of hands and forefeet on a whole film, and roughly their points."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(_mix(_WIDTH, _WIDTH), _mix(_WIDTH, _WIDTH))
        self.centers, self.offsets = nn.Conv2d(_WIDTH, len(KINDS), 1), nn.Conv2d(_WIDTH, 2 * ROUGH_COUNT, 1)
        nn.init.constant_(self.centers.bias, -4.0)  # type: ignore[arg-type]  # centers are rare

    def heads(self, maps: Sequence[Tensor]) -> FinderOutput:
        """Centers and offsets."""
        found = self.last(self._mixed(maps[1:]))
        offsets = self.offsets(found)
        return FinderOutput(self.centers(found), offsets.unflatten(1, (ROUGH_COUNT, 2)))


class Placer(_OnTrunk):
    """Stage two: a map at stride 4 for each of the 26 and 6 points, in a crop that is turned the usual way.

    ``template``, (32, 2): where the points lie on average, in crop pixels; it says how a crop is cut.
    """

    template: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("template", torch.zeros(POINT_COUNT, 2))
        self.narrow = nn.Sequential(_mix(_WIDTH, _WIDTH), nn.Conv2d(_WIDTH, _FINE, 1))
        self.fine = _lateral(TAPS[0], _FINE)
        self.last = nn.Sequential(_mix(_FINE, _FINE), _mix(_FINE, _FINE), nn.Conv2d(_FINE, POINT_COUNT, 1))

    def heads(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, 32, 56, 56)."""
        own = self.fine(maps[0])
        logits: Tensor = self.last(own + _up(self.narrow(self._mixed(maps[1:])), own))
        return logits
