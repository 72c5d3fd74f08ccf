"""Films that are the same film: exact copies by hash, near copies by what can be seen.

Public sets hold films twice, re-saved, resized, cropped, mirrored or re-windowed, and a copy of a training film
among the test films makes a number worthless. Perceptual hashes of 64 bits do not tell radiographs apart (two
hands on the same plate differ in 2 of 64 bits), so the search has three steps, each on the part of the film
within a margin, since plates of one clinic share their edges:

1. correlation of band-passed 32 x 32 thumbnails, all pairs in all eight orientations at once by matrix products;
2. for each film's best partners, correlation at 96 x 96 after an affine alignment;
3. for those that remain, correlation of fine structure at 256 x 256 after refining the alignment.

Thresholds are ours, chosen on FracAtlas (3,046 films, cleaned of duplicates by its keepers). Of its 4.6 million pairs
the nine best are at 0.85 to 0.64 in step 3, and all but one of them are neighbors in one group: one patient exposed
twice in the same place. The best pair of strangers reaches 0.65, the thirtieth pair 0.52.

Copies made of 120 of its films were found above 0.6: all that were mirrored, turned by 90 degrees, inverted, stretched
to a square, halved, equalized (CLAHE), re-windowed by gamma, cropped by 1 % or turned by 2 degrees, 99 of 100 that were
saved at quality 30; 9 of 10 cropped by 3 %; 6 of 10 with a large letter painted on them; 1 of 4 turned by 5 degrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.06
STEP_1, STEP_2, STEP_3 = 0.75, 0.80, 0.68
PARTNERS = 8  # of each film and orientation that step 2 looks at
_SMALL, _MIDDLE, _FINE = 32, 96, 256
_BLUR = {_SMALL: 3.0, _MIDDLE: 4.0, _FINE: 3.0}
_BLOCK = 512  # rows per matrix product


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a film for the search.

    Attributes:
        sha256: Of the decoded pixels and their shape.
        small: float32, (32, 32), band-passed, zero mean, unit length.
        middle: uint8, (96, 96).
    """

    sha256: str
    small: NDArray[np.float32]
    middle: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two films that show the same exposure, or two nearly equal ones.

    Attributes:
        first: Index of one film.
        second: Index of the other, greater than ``first``.
        similarity: Correlation of fine structure after alignment, 0 .. 1.
        orientation: 0 .. 3 quarter turns of the second film; 4 .. 7 the same after a mirroring.
    """

    first: int
    second: int
    similarity: float
    orientation: int


def fingerprint(pixels: NDArray[np.float32]) -> Fingerprint:
    """The fingerprint of a film; ``pixels`` float32 (height, width) in [0, 1]."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    small = _band(_thumbnail(pixels, _SMALL))
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return Fingerprint(
        digest.hexdigest(),
        small / np.float32(length) if length > 1e-6 else small * 0,
        np.round(_thumbnail(pixels, _MIDDLE) * 255).astype(np.uint8),
    )


def exact_groups(prints: Sequence[Fingerprint | None]) -> list[tuple[int, ...]]:
    """Indices of films with equal pixels, two or more per group."""
    found: dict[str, list[int]] = {}
    for index, item in enumerate(prints):
        if item is not None:
            found.setdefault(item.sha256, []).append(index)
    return [tuple(indices) for indices in found.values() if len(indices) > 1]


def near_pairs(prints: Sequence[Fingerprint | None], pixels: Callable[[int], NDArray[np.float32]]) -> list[NearPair]:
    """Pairs of near copies, most similar first; exact copies are left to :func:`exact_groups`.

    Args:
        prints: One per film; None for films that cannot be read.
        pixels: Reads film ``index`` again at full resolution, for the few pairs that reach step 3.
    """
    known = [index for index, item in enumerate(prints) if item is not None]
    pairs = []
    for first, second, orientation in _candidates(prints, known):
        one, two = prints[first], prints[second]
        if one is None or two is None or one.sha256 == two.sha256:
            continue
        middle = _oriented(two.middle, orientation).astype(np.float32)
        coarse, matrix = _align(one.middle.astype(np.float32), middle, None, iterations=40)
        if coarse < STEP_2:
            continue
        similarity, _ = _align(
            _thumbnail(pixels(first), _FINE),
            _oriented(_thumbnail(pixels(second), _FINE), orientation),
            _rescaled(matrix, _FINE / _MIDDLE),
            iterations=10,
        )
        if similarity >= STEP_3:
            pairs.append(NearPair(first, second, round(similarity, 4), orientation))
    best: dict[tuple[int, int], NearPair] = {}
    for pair in sorted(pairs, key=lambda p: -p.similarity):
        best.setdefault((pair.first, pair.second), pair)
    return list(best.values())


def _candidates(prints: Sequence[Fingerprint | None], known: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, second, orientation) whose thumbnails correlate: at most ``PARTNERS`` per film and orientation."""
    if len(known) < 2:
        return []
    stack = np.stack([item.small for index in known if (item := prints[index]) is not None])
    flat = stack.reshape(len(stack), -1)
    found: dict[tuple[int, int, int], None] = {}
    for orientation in range(8):
        turned = np.stack([_oriented(small, orientation) for small in stack]).reshape(len(stack), -1)
        for start in range(0, len(flat), _BLOCK):
            # A negative of a film is the same film: the sign does not matter.
            alike = np.abs(flat[start : start + _BLOCK] @ turned.T)
            rows = np.arange(len(alike))
            alike[rows, rows + start] = 0.0
            best = np.argpartition(-alike, min(PARTNERS, alike.shape[1] - 1), axis=1)[:, :PARTNERS]
            values = np.take_along_axis(alike, best, axis=1)
            for row, column in zip(*np.nonzero(values >= STEP_1), strict=True):
                first, second = int(start + row), int(best[row, column])
                if first < second:
                    found[(known[first], known[second], orientation)] = None
                else:  # seen from the other film, the orientation is its inverse
                    inverse = (4 - orientation) % 4 if orientation < 4 else orientation
                    found[(known[second], known[first], inverse)] = None
    return list(found)


def _oriented(plane: NDArray[np.float32] | NDArray[np.uint8], orientation: int) -> NDArray[np.float32]:
    mirrored = plane[:, ::-1] if orientation >= 4 else plane
    return np.ascontiguousarray(np.rot90(mirrored, orientation % 4), dtype=np.float32)


def _thumbnail(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    import cv2

    height, width = pixels.shape
    top, left = int(height * MARGIN), int(width * MARGIN)
    inner = pixels[top : height - top, left : width - left]
    return np.asarray(cv2.resize(inner, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _band(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Band-passed; the finest also has its local contrast evened out, or one plate edge would decide."""
    import cv2

    side = plane.shape[0]
    band = plane - cv2.GaussianBlur(plane, (0, 0), _BLUR[side])
    if side == _FINE:
        local = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 2 * _BLUR[side]))
        band /= local + np.float32(local.mean() + 1e-6)
    return np.asarray(band)


def _align(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    start: NDArray[np.float32] | None,
    *,
    iterations: int,
) -> tuple[float, NDArray[np.float32]]:
    """Absolute correlation of the band-passed planes after an affine alignment, and the alignment."""
    import cv2

    matrix = np.eye(2, 3, dtype=np.float32) if start is None else start.astype(np.float32)
    one, two = _band(first), _band(second)
    if float((one * two).sum()) < 0:
        two = -two
    everywhere = np.ones(one.shape, np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, 1e-4)
    try:
        _, found = cv2.findTransformECC(one, two, matrix, cv2.MOTION_AFFINE, criteria, everywhere, 5)
    except cv2.error:  # it does not converge: not the same film
        return 0.0, matrix
    matrix = np.asarray(found, np.float32)
    size, flags = one.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones_like(two), matrix, size, flags=flags) > 0.99
    if inside.mean() < 0.6:
        return 0.0, matrix
    a, b = one[inside], cv2.warpAffine(two, matrix, size, flags=flags)[inside]
    a, b = a - a.mean(), b - b.mean()
    return abs(float(a @ b)) / (float(np.linalg.norm(a) * np.linalg.norm(b)) + 1e-9), matrix


def _rescaled(matrix: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The same alignment on a finer grid (pixel centers, as OpenCV counts)."""
    finer = matrix.astype(np.float64)
    finer[:, 2] = factor * matrix[:, 2] + (factor - 1) / 2 * (matrix[:, :2].sum(axis=1) - 1)
    return finer.astype(np.float32)
