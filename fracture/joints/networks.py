"""Two networks on one trunk: where hands and forefeet lie on a film, and where their points lie in a turned crop.

Heatmaps as usual in landmark detection (Payer et al. 2016), the object's center with offsets after CenterNet (Zhou et
al. 2019). Both are small, and learn heads alone: the trunk stays as MediaPipe trained it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from fracture.joints.layout import DIGITS, FOREFOOT, HAND, Kind
from fracture.models.hand_trunk import TAPS, WIDTH, OnTrunk, lateral, mix, up

FIND_SIZE: Final = 256
"""Side of the letterboxed film that the finder sees, in pixels; ours."""
PLACE_SIZE: Final = 224
"""Side of the crop that the placer sees: the trunk's own."""
KINDS: Final[tuple[Kind, ...]] = ("hand", "forefoot")
POINT_COUNT: Final = len(HAND) + len(FOREFOOT)
CHANNELS: Final = {"hand": slice(0, len(HAND)), "forefoot": slice(len(HAND), POINT_COUNT)}
"""The placer's maps of each kind."""
ROUGH_COUNT: Final = len(DIGITS["hand"]) + len(DIGITS["forefoot"])
GUESSES: Final = {"hand": slice(0, len(DIGITS["hand"])), "forefoot": slice(len(DIGITS["hand"]), ROUGH_COUNT)}
"""The finder's points of each kind, those of the digits."""
OFFSET_UNIT: Final = 32.0
"""Network pixels that an offset of 1 stands for."""
_FINE = 32


class FinderOutput(NamedTuple):
    """What the finder says at every cell of stride 8.

    Attributes:
        centers: (B, 2, h, w), logits of a hand's and of a forefoot's center.
        offsets: (B, 20, 2, h, w), from the cell's middle to the rough points, in ``OFFSET_UNIT`` network pixels.
        casts: (B, h, w), logits of a cast over the limb whose center lies there.
    """

    centers: Tensor
    offsets: Tensor
    casts: Tensor


class Finder(OnTrunk):
    """Stage one: the centers of hands and forefeet on a whole film, and roughly their points."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(mix(WIDTH, WIDTH), mix(WIDTH, WIDTH))
        self.centers, self.offsets = nn.Conv2d(WIDTH, len(KINDS), 1), nn.Conv2d(WIDTH, 2 * ROUGH_COUNT, 1)
        self.casts = nn.Conv2d(WIDTH, 1, 1)
        nn.init.constant_(self.centers.bias, -4.0)  # type: ignore[arg-type]  # centers are rare

    def heads(self, maps: Sequence[Tensor]) -> FinderOutput:
        """Centers, offsets and casts."""
        found = self.last(self.mixed(maps[1:]))
        offsets = self.offsets(found).unflatten(1, (ROUGH_COUNT, 2))
        return FinderOutput(self.centers(found), offsets, self.casts(found)[:, 0])


class Placer(OnTrunk):
    """Stage two: a map at stride 4 for each of the 26 and 6 points, in a crop that is turned the usual way.

    ``template``, (32, 2): where the points lie on average, in crop pixels; it says how a crop is cut.
    """

    template: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("template", torch.zeros(POINT_COUNT, 2))
        self.narrow = nn.Sequential(mix(WIDTH, WIDTH), nn.Conv2d(WIDTH, _FINE, 1))
        self.fine = lateral(TAPS[0], _FINE)
        self.last = nn.Sequential(mix(_FINE, _FINE), mix(_FINE, _FINE), nn.Conv2d(_FINE, POINT_COUNT, 1))

    def heads(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, 32, 56, 56)."""
        own = self.fine(maps[0])
        logits: Tensor = self.last(own + up(self.narrow(self.mixed(maps[1:])), own))
        return logits
