"""Stored values to display values in [0, 1]: modality LUT, VOI LUT or window, polarity (PS3.3 C.11, PS3.4 N.2).

Stored values of up to 16 bits are rendered through one table that holds all steps, so a film costs one gather.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.errors import NotARadiographError, UnsupportedError
from fracture.io.dicom.header import EXPLICIT_BE, Attributes, Layout, floats, integers, items, text
from fracture.io.images import gray_plane
from fracture.io.scaling import by_rows, percentile_limits

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Table:
    """A look-up table: ``entries[0]`` answers for values up to ``first``."""

    entries: NDArray[np.float64]
    first: int
    top: float

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        found: NDArray[np.float64] = self.entries[index]
        return found


def render(
    stored: NDArray[Any], dataset: Attributes, form: Layout, name: str, window: str | int
) -> tuple[NDArray[np.float32], list[str]]:
    """Display values of one gray frame.

    The steps: modality LUT or rescale; then, with ``window="auto"``, the first valid VOI LUT, else the first valid
    window (``VOILUTFunction`` LINEAR, LINEAR_EXACT or SIGMOID), else the 0.5 % to 99.5 % percentile window over
    pixels that are not padding; last, MONOCHROME1 or a Presentation LUT Shape of INVERSE turns the scale around.
    Padding becomes 0. Percentiles, the order of preference and the treatment of padding are our choice.

    Args:
        stored: (rows, columns) as decoded.
        dataset: The attributes.
        form: The pixel layout.
        name: How errors call the file.
        window: ``"auto"``, ``"raw"`` (the full range of the stored bits, no VOI), ``"percentile"``, or the number
            of a window; VOI LUTs are counted on after the windows.

    Returns:
        float32 in [0, 1], bright = dense, and what a user should know.

    Raises:
        UnsupportedError: There is no window of that number.
    """
    notes: list[str] = []
    modality = modality_curve(dataset, form, notes)
    padding = padding_mask(stored, dataset, form)
    values_range = _range(stored)
    voi: Curve | None = None
    if window == "raw":
        voi = _raw(modality, form)
    elif window != "percentile":
        ends = modality(np.array(values_range, np.float64))
        bottom = float(modality(np.array(_possible(form), np.float64)).min())
        voi = _voi(dataset, form, name, window, (float(ends.min()), float(ends.max())), bottom, notes)
    if voi is None:
        voi = _percentile(stored, padding, modality, notes)
    inverse = _inverse(dataset, form)

    def steps(values: NDArray[np.float64]) -> NDArray[np.float32]:
        unit = np.clip(voi(modality(values)), 0.0, 1.0)
        return (1.0 - unit if inverse else unit).astype(np.float32)

    low, high = values_range
    if high - low < 1 << 16:
        table = steps(np.arange(low, high + 1, dtype=np.float64))
        pixels = by_rows(lambda part: table[part if low == 0 else part.astype(np.int64) - low], stored)
    else:
        pixels = by_rows(lambda part: steps(part.astype(np.float64)), stored)
    if padding is not None:
        pixels[padding] = 0.0
    return pixels, notes


def _possible(form: Layout) -> tuple[int, int]:
    """The smallest and the largest value that the stored bits can hold."""
    bottom = -(1 << (form.stored - 1)) if form.signed else 0
    return bottom, bottom + (1 << form.stored) - 1


def _range(stored: NDArray[Any]) -> tuple[int, int]:
    return int(stored.min()), int(stored.max())


def _little(form: Layout) -> bool:
    return form.transfer_syntax != EXPLICIT_BE


_FLUOROSCOPY = tuple(f"1.2.840.10008.5.1.4.1.1.12.{n}" for n in (1, 2, 3))


def modality_curve(dataset: Attributes, form: Layout, notes: list[str]) -> Curve:
    """Stored values to those of the modality (PS3.3 C.11.1).

    Modality LUT Sequence, else Rescale Slope and Intercept, else the values themselves.

    In angiography and fluoroscopy the modality LUT leads back to the detector's linear values, for subtraction, and
    is not meant for display (PS3.3 C.8.7.1.1.2); DCMTK leaves it out there, and so do we.
    """
    if text(dataset, "SOPClassUID") in _FLUOROSCOPY:
        return lambda values: values
    sequence = items(dataset, "ModalityLUTSequence")
    if sequence:
        table = _lut(sequence[0], form, form.signed)
        if table is not None:
            return table
        notes.append("the modality LUT is empty or malformed; it was left out")
    slope, intercept = floats(dataset, "RescaleSlope"), floats(dataset, "RescaleIntercept")
    if not slope and not intercept:
        return lambda values: values
    m, b = (slope or (1.0,))[0], (intercept or (0.0,))[0]
    if not (math.isfinite(m) and math.isfinite(b)) or m == 0.0:
        notes.append("the rescale slope or intercept is malformed; it was left out")
        return lambda values: values
    return lambda values: values * m + b


def _lut(item: Attributes, form: Layout, signed: bool) -> _Table | None:
    """One item of a LUT sequence; ``None`` where it is empty or contradicts itself."""
    descriptor = integers(item, "LUTDescriptor", little_endian=_little(form))
    data = integers(item, "LUTData", little_endian=_little(form))
    if len(descriptor) != 3 or not data:
        return None
    count, first, bits = descriptor[0] & 0xFFFF or 1 << 16, descriptor[1], descriptor[2]
    if signed and first >= 1 << 15:
        first -= 1 << 16  # written as unsigned, as in implicit VR, but meant for values that may be negative
    entries = _entries(data, count, bits)
    if len(entries) < count or not 1 <= bits <= 16:
        return None
    entries = entries[:count]
    # Declared bits are wrong in some files; what the entries use decides (our choice).
    used = int(entries.max()).bit_length()
    if used == 0:
        return None
    top = (1 << (bits if used == bits else used)) - 1
    return _Table(entries.astype(np.float64), first, float(top))


def _entries(data: tuple[int, ...], count: int, bits: int) -> NDArray[np.int64]:
    """The entries of a table; of up to 8 bits there may be two in each word."""
    words = np.array(data, np.int64) & 0xFFFF
    if bits <= 8 and len(words) * 2 in (count, count + 1):
        return np.stack([words & 0xFF, words >> 8], axis=1).ravel()[:count]
    return words


def padding_mask(stored: NDArray[Any], dataset: Attributes, form: Layout) -> NDArray[np.bool_] | None:
    """Where pixels are padding (PS3.3 C.7.5.1.1.2); ``None`` where none or all are."""
    padding = sorted(padding_values(dataset, form))
    if not padding:
        return None
    low, high = padding[0], padding[-1]
    span = np.iinfo(stored.dtype)
    if low > span.max or high < span.min:
        return None
    mask: NDArray[np.bool_] = (stored >= max(low, span.min)) & (stored <= min(high, span.max))
    return mask if mask.any() and not mask.all() else None


def padding_values(dataset: Attributes, form: Layout) -> tuple[int, ...]:
    """Pixel Padding Value, and Pixel Padding Range Limit where there is one, in the sign of the pixels; else empty."""
    found = integers(dataset, "PixelPaddingValue", signed=form.signed, little_endian=_little(form))
    limit = integers(dataset, "PixelPaddingRangeLimit", signed=form.signed, little_endian=_little(form))
    if len(found) != 1:
        return ()
    return tuple(_as_stored(value, form) for value in (*found, *(limit if len(limit) == 1 else ())))


def black_value(dataset: Attributes, form: Layout) -> int:
    """The stored value for what shall be no image: the file's padding value, else what is shown darkest."""
    low, high = _possible(form)
    if (padding := padding_values(dataset, form)) and low <= padding[0] <= high:
        return padding[0]
    falling = any(slope < 0 for slope in floats(dataset, "RescaleSlope"))
    return high if _inverse(dataset, form) != falling else low


def _inverse(dataset: Attributes, form: Layout) -> bool:
    return form.photometric == "MONOCHROME1" or text(dataset, "PresentationLUTShape") == "INVERSE"


def _as_stored(value: int, form: Layout) -> int:
    """A padding value in the sign of the pixels, whichever of US and SS its writer took."""
    if form.signed and value >= 1 << (form.stored - 1):
        value &= (1 << form.stored) - 1
        return value - (1 << form.stored) if value >> (form.stored - 1) else value
    return value & 0xFFFF if value < 0 and not form.signed else value


def _raw(modality: Curve, form: Layout) -> Curve:
    if isinstance(modality, _Table):
        low, high = 0.0, modality.top
    else:
        ends = modality(np.array(_possible(form), np.float64))
        low, high = float(ends.min()), float(ends.max())
    return lambda values: (values - low) / (high - low) if high > low else np.zeros_like(values)


def _percentile(stored: NDArray[Any], padding: NDArray[np.bool_] | None, modality: Curve, notes: list[str]) -> Curve:
    visible = stored if padding is None else stored[~padding]
    step = max(1, math.ceil(math.sqrt(visible.size / 1_000_000)))
    sample = visible[::step, ::step] if visible.ndim == 2 else visible[:: step * step]
    values = modality(sample.astype(np.float64))
    low, high = percentile_limits(values)
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        notes.append("all pixels have the same value")
        return np.zeros_like
    return lambda found: (found - low) / (high - low)


def _voi(
    dataset: Attributes,
    form: Layout,
    name: str,
    window: str | int,
    span: tuple[float, float],
    bottom: float,
    notes: list[str],
) -> Curve | None:
    """The chosen VOI transformation, ``None`` where the file has no valid one.

    ``span`` holds the least and the greatest value of the film after the modality LUT, ``bottom`` the least possible.
    """
    centers, widths = floats(dataset, "WindowCenter"), floats(dataset, "WindowWidth")
    pairs = list(zip(centers, widths, strict=False))
    tables = items(dataset, "VOILUTSequence")
    if isinstance(window, int):
        if window >= len(pairs) + len(tables):
            raise UnsupportedError(
                f"{name}: no such window",
                got=f"window={window}",
                allowed=f"{len(pairs)} windows and {len(tables)} VOI LUTs in the file, counted from 0",
                hint="use window='auto'",
            )
        if window < len(pairs):
            pairs, tables = [pairs[window]], []
        else:
            pairs, tables = [], [tables[window - len(pairs)]]
    for item in tables:
        table = _lut(item, form, bottom < 0)
        if table is not None:
            return lambda values: table(values) / table.top
        notes.append("a VOI LUT is empty or malformed; it was left out")
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    for center, width in pairs:
        curve = _window(center, width, function, span)
        if curve is not None:
            return curve
        notes.append("a window is illegal or beside all pixel values; it was left out")
    return None


def _window(center: float, width: float, function: str, span: tuple[float, float]) -> Curve | None:
    """A window by PS3.3 C.11.2.1.2 (linear) and C.11.2.1.3 (sigmoid, linear exact)."""
    if not (math.isfinite(center) and math.isfinite(width)):
        return None
    if not (width >= 1 if function == "LINEAR" else width > 0):
        return None
    if function != "SIGMOID" and (center + width / 2 < span[0] or center - width / 2 > span[1]):
        return None
    if function == "SIGMOID":
        return lambda values: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if function == "LINEAR_EXACT":
        return lambda values: (values - center) / width + 0.5
    if width == 1:
        return lambda values: (values > center - 0.5).astype(np.float64)
    return lambda values: (values - (center - 0.5)) / (width - 1) + 0.5


def gray_from_color(
    stored: NDArray[Any], photometric: str, dataset: Attributes, form: Layout, name: str
) -> NDArray[Any]:
    """The one gray plane of a color frame whose channels agree.

    Args:
        stored: (rows, columns, 3), or (rows, columns) of palette indices.
        photometric: How ``stored`` codes colors: RGB, YBR_FULL, YBR_FULL_422 or PALETTE COLOR.
        dataset: The attributes; they hold the palette.
        form: The pixel layout.
        name: How errors call the file.

    Returns:
        (rows, columns), unsigned, in the range of the stored bits (of 8 bits for a palette).

    Raises:
        NotARadiographError: A color picture.
        UnsupportedError: A palette that is not read.
    """
    if photometric == "PALETTE COLOR":
        return gray_plane(_palette(stored, dataset, form, name), name)
    full = float((1 << form.stored) - 1)
    color = stored.astype(np.float32) / np.float32(full)
    if photometric.startswith("YBR"):
        y, b, r = color[..., 0], color[..., 1] - np.float32(128 / 255), color[..., 2] - np.float32(128 / 255)
        color = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=2)
    if form.signed:
        raise NotARadiographError(f"{name}: a color picture with signed samples")
    gray = gray_plane(color, name)
    rounded: NDArray[Any] = np.rint(np.clip(gray, 0, 1) * full).astype(stored.dtype)
    return rounded


def _palette(stored: NDArray[Any], dataset: Attributes, form: Layout, name: str) -> NDArray[np.uint8]:
    channels = []
    for color in ("Red", "Green", "Blue"):
        stem = f"{color}PaletteColorLookupTable"
        descriptor = integers(dataset, f"{stem}Descriptor", little_endian=_little(form))
        data = integers(dataset, f"{stem}Data", little_endian=_little(form))
        if len(descriptor) != 3 or not data or descriptor[2] not in (8, 16):
            raise UnsupportedError(f"{name}: the color palette is missing or of a kind that is not read")
        count, first, bits = descriptor[0] or 1 << 16, descriptor[1], descriptor[2]
        entries = _entries(data, count, bits)
        if bits == 16 or int(entries.max()) > 255:
            entries = entries >> 8
        index = np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)
        channels.append(entries[index].astype(np.uint8))
    return np.stack(channels, axis=2)
