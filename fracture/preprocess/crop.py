"""Find the part of a film that is image, leaving out dark padding around the edges.

Jones et al. 2020 crop "to remove excess black padding around the edges" and say no more; the method is ours. It works
on a small copy of the film (noise averages out) and asks for each connected bright part whether it could be anatomy:

* a thin bright strip along an edge (a collimator blade, the end of the plate) is not,
* a small, separate, uniformly bright mark (a burnt-in letter) is not,
* everything else is kept, with a margin, however faint.

What is in doubt is kept: a crop that is too wide costs time, one that is too narrow costs a fracture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import PixelValueError
from fracture.preprocess.percentiles import percentile_of

_SMALL_SIDE = 192  # longest side of the copy that is searched
_MARGIN = 0.02  # kept around the content, as a fraction of the longer side
_STRIP = 0.05  # a bright part along an edge that is at most this deep (of that side) is a collimation edge
_LETTER_AREA = 0.01  # a mark's bounding box is at most this part of the film
_LETTER_GAP = 0.02  # and stands at least this far (of the longer side) from anything else
_SMALLEST_CONTENT = 0.002  # a film with less content than this part of its area is all padding
_CLEAR = 0.08  # clearly brighter than the dark: by this part of the film's contrast ...
_CLEAR_AT_MOST = 0.04  # ... but never more than this (10 of 255 gray levels)
_DARK_RANGE = 0.06  # how uneven a dark background may be (15 of 255 gray levels)
_BRIGHTEST_PADDING = 0.3  # a background brighter than this is not dark padding
_RIM = 0.04  # how far (of the longer side) a faint rim may reach from what is clear
_STROKE = 5  # pixels of the small copy; what is thinner (letters) is no part of a field
_LARGE_PART = 0.1  # a part of the field has at least this share of the largest part's area
_FAINTEST = 0.012  # brightness above the dark level that counts as content, at the least (3 of 255 gray levels)


def find_crop(pixels: NDArray[np.float32], *, source: str = "the film") -> tuple[int, int, int, int]:
    """Find the rectangle that holds the image.

    Args:
        pixels: float32, shape (height, width), in [0, 1], bright = dense.
        source: The name that an error message gives to the film.

    Returns:
        (x0, y0, x1, y1) in whole source pixels, with 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height.

    Raises:
        PixelValueError: The film is all padding: nothing stands out from the dark.
    """
    height, width = pixels.shape
    small = _small_copy(pixels)
    kept = _anatomy(_content(small), small)
    if kept[:, cv2.CC_STAT_AREA].sum() < max(1.0, _SMALLEST_CONTENT * small.size):
        raise PixelValueError(
            f"{source} is all padding: nothing stands out from the dark",
            got=f"pixels between {float(pixels.min()):.3f} and {float(pixels.max()):.3f}",
            hint="check the window of the file, or pass a film with an image on it",
        )
    left, top = kept[:, :2].min(axis=0)
    right, bottom = (kept[:, :2] + kept[:, 2:4]).max(axis=0)
    margin = _MARGIN * max(height, width)
    step_x, step_y = width / small.shape[1], height / small.shape[0]
    return (
        max(0, int(np.floor(left * step_x - margin))),
        max(0, int(np.floor(top * step_y - margin))),
        min(width, int(np.ceil(right * step_x + margin))),
        min(height, int(np.ceil(bottom * step_y + margin))),
    )


def _small_copy(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = pixels.shape
    scale = min(1.0, _SMALL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small = np.ascontiguousarray(resized, np.float32)
    return np.asarray(cv2.medianBlur(small, 3), np.float32) if min(size) >= 3 else small


def _content(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the film is brighter than its dark background.

    Two levels, as in edge detection: what is clearly brighter than the dark (bone always is), and what is a little
    brighter and near it (a soft-tissue rim). Slow gradients of the background far from anything are neither.
    """
    ordered = np.sort(small, axis=None)
    if float(ordered[-1] - ordered[0]) < _FAINTEST:
        return np.zeros(small.shape, np.bool_)
    low = _dark_level(small, ordered)
    contrast = percentile_of(ordered, 99) - low
    clear = small > low + min(max(_CLEAR * contrast, 0.0), _CLEAR_AT_MOST)
    reach = max(1, round(_RIM * max(small.shape)))
    near = cv2.dilate(clear.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return np.asarray((small > low) & (near > 0))


def _dark_level(small: NDArray[np.float32], ordered: NDArray[np.float32]) -> float:
    """Brightness above which a pixel is content: the dark background's level plus its spread.

    The background is what is dark along the edges. Exact zeros (padding that software added, redaction
    rectangles) lie far below the air of a real exposure and would pull the level down, so where other
    dark pixels exist they do not count. ``ordered`` are the same pixels in ascending order.
    """
    positive = _above_zero(ordered)
    if positive.size < 0.02 * small.size:  # a bright drawing on pure black
        return _FAINTEST
    rim = max(2, round(0.06 * min(small.shape)))
    edge = np.concatenate([small[:rim].ravel(), small[-rim:].ravel(), small[:, :rim].ravel(), small[:, -rim:].ravel()])
    edge = _above_zero(np.sort(edge))
    if edge.size < 16:
        return float(positive[0]) * 0.5 if float(positive[0]) > 2 * _FAINTEST else _FAINTEST
    low = percentile_of(edge, 10)
    dark = edge[edge <= low + _DARK_RANGE]
    level = percentile_of(dark, 50)
    spread = 1.4826 * percentile_of(np.sort(np.abs(dark - level)), 50)
    # Where tissue reaches all edges, the edges know no background: the darkest part of the film does.
    level = min(level, percentile_of(positive, 15))
    if level > _BRIGHTEST_PADDING:
        return 0.0  # bright to the rim: there is no dark padding to remove
    return level + min(max(_FAINTEST, 3.0 * spread), _DARK_RANGE)


def _above_zero(ordered: NDArray[np.float32]) -> NDArray[np.float32]:
    return ordered[np.searchsorted(ordered, 0.0, side="right") :]


def _anatomy(content: NDArray[np.bool_], small: NDArray[np.float32]) -> NDArray[np.int32]:
    """The parts of the content that are neither collimation strips nor letters: (n, 5), x, y, width, height, area."""
    height, width = content.shape
    content = content & ~_strips(content)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(content.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    brightest = float(small.max())
    gap = max(1, round(_LETTER_GAP * max(height, width)))
    edge_depth = max(2, round(_STRIP * min(height, width)))
    inner = labels[edge_depth : height - edge_depth, edge_depth : width - edge_depth]
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        if area <= 2:  # what survives a median filter at this size is still no anatomy
            continue
        if not (inner == label).any():  # a sliver along an edge, what a strip left behind
            continue
        kept[label] = True
        if w * h > _LETTER_AREA * content.size:
            continue
        window = np.s_[max(0, y - gap) : y + h + gap, max(0, x - gap) : x + w + gap]
        alone = not (content[window] & (labels[window] != label)).any()
        box = np.s_[y : y + h, x : x + w]
        if alone and percentile_of(np.sort(small[box][labels[box] == label]), 75) > 0.75 * brightest:
            kept[label] = False
    return np.asarray(stats[kept])


def _strips(content: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bright strips along an edge: runs that start at the edge, end within a short depth, and are wide."""
    strips = np.zeros_like(content)
    # Seen from each edge in turn. These are views: writing through them marks the strip in the frame of the film.
    turned = (content, content[::-1], content.T, content.T[::-1])
    marked = (strips, strips[::-1], strips.T, strips.T[::-1])
    for seen, view in zip(turned, marked, strict=True):
        depth = max(2, round(_STRIP * len(seen)))
        if len(seen) <= 2 * depth:
            continue
        # A column belongs to a strip where it is bright at the edge and dark again within the depth.
        ends = seen[0] & ~seen[: depth + 1].all(axis=0)
        if np.count_nonzero(ends) < 0.1 * ends.size:  # too short along the edge to be a blade
            continue
        view[: depth + 1] |= np.logical_and.accumulate(seen[: depth + 1], axis=0) & ends
    return strips


def find_field(pixels: NDArray[np.float32], *, source: str = "the film") -> NDArray[np.bool_]:
    """Where the exposed field is: the convex hulls of the large bright parts, with a margin. The method is ours.

    Letters, name plates and collimation strips beside it are outside. For showing the film to others, where
    :func:`find_crop`, which keeps all that is in doubt, would keep a line of text.

    Args:
        pixels: float32, shape (height, width), in [0, 1], bright = dense.
        source: The name that an error message gives to the film.

    Returns:
        bool, shape (height, width); all True where no dark surrounding stands out.

    Raises:
        PixelValueError: The film is all padding.
    """
    height, width = pixels.shape
    small = _small_copy(pixels)
    content = _content(small)
    content &= ~_strips(content)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_STROKE, _STROKE))
    solid = cv2.morphologyEx(content.astype(np.uint8), cv2.MORPH_OPEN, disc)
    count, labels = cv2.connectedComponents(content.astype(np.uint8), connectivity=8)
    areas = np.bincount(labels[solid > 0], minlength=count)
    areas[0] = 0
    if areas.max() < max(1.0, _SMALLEST_CONTENT * content.size):
        raise PixelValueError(f"{source} is all padding: nothing stands out from the dark")
    field = np.zeros(content.shape, np.uint8)
    for label in np.flatnonzero(areas >= _LARGE_PART * areas.max()):
        points = np.argwhere(labels == label)[:, ::-1].astype(np.int32)
        cv2.fillConvexPoly(field, cv2.convexHull(points), 1)
    margin = 2 * max(1, round(_MARGIN * max(content.shape))) + 1
    wide = cv2.dilate(field, np.ones((margin, margin), np.uint8))
    return np.asarray(cv2.resize(wide, (width, height), interpolation=cv2.INTER_NEAREST) > 0)
