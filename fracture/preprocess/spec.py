"""The specification record of the preprocessing: everything that changes a pixel stands here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fracture.errors import ConfigurationError
from fracture.schema import Record

# Raised whenever the same specification would give other pixels; a card of another version is refused,
# because a model that is fed differently than it was trained is silently worse.
PREPROCESS_VERSION = 1

_CHANNELS = (("raw",), ("lcn",), ("raw", "lcn"), ("lcn", "raw"))


@dataclass(frozen=True, slots=True)
class PreprocessSpec(Record):
    """How a radiograph becomes a network's input. Hashable and JSON-able.

    Attributes:
        size: Length in pixels of the longer side after resizing (the paper: 1024); at most 4096 (ours: what a network
            can still hold in memory).
        shape: ``"square"`` pads to ``size`` x ``size`` (the paper); ``"stride"`` pads each side only to the
            next multiple of ``stride`` (ours: a square wastes a third of the work on a 454 x 373 film).
        stride: The multiple that ``"stride"`` pads to; the networks need 32.
        enlarge: Whether a film smaller than ``size`` is enlarged to it. The paper's fixed 1024 implies it;
            our recipe does not, since interpolated pixels hold no information.
        millimeters_per_pixel: If set, films of known spacing are scaled to this many millimeters per network
            pixel, as far as ``size`` allows; films of unknown spacing follow ``size`` alone. Ours, after
            the resolution studies in which a fixed pixel count loses nondisplaced fractures.
        crop: Whether dark padding around the edges is cropped first (the paper does).
        channels: Planes in order: ``"raw"`` (pixels scaled to [-1, 1]) and/or ``"lcn"``.
        lcn_window: Side of the square window in network pixels, odd. 9 as in Jarrett et al. 2009.
        lcn_sigma: Standard deviation of the Gaussian window in pixels. 2.25 = window / 4 as in Torch7;
            Jarrett et al. do not state it.
        lcn_scaling: How the result reaches [-1, 1], which Jones et al. do not state: ``"maximum"`` divides by
            the largest magnitude; ``"percentile"`` by the 99.5th percentile of the magnitude and clips, so
            that one bright letter does not flatten the bone.
    """

    VERSION: ClassVar[int | None] = PREPROCESS_VERSION

    size: Annotated[int, Field(ge=1, le=4096)] = 1024
    shape: Literal["square", "stride"] = "square"
    stride: Annotated[int, Field(ge=1, le=512)] = 32
    enlarge: bool = True
    millimeters_per_pixel: Annotated[float, Field(ge=0.001, le=100)] | None = None
    crop: bool = True
    channels: tuple[str, ...] = ("raw",)
    lcn_window: Annotated[int, Field(ge=3, le=255)] = 9
    lcn_sigma: Annotated[float, Field(ge=0.01, le=1000)] = 2.25
    lcn_scaling: Literal["maximum", "percentile"] = "maximum"

    def _check(self) -> None:
        for name, right, allowed in (
            ("size", self.size % self.stride == 0, f"a positive multiple of stride={self.stride}"),
            ("channels", self.channels in _CHANNELS, "('raw',), ('lcn',) or ('raw', 'lcn')"),
            ("lcn_window", self.lcn_window % 2 == 1, "an odd number >= 3"),
        ):
            if not right:
                raise ConfigurationError(
                    f"PreprocessSpec.{name} is not valid", got=getattr(self, name), allowed=allowed
                )

    @property
    def letterbox_key(self) -> tuple[object, ...]:
        """What the cacheable half (crop and resize) depends on: films with equal keys share one letterbox."""
        return (
            PREPROCESS_VERSION,
            self.size,
            self.shape,
            self.stride,
            self.enlarge,
            self.millimeters_per_pixel,
            self.crop,
        )

    @property
    def lcn_key(self) -> tuple[object, ...]:
        """What a letterboxed film's LCN plane depends on."""
        return self.lcn_window, self.lcn_sigma, self.lcn_scaling
