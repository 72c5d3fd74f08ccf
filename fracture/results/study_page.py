"""A summary page of a study: its captures as thumbnails with their verdicts, as one more secondary capture."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.dataset import Dataset

from fracture.errors import ConfigurationError
from fracture.io.quiet import quiet
from fracture.results.header import normalized
from fracture.results.kinds import MANUFACTURER, require_highdicom
from fracture.results.statement import Statement
from fracture.wing.scene import NOTE

_SIDE, _COLUMNS, _PAD, _INK, _QUIET = 480, 4, 12, (240, 240, 240), (165, 165, 170)


def summary(captures: Sequence[Dataset], *, now: datetime | None = None) -> Dataset:
    """A study's findings on one page.

    Args:
        captures: The secondary captures of the study's films, as ``to_dicom(["sc"])`` makes them.
        now: The time that the page carries.

    Raises:
        ConfigurationError: None, captures of several studies, or of something else.
        MissingDependencyError: highdicom is not installed.
    """
    require_highdicom()
    from fracture.results.capture import capture
    from fracture.results.marks import Making

    studies = {str(one.get("StudyInstanceUID")) for one in captures}
    if len(studies) != 1 or any(one.get("Manufacturer") != MANUFACTURER for one in captures):
        raise ConfigurationError(
            "a summary is made of the captures of one study", got=f"{len(captures)} objects of {len(studies)} studies"
        )
    uids = [str(one.SOPInstanceUID) for one in captures]
    first = captures[0]
    statement = Statement(
        width=int(first.Columns),
        height=int(first.Rows),
        model=str(first.ManufacturerModelName).removeprefix("fracture "),
        version=str(first.SoftwareVersions[-1]),
        checksum="" if first.DeviceSerialNumber == "unknown" else str(first.DeviceSerialNumber),
        digest=hashlib.sha256("/".join(uids).encode()).hexdigest(),
    )
    words = f"{len(captures)} film{'s' * (len(captures) > 1)} of this study"
    with quiet():
        making = Making.of(normalized(first, name="<capture>"), statement, now)
        made = capture(making, "summary", _sheet(captures, words), words)
        item = made.SourceImageSequence[0]
        made.SourceImageSequence = [_source(item, one) for one in captures]
    return made


def _source(like: Dataset, one: Dataset) -> Dataset:
    item = copy.deepcopy(like)
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    return item


def _sheet(captures: Sequence[Dataset], words: str) -> np.ndarray:
    title, body = ImageFont.load_default(24), ImageFont.load_default(17)
    pictures = [_thumbnail(one) for one in captures]
    columns = min(_COLUMNS, len(pictures))
    rows = [range(k, min(k + columns, len(pictures))) for k in range(0, len(pictures), columns)]
    heights = [max(pictures[k].height for k in row) + 30 for row in rows]
    width = max(columns * (_SIDE + _PAD) + _PAD, 640)
    sheet = Image.new("RGB", (width, 80 + sum(heights) + _PAD * (len(rows) + 1)), (24, 24, 27))
    draw = ImageDraw.Draw(sheet)
    draw.text((_PAD, 10), words, font=title, fill=_INK)
    draw.text((_PAD, 46), NOTE, font=body, fill=_QUIET)
    top = 80
    for row, high in zip(rows, heights, strict=True):
        for place, k in enumerate(row):
            left = _PAD + place * (_SIDE + _PAD)
            draw.text((left, top), f"{k + 1}. {captures[k].get('ImageComments', '')}"[:58], font=body, fill=_INK)
            sheet.paste(pictures[k], (left, top + 30))
        top += high + _PAD
    return np.asarray(sheet)


def _thumbnail(one: Dataset) -> Image.Image:
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    picture = Image.fromarray(dcmread(stream).pixel_array)
    picture.thumbnail((_SIDE, 2 * _SIDE))
    return picture
