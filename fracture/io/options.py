"""How one radiograph is read: the options of :func:`fracture.read`, checked once and handed on as one value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fracture.errors import ConfigurationError, MultiFrameError
from fracture.regions import RegionTree

WINDOWS = ("auto", "raw", "percentile")


def chosen_frame(name: str, frame: int | None, frames: int) -> int:
    """The frame of a file that is asked for, or the only one.

    Raises:
        MultiFrameError: Several frames and none chosen, or no such frame.
    """
    if frame is None and frames > 1:
        raise MultiFrameError(f"{name}: the file holds {frames} frames", hint="choose one with frame=0, 1, ...")
    if not 0 <= (frame or 0) < frames:
        allowed = f"0 to {frames - 1}" if frames > 1 else "0, the only one"
        raise MultiFrameError(f"{name}: no such frame", got=f"frame {frame}", allowed=allowed)
    return frame or 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Options of :func:`fracture.read`; see there."""

    regions: tuple[str, ...]
    frame: int | None
    window: str | int
    allow: tuple[str, ...]
    max_pixels: int
    max_bytes: int
    tree: RegionTree

    @classmethod
    def of(
        cls,
        region: str | Sequence[str] | None,
        frame: int | None,
        window: str | int,
        allow: Collection[str],
        max_pixels: int,
        max_bytes: int,
        tree: RegionTree,
    ) -> Reading:
        """Options as a caller gives them.

        Raises:
            RegionError: An unknown region.
            ConfigurationError: Another value that is not allowed.
        """
        return cls(
            _regions(region, tree),
            _frame(frame),
            _window(window),
            _allowed(allow),
            _limit("max_pixels", max_pixels),
            _limit("max_bytes", max_bytes),
            tree,
        )


def _regions(region: str | Sequence[str] | None, tree: RegionTree) -> tuple[str, ...]:
    if region is None:
        return ()
    names = tuple(region) if isinstance(region, Iterable) and not isinstance(region, str) else (region,)
    return tuple(dict.fromkeys(tree.normalize(name) for name in names))


def _frame(frame: int | None) -> int | None:
    if frame is not None and (not isinstance(frame, int | np.integer) or isinstance(frame, bool) or frame < 0):
        raise ConfigurationError("frame must be an integer from 0", got=repr(frame))
    return None if frame is None else int(frame)


def _window(window: str | int) -> str | int:
    if isinstance(window, int | np.integer) and not isinstance(window, bool) and window >= 0:
        return int(window)
    if isinstance(window, str) and window in WINDOWS:
        return window
    raise ConfigurationError("unknown window", got=repr(window), allowed=(*WINDOWS, "an integer from 0"))


def _allowed(allow: Collection[str]) -> tuple[str, ...]:
    names = (allow,) if isinstance(allow, str) else tuple(allow)
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError("allow takes DICOM modalities such as 'CT'", got=repr(allow))
    return tuple(name.strip().upper() for name in names)


def _limit(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigurationError(f"{what} must be a positive integer", got=repr(value))
    return int(value)
