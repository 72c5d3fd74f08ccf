"""What the spine's networks are, for cards and recipes alike; no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fracture.wing.card import Section

_Count = Annotated[int, Field(ge=1, le=1024)]


class CenterSpec(Section):
    """A finder of centers on a picture, see :class:`fracture.spine.centers.CenterNetwork`.

    Attributes:
        trunk: timm's name of the network whose stages are used.
        channels: Of the pyramid.
        norm: ``"frozen"`` keeps the trunk's batch statistics, which micro-batches would spoil; it needs a start.
        geometry: As the other trunks have it.
    """

    trunk: Literal["mobilenetv2_100"] = "mobilenetv2_100"
    channels: _Count = 48
    norm: Literal["batch", "frozen"] = "frozen"
    geometry: Literal["torchvision"] = "torchvision"


class SliceSpec(Section):
    """A 2.5D network, see :class:`fracture.spine.slices.SliceNetwork`.

    Attributes:
        outputs, classes: Things that are judged, and the classes of each.
        neighbors: Slices of one picture, its own among them.
        facts: Numbers that tell of each picture which series it is of and where it lies; all 0: no picture.
        widths: Channels after each halving of the picture.
    """

    outputs: _Count = 5
    classes: _Count = 3
    neighbors: _Count = 3
    facts: _Count = 4
    widths: Annotated[tuple[_Count, ...], Field(strict=False, min_length=1, max_length=6)] = (16, 32, 64, 96)
