"""Pictures that tests of the joints draw: two bone ends with a space of known width."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def joint(
    gap: float, *, side: int = 96, radius: float = 60.0, blur: float = 1.2, noise: float = 0.01, seed: int = 0,
    shift: float = 0.0,
) -> NDArray[np.float32]:  # fmt: skip
    """A head above and a base below, ``gap`` pixels apart along the axis everywhere, with dense ends.

    Drawn four times finer and averaged; bone 0.55 with a cortex of 0.75, soft tissue 0.25.
    """
    fine = 4
    y, x = np.mgrid[0 : side * fine, 0 : side * fine] / fine + 0.5 / fine
    line = side / 2 + shift + ((x - side / 2) ** 2) / (2 * radius)  # the space follows a shallow arc
    away = np.abs(y - line) - gap / 2  # below 0 within the space
    inside = np.abs(x - side / 2) < 0.36 * side
    bone = np.where(away < 4.0, 0.75, 0.55)
    picture = np.where((away > 0) & inside, bone, 0.25)
    small = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), blur) if blur else small
    noisy = small + np.random.default_rng(seed).normal(0, noise, small.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)
