"""A gray plane as networks take it whose trunks saw photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fracture.models.spec import IMAGENET_MEAN, IMAGENET_STD


def rgb_input(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The networks' input: the plane three times, normalized as ImageNet's photographs, 0 outside the mask.

    Both stages take it, in training and in use; it is always the last step.

    Args:
        pixels: float32, shape (height, width), in [0, 1].
        mask: bool, the same shape.

    Returns:
        float32, shape (3, height, width).
    """
    planes = np.empty((3, *pixels.shape), np.float32)
    for plane, mean, std in zip(planes, IMAGENET_MEAN, IMAGENET_STD, strict=True):
        np.subtract(pixels, np.float32(mean), out=plane)
        plane *= np.float32(1 / std)
        plane *= mask
    return planes
