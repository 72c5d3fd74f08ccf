"""What the finder of discs is, as its card says it; no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["DiscSpec"]


@dataclass(frozen=True, slots=True)
class DiscSpec:
    """What the network is.

    Attributes:
        trunk: timm's name of the network whose stages are used.
        channels: Of the pyramid.
        norm: ``"frozen"`` keeps the trunk's batch statistics, which micro-batches would spoil; it needs a start.
        geometry: As the other trunks have it.
    """

    trunk: Literal["mobilenetv2_100"] = "mobilenetv2_100"
    channels: int = 48
    norm: Literal["batch", "frozen"] = "frozen"
    geometry: Literal["torchvision"] = "torchvision"

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)
