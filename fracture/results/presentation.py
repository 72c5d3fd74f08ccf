"""A result as a grayscale presentation state: boxes and words that a workstation lays over the film it has.

It also says how the film is to be shown, so it must say what the film's own header says: one window, or one VOI table;
the modality table where there is one; the polarity; the shape of a pixel. That is ours to write, highdicom copies part
of it. What a box means stands beside it in words: viewers draw every line alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom import pr
from pydicom.dataset import Dataset
from pydicom.valuerep import DS

from fracture.errors import UnsupportedError
from fracture.results.kinds import RESEARCH
from fracture.results.marks import Making
from fracture.results.report import outline
from fracture.wing.scene import NOTE, Page, SceneBox

_LAYER = "FRACTURE"
_LOOKS = {"sure": "suspected", "doubt": "a doubt", "weak": "weak candidate", "calm": ""}
_SHOWN = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)
_LINE = 0.03  # height of a line of text, of the displayed area (ours)


def make_presentation(making: Making, page: Page) -> Dataset:
    """The presentation state.

    Args:
        making: The film and what is said of it.
        page: What there is to see.

    Raises:
        UnsupportedError: A film in color, to which such an object cannot refer.
    """
    image = making.reference()
    if image.get("SamplesPerPixel", 1) != 1 or not str(image.PhotometricInterpretation).startswith("MONOCHROME"):
        raise UnsupportedError(
            "a grayscale presentation state belongs to a grayscale film",
            got=image.PhotometricInterpretation,
            hint='leave "gsps" out',
        )
    for keyword in _SHOWN:
        if keyword in image:
            delattr(image, keyword)
    annotation = pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=(layer := pr.GraphicLayer(_LAYER, order=1, description=f"Findings, {RESEARCH}")),
        graphic_objects=_graphics(making, page) or None,
        text_objects=_texts(making, page),
    )
    made = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="FRACTURE",
        content_description=f"Fracture detection, {RESEARCH}",
        graphic_layers=[layer],
        graphic_annotations=[annotation],
        **making.common("gsps"),
    )
    made.PresentationLUTShape = "INVERSE" if image.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    _voi(made, making.header.image)
    _modality(made, making.header.image)
    _shape(made.DisplayedAreaSelectionSequence[0], making.header.image)
    return making.finish(made)


def _graphics(making: Making, page: Page) -> list[Any]:
    drawn = []
    for number, box in enumerate(page.boxes, 1):
        edges = _clipped((box.x0, box.y0, box.x1, box.y1), making)
        drawn.append(_graphic(making, "POLYLINE", edges, f"box {number}"))
    for number, point in enumerate(page.points, 1):
        drawn.append(_graphic(making, "POINT", (point.x, point.y), f"point {number}"))
    return drawn


def _graphic(making: Making, kind: str, edges: Sequence[float], name: str) -> pr.GraphicObject:
    return pr.GraphicObject(kind, outline(edges), "PIXEL", tracking_id=name, tracking_uid=making.uid("tracking", name))


def _texts(making: Making, page: Page) -> list[Any]:
    """The verdict and the note at the top of what is displayed, and beside each box what it means."""
    texts = []
    for row, line in enumerate((page.verdict, *page.lines, NOTE)):
        top = 0.01 + row * _LINE
        texts.append(_text(line, "DISPLAY", (0.01, top, 0.99, top + _LINE)))
    width, height = making.header.size
    high = max(1.0, height * _LINE)
    for box in page.boxes:
        if words := _words(box):
            left, _, _, bottom = _clipped((box.x0, box.y0, box.x1, box.y1), making)
            top = min(bottom, height - high)  # below the box, or within it at the film's lower edge
            left = min(left, width * 0.8)
            place = (left, max(0.0, top), min(float(width), left + width * 0.5), max(0.0, top) + high)
            texts.append(_text(words, "PIXEL", place))
    named = [point for point in page.points if point.label]
    return texts + [
        pr.TextObject(p.label, "PIXEL", anchor_point=(x, y)) for p in named for x, y in [_clipped((p.x, p.y), making)]
    ]


def _text(words: str, units: str, place: tuple[float, float, float, float]) -> pr.TextObject:
    return pr.TextObject(words[:1024], units, bounding_box=place, text_justification="LEFT")


def _words(box: SceneBox) -> str:
    return ": ".join(part for part in (box.label, _LOOKS[box.look]) if part)


def _clipped(edges: Sequence[float], making: Making) -> tuple[float, ...]:
    limits = making.header.size
    return tuple(min(max(0.0, value), float(limits[k % 2])) for k, value in enumerate(edges))


def _shape(area: Dataset, image: Dataset) -> None:
    """How high a pixel is by its width: the spacing where it is known, else the ratio."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if keyword in image:
            area.PresentationPixelSpacing = list(image[keyword].value)
            del area.PresentationPixelAspectRatio
            return
    ratio = _numbers(image, "PixelAspectRatio")
    if len(ratio) == 2 and min(ratio) > 0:
        area.PresentationPixelAspectRatio = [int(value) for value in ratio]


def _modality(made: Dataset, image: Dataset) -> None:
    """The film's modality table, else its rescaling: a film has one of them (PS3.3 C.11.1)."""
    slope, intercept = (_numbers(image, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if tables := image.get("ModalityLUTSequence"):
        table = copy.deepcopy(tables[0])
        table.ModalityLUTType = table.get("ModalityLUTType") or "US"
        if "SoftcopyVOILUTSequence" not in made:  # no window counts in the table's units
            _widen(table, int(np.frombuffer(table.LUTData, "<u2").max()).bit_length())
        made.ModalityLUTSequence = [table]
    elif slope and intercept and slope[0] != 0:
        made.RescaleSlope, made.RescaleIntercept, made.RescaleType = slope[0], intercept[0], "US"


def _voi(made: Dataset, image: Dataset) -> None:
    """The film's first table, else its first valid window: a presentation state holds one (PS3.3 C.11.8)."""
    item = Dataset()
    if tables := image.get("VOILUTSequence"):
        table = copy.deepcopy(tables[0])
        _widen(table, table.LUTDescriptor[2])
        item.VOILUTSequence = [table]
    else:
        function = image.get("VOILUTFunction")
        function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
        pairs = zip(_numbers(image, "WindowCenter"), _numbers(image, "WindowWidth"), strict=False)
        valid = [(c, w) for c, w in pairs if w >= 1 or (function != "LINEAR" and w > 0)]
        if not valid:
            return
        item.WindowCenter, item.WindowWidth = (DS(value, auto_format=True) for value in valid[0])
        if function != "LINEAR":
            item.VOILUTFunction = function
    made.SoftcopyVOILUTSequence = [item]


def _widen(table: Dataset, bits: int) -> None:
    """A table of 9 to 15 bits in 16, which a presentation state wants (PS3.3 C.11.1.1.1, C.11.8)."""
    count, first, _ = table.LUTDescriptor
    if 8 < bits < 16:
        entries = np.frombuffer(table.LUTData, "<u2").astype(np.float64)
        table.LUTData = np.clip(np.rint(entries * 65535 / ((1 << bits) - 1)), 0, 65535).astype("<u2").tobytes()
        table.LUTDescriptor = [count, first, 16]


def _numbers(image: Dataset, keyword: str) -> list[float]:
    value = image.get(keyword)
    many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return [] if value is None else [float(one) for one in many]
