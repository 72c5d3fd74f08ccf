"""The specification record of the preprocessing: everything that changes a pixel stands here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fracture.errors import ConfigurationError

__all__ = ["PREPROCESS_VERSION", "PreprocessSpec"]

# Raised whenever the same specification would give other pixels; a card of another version is refused,
# because a model that is fed differently than it was trained is silently worse.
PREPROCESS_VERSION = 1

_CHANNELS = ("raw", "lcn")


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """How a radiograph becomes a network's input. Hashable and JSON-able.

    Attributes:
        size: Length in pixels of the longer side after resizing (the paper: 1024).
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

    size: int = 1024
    shape: Literal["square", "stride"] = "square"
    stride: int = 32
    enlarge: bool = True
    millimeters_per_pixel: float | None = None
    crop: bool = True
    channels: tuple[str, ...] = ("raw",)
    lcn_window: int = 9
    lcn_sigma: float = 2.25
    lcn_scaling: Literal["maximum", "percentile"] = "maximum"

    def __post_init__(self) -> None:
        _require(self.stride >= 1, "stride", self.stride, "a positive integer")
        _require(
            self.size >= self.stride and self.size % self.stride == 0,
            "size",
            self.size,
            f"a positive multiple of stride={self.stride}",
        )
        _require(self.shape in ("square", "stride"), "shape", self.shape, "'square' or 'stride'")
        _require(
            self.millimeters_per_pixel is None or self.millimeters_per_pixel > 0,
            "millimeters_per_pixel",
            self.millimeters_per_pixel,
            "None or a positive length",
        )
        _require(
            len(self.channels) > 0
            and len(set(self.channels)) == len(self.channels)
            and all(channel in _CHANNELS for channel in self.channels),
            "channels",
            self.channels,
            "('raw',), ('lcn',) or ('raw', 'lcn')",
        )
        _require(
            self.lcn_window >= 3 and self.lcn_window % 2 == 1,
            "lcn_window",
            self.lcn_window,
            "an odd number >= 3",
        )
        _require(self.lcn_sigma > 0, "lcn_sigma", self.lcn_sigma, "a positive number")
        _require(
            self.lcn_scaling in ("maximum", "percentile"),
            "lcn_scaling",
            self.lcn_scaling,
            "'maximum' or 'percentile'",
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

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able copy, with the version of the preprocessing."""
        return {"version": PREPROCESS_VERSION, **dataclasses.asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PreprocessSpec:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigurationError: An unknown key, an illegal value, or another version of the preprocessing.
        """
        values = dict(data)
        version = values.pop("version", None)
        if version != PREPROCESS_VERSION:
            raise ConfigurationError(
                "the preprocessing version differs from this library's",
                got=version,
                allowed=PREPROCESS_VERSION,
                hint="install the version of fracture that the card names",
            )
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigurationError(
                "unknown preprocessing keys",
                got=", ".join(unknown),
                allowed=sorted(known),
                hint="remove them",
            )
        if "channels" in values:
            values["channels"] = tuple(values["channels"])
        return cls(**values)


def _require(condition: bool, name: str, got: object, allowed: str) -> None:
    if not condition:
        raise ConfigurationError(f"PreprocessSpec.{name} is not valid", got=got, allowed=allowed)
