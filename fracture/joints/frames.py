"""How a hand or forefoot is turned for the placer, and the grays that networks see; one way for training and use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from fracture.joints.crops import Similarity
from fracture.joints.layout import FOREFOOT, HAND, POINTS, Kind, Point, axis_of, is_mirrored, unit_length
from fracture.joints.networks import CHANNELS, FIND_SIZE, PLACE_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GAMMA", "UNIT", "fit_frame", "fit_similarity", "letterbox_matrix", "template_of", "tone"]

GAMMA: Final = 0.7
"""Of the stretched grays: what the landmark network read radiographs best with."""
_PERCENTILES: Final = (1.0, 99.5)
UNIT: Final[Mapping[Kind, float]] = {"hand": 66.0, "forefoot": 100.0}
"""Crop pixels of the unit length in the placer's crop; ours: all 26 points, the finger tips, and room for errors."""


def tone(pixels: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Grays stretched between their 1st and 99.5th percentiles, then to the power of 0.7; 0 where not ``mask``."""
    some = pixels[::2, ::2] if mask is None else pixels[::2, ::2][mask[::2, ::2]]
    if not some.size:
        return np.zeros_like(pixels)
    low, high = np.percentile(some, _PERCENTILES)
    stretched = np.clip((pixels - np.float32(low)) / np.float32(max(high - low, 1e-3)), 0, 1) ** np.float32(GAMMA)
    return np.asarray(stretched if mask is None else np.where(mask, stretched, 0), np.float32)


def letterbox_matrix(width: int, height: int, size: int = FIND_SIZE, zoom: float = 1.0) -> NDArray[np.float64]:
    """(2, 3): a film's coordinates to those of the square that the finder sees, the film in its middle.

    ``zoom`` is the film's longer side by the square's.
    """
    scale = zoom * size / max(width, height)
    return np.array([[scale, 0, (size - scale * width) / 2], [0, scale, (size - scale * height) / 2]])


def fit_similarity(
    model: NDArray[np.float64], seen: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[complex, complex, float]:
    """The turn, scale and shift (without mirroring) that bring model points nearest to seen ones.

    Args:
        model: (n, 2), n at least 2.
        seen: (n, 2).
        weights: (n,), not negative.

    Returns:
        a and b of ``seen = a * model + b`` in complex numbers, and the root mean square of what is left over the
        spread of ``seen``.
    """
    z, w = model[:, 0] + 1j * model[:, 1], seen[:, 0] + 1j * seen[:, 1]
    share = np.full(len(z), 1 / len(z)) if weights is None else weights / max(float(weights.sum()), 1e-12)
    mean_z, mean_w = (share * z).sum(), (share * w).sum()
    dz, dw = z - mean_z, w - mean_w
    a = (share * dz.conj() * dw).sum() / max(float((share * abs(dz) ** 2).sum()), 1e-12)
    left = float((share * abs(dw - a * dz) ** 2).sum()) / max(float((share * abs(dw) ** 2).sum()), 1e-12)
    return complex(a), complex(mean_w - a * mean_z), math.sqrt(left)


def fit_frame(
    points: Mapping[str, Point], kind: Kind, template: NDArray[np.float64], mirrored: bool | None = None
) -> tuple[Similarity, float]:
    """The placer's crop that puts points nearest to where they lie on average, mirrored where that fits better.

    Args:
        points: At least two of the kind's points, in source pixels.
        kind: ``"hand"`` or ``"forefoot"``.
        template: Of the placer.
        mirrored: Whether the crop is mirrored; None: as it fits.

    Returns:
        The crop's place, and what is left of the points' spread.
    """
    order = POINTS[kind]
    names = [name for name in order if name in points]
    model = template[CHANNELS[kind]][[order.index(name) for name in names]]
    seen = np.array([points[name] for name in names], np.float64)
    fits = []
    for flip in (False, True) if mirrored is None else (mirrored,):
        known = model * (-1, 1) + (PLACE_SIZE, 0) if flip else model
        a, b, left = fit_similarity(known, seen)
        center = a * complex(PLACE_SIZE / 2, PLACE_SIZE / 2) + b
        up = -1j * a / max(abs(a), 1e-12)
        place = Similarity((center.real, center.imag), (up.real, up.imag), 1 / max(abs(a), 1e-9), PLACE_SIZE, flip)
        fits.append((left, place))
    left, place = min(fits, key=lambda fit: fit[0])
    return place, left


def template_of(known: Sequence[tuple[Kind, Mapping[str, Point]]]) -> NDArray[np.float64]:
    """Where points lie on average in the placer's crop, (32, 2), from annotated hands and forefeet.

    Each is first turned by its own axis and scaled by its unit length, then fitted to the mean so found.
    """
    template = np.full((len(HAND) + len(FOREFOOT), 2), PLACE_SIZE / 2, np.float64)
    for turn in range(2):
        sums, counts = np.zeros_like(template), np.zeros(len(template))
        for kind, points in known:
            place = _own_frame(kind, points) if turn == 0 else fit_frame(points, kind, template)[0]
            for index, name in enumerate(POINTS[kind], CHANNELS[kind].start):
                if name in points:
                    sums[index] += place.to_crop(points[name])
                    counts[index] += 1
        template = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], template)
    return template


def _own_frame(kind: Kind, points: Mapping[str, Point]) -> Similarity:
    row = [points[name] for name in (HAND[1:5] if kind == "hand" else FOREFOOT[:5]) if name in points]
    center = (sum(x for x, _ in row) / len(row), sum(y for _, y in row) / len(row))
    scale = UNIT[kind] / max(unit_length(points), 1e-6)
    return Similarity(center, axis_of(points), scale, PLACE_SIZE, is_mirrored(points))
