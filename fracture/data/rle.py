"""COCO's run-length code of a mask: runs down the columns, background first, as numbers or compressed to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.data.files import as_number

_LONGEST = 4_000_000


def run_lengths(code: Mapping[str, Any]) -> NDArray[np.int64]:
    """The runs of a segmentation ``{"counts", "size": [height, width]}``, int64 (runs,).

    Raises:
        ValueError: Not such a code, or its runs do not fill the mask.
    """
    size, counts = code.get("size"), code.get("counts")
    sides = [as_number(value) for value in size] if isinstance(size, list) and len(size) == 2 else []
    if len(sides) != 2 or any(side is None or not 1 <= side <= 1_000_000 for side in sides):
        raise ValueError(f"a mask of size {str(size)[:40]}")
    if not isinstance(counts, list | str | bytes) or len(counts) > _LONGEST:
        raise ValueError("counts that are neither a list nor a text")
    if isinstance(counts, list):
        values = [as_number(value) for value in counts]
        if any(value is None or value < 0 for value in values):
            raise ValueError("counts that are not numbers")
        runs = np.array(values, dtype=np.int64)
    else:
        runs = _decompress(counts.encode("latin-1", "replace") if isinstance(counts, str) else counts)
    if (runs < 0).any() or int(runs.sum()) != int(sides[0] or 0) * int(sides[1] or 0):
        raise ValueError(f"runs of {int(runs.sum())} pixels in a mask of {size}")
    return runs


def mask_box(code: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """The smallest box (x0, y0, x1, y1) around a mask in pixel edges, ``None`` for an empty one.

    Raises:
        ValueError: As for :func:`run_lengths`.
    """
    runs = run_lengths(code)
    height = int(code["size"][0])
    ends = np.cumsum(runs)
    first, last = (ends - runs)[1::2], ends[1::2] - 1
    first, last = first[last >= first], last[last >= first]
    if not first.size:
        return None
    whole = (first // height != last // height).any()  # a run over a column's end touches both borders
    y0, y1 = (0, height) if whole else ((first % height).min(), (last % height).max() + 1)
    return float(first[0] // height), float(y0), float(last[-1] // height + 1), float(y1)


def _decompress(text: bytes) -> NDArray[np.int64]:
    """Five bits a character, least first; from the third run on, the difference from the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for char in text:
        bits = char - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("text that is not a compressed run-length code")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("a run-length code that is cut off")
    return np.array(runs, dtype=np.int64)
