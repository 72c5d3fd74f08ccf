"""A DICOM data set to a ``Radiograph``: what is accepted, the pixels, the spacing, the region, view and side."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from fracture.errors import FractureError, NotARadiographError, UnreadableFileError
from fracture.io.dicom.decode import checked_pixels, decode_frame, recognized
from fracture.io.dicom.grayscale import gray_from_color, render
from fracture.io.dicom.header import (
    EXPLICIT_BE,
    Attributes,
    collect,
    floats,
    items,
    layout,
    pydicom_faults,
    text,
    texts,
)
from fracture.io.dicom.parse import EXPLICIT_LE, IMPLICIT_LE, parse
from fracture.io.images import check_size
from fracture.io.options import Reading, chosen_frame
from fracture.io.quiet import FAULTS, quiet
from fracture.io.radiograph import SPACING_LIMITS, Radiograph, plausible_aspect, plausible_spacing
from fracture.regions import RegionTree, laterality_from_dicom, view_from_dicom

ACCEPTED = ("CR", "DX", "RG", "RF", "IO", "PX", "HC", "OT", "SC", "")
"""Modalities taken as plain radiographs without ``allow`` (our choice): computed and digital radiography, digitized
film, single fluoroscopy shots, dental films, hard copies, secondary captures, and files that do not say."""

_MODALITIES = {
    "CT": "a CT slice",
    "MR": "an MR slice",
    "PT": "a PET slice",
    "NM": "a nuclear medicine image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "XA": "an angiogram",
    "XC": "a photograph",
    "GM": "a microscope image",
    "SM": "a microscope slide",
    "ES": "an endoscopic image",
    "OP": "an eye photograph",
    "OPT": "an eye tomogram",
    "ECG": "an electrocardiogram",
    "DOC": "a document",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "SEG": "a segmentation",
    "REG": "a registration",
    "RTDOSE": "a radiotherapy dose",
    "RTIMAGE": "a radiotherapy image",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "a radiotherapy structure set",
    "BMD": "a bone density measurement",
    "BI": "a biomagnetic image",
    "IVUS": "an intravascular ultrasound image",
    "IVOCT": "an intravascular tomogram",
    "OCT": "an optical tomogram",
    "TG": "a thermogram",
}

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Storage classes (PS3.4 B.5) by what follows the common prefix, for files whose Modality is missing, vague or unknown.
_SOP_CLASSES = {
    "1": "CR",
    "1.1": "DX",
    "1.1.1": "DX",
    "1.3": "IO",
    "1.3.1": "IO",
    "12.2": "RF",
    "2": "CT",
    "2.1": "CT",
    "2.2": "CT",
    "4": "MR",
    "4.1": "MR",
    "4.3": "MR",
    "4.4": "MR",
    "128": "PT",
    "130": "PT",
    "20": "NM",
    "6.1": "US",
    "6.2": "US",
    "3.1": "US",
    "1.2": "MG",
    "13.1.3": "MG",
    "12.1": "XA",
    "12.1.1": "XA",
    "13.1.1": "XA",
    "66.4": "SEG",
    "481.1": "RTIMAGE",
    "481.2": "RTDOSE",
    "481.3": "RTSTRUCT",
    "481.5": "RTPLAN",
    "104.1": "DOC",
    "88.59": "KO",
}
NO_IMAGE = ("SR", "PR", "KO", "DOC", "REG", "RTPLAN", "RTSTRUCT", "ECG")


def radiograph_from_bytes(data: bytes, name: str, options: Reading) -> Radiograph:
    """Read a DICOM file held in memory; errors as ``fracture.read``."""
    parsed = parse(data, name, max_bytes=options.max_bytes)
    found = _radiograph(parsed.attributes, name, parsed.transfer_syntax, options, truncated=parsed.truncated)
    return replace(found, warnings=(*parsed.warnings, *found.warnings)) if parsed.warnings else found


def radiograph_from_dataset(dataset: Dataset, name: str, options: Reading) -> Radiograph:
    """Read a pydicom ``Dataset``; errors as ``fracture.read``."""
    return _radiograph(collect(dataset), name, _transfer_syntax(dataset, name), options, truncated=False)


def _transfer_syntax(dataset: Dataset, name: str) -> str:
    try:
        with quiet():
            declared = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "") or "")
            encoding = getattr(dataset, "original_encoding", (None, None))
    except pydicom_faults():
        raise UnreadableFileError(f"{name}: the data set's file meta information is malformed") from None
    if declared:
        return declared
    implicit, little = encoding
    if little is False:
        return EXPLICIT_BE
    return IMPLICIT_LE if implicit else EXPLICIT_LE


def _radiograph(
    dataset: Attributes,
    name: str,
    transfer_syntax: str,
    options: Reading,
    *,
    truncated: bool,
) -> Radiograph:
    first: list[str] = []
    check_modality(dataset, name, options.allow, first)
    form = layout(dataset, name, transfer_syntax, truncated=truncated)
    check_size(name, form.columns, form.rows, options.max_pixels, samples=form.samples)
    form = recognized(dataset, form, name, first)
    checked_pixels(dataset, form, name)
    stored, photometric = decode_frame(dataset, form, name, chosen_frame(name, options.frame, form.frames))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        stored = gray_from_color(stored, photometric, dataset, form, name)
        form = replace(form, samples=1, signed=False, photometric="MONOCHROME2")
        if photometric == "PALETTE COLOR":
            form = replace(form, allocated=8, stored=8, high_bit=7)
    try:
        pixels, notes = render(stored, dataset, form, name, options.window)
    except FractureError:
        raise
    except FAULTS:
        raise UnreadableFileError(f"{name}: a look-up table or window of the file is malformed") from None
    notes = [*first, *notes]
    _warn_of_raw_values(dataset, notes)
    spacing, spacing_source = _spacing(dataset, notes)
    said = _regions(dataset, options.tree)
    return Radiograph(
        pixels=np.ascontiguousarray(pixels, dtype=np.float32),
        source=name,
        regions=options.regions or said,
        region_source="caller" if options.regions else "dicom" if said else None,
        view=view_from_dicom(text(dataset, "ViewPosition"), _codes(dataset, "ViewCodeSequence")),
        laterality=laterality_from_dicom(
            [text(dataset, word) for word in ("ImageLaterality", "FrameLaterality", "Laterality")],
            [
                code
                for item in (dataset, *items(dataset, "AnatomicRegionSequence"))
                for code in _codes(item, "AnatomicRegionModifierSequence")
            ],
        ),
        spacing=spacing,
        spacing_source=spacing_source,
        aspect=_aspect(dataset, notes),
        orientation=_orientation(dataset),
        bits=form.stored,
        frame=options.frame if form.frames > 1 else None,
        warnings=tuple(dict.fromkeys(notes)),
    )


def modality_of_class(uid: str) -> str:
    """The modality that a storage class stands for, ``""`` where it is unknown."""
    tail = uid.removeprefix(_STORAGE)
    return _SOP_CLASSES.get(tail, "SR" if tail.startswith("88.") else "PR" if tail.startswith("11.") else "")


def check_modality(dataset: Attributes, name: str, allow: Collection[str], notes: list[str]) -> None:
    """Refuse what is not a plain radiograph; the message says what it is, in our words.

    A Modality that the standard does not know (XR, DR) is passed over where the SOP class names a radiograph.
    """
    modality = text(dataset, "Modality")
    stored_as = modality_of_class(text(dataset, "SOPClassUID"))
    vague = modality not in _MODALITIES and (modality in ("", "OT") or modality not in ACCEPTED)
    kind = (stored_as or modality) if vague else modality
    if kind in NO_IMAGE and "PixelData" not in dataset:
        raise NotARadiographError(f"{name}: {_MODALITIES[kind]}, a DICOM file without pixels", hint="give the image")
    if "*" in allow or kind in allow or modality in allow or kind in ACCEPTED:
        if modality not in (*ACCEPTED, *_MODALITIES) and kind in ACCEPTED:
            notes.append(f"the Modality is not one that the standard knows; the SOP class says {kind}")
        return
    if kind in _MODALITIES:
        raise NotARadiographError(
            f"{name}: {_MODALITIES[kind]}, not a plain radiograph",
            got=f"modality {kind}",
            allowed=[word for word in ACCEPTED if word],
            hint=f"allow=({kind!r},) reads it anyway",
        )
    raise NotARadiographError(
        f"{name}: a DICOM modality that is not a plain radiograph's",
        allowed=[word for word in ACCEPTED if word],
        hint="allow=('*',) reads it anyway",
    )


def _codes(dataset: Attributes, keyword: str) -> list[str]:
    return [code for item in items(dataset, keyword) if (code := text(item, "CodeValue"))]


def _regions(dataset: Attributes, tree: RegionTree) -> tuple[str, ...]:
    found = dataset.get("BodyPartExamined")
    body_part = " ".join(found) if isinstance(found, list) else str(found or "")
    return tree.from_dicom(body_part, _codes(dataset, "AnatomicRegionSequence"))


def _spacing(dataset: Attributes, notes: list[str]) -> tuple[tuple[float, float] | None, str | None]:
    """Millimeters per pixel at the object, (row, column), and where it comes from (PS3.3 10.7.1.3).

    Pixel Spacing is taken where it stands alone, is calibrated, or differs from Imager Pixel Spacing. Else the
    spacing is that of the detector, divided by the Estimated Radiographic Magnification Factor where there is one.
    Nominal Scanned Pixel Spacing, of digitized film, comes last.
    """
    pixel = _pair(dataset, "PixelSpacing", notes)
    imager = _pair(dataset, "ImagerPixelSpacing", notes)
    scanned = _pair(dataset, "NominalScannedPixelSpacing", notes)
    if pixel and (imager is None or pixel != imager or text(dataset, "PixelSpacingCalibrationType")):
        return pixel, "PixelSpacing"
    if imager is None:
        return scanned, "NominalScannedPixelSpacing" if scanned else None
    factor = floats(dataset, "EstimatedRadiographicMagnificationFactor")
    if not factor:
        return imager, "ImagerPixelSpacing"
    row, column = imager
    magnified = (row / factor[0], column / factor[0]) if factor[0] >= 1.0 else ()
    if len(factor) != 1 or len(magnified) != 2 or not plausible_spacing(magnified):
        notes.append("the magnification factor is invalid; the spacing is that of the detector")
        return imager, "ImagerPixelSpacing"
    return magnified, "ImagerPixelSpacing/EstimatedRadiographicMagnificationFactor"


def _pair(dataset: Attributes, keyword: str, notes: list[str]) -> tuple[float, float] | None:
    found = floats(dataset, keyword)
    if not found:
        return None
    if len(found) != 2 or not all(math.isfinite(one) and one > 0.0 for one in found):
        notes.append(f"{keyword} is zero, negative or malformed; it was left out")
        return None
    if not plausible_spacing(found):
        low, high = SPACING_LIMITS
        notes.append(f"{keyword} is implausible (not {low:g} to {high:g} mm); it was left out")
        return None
    return found[0], found[1]


def _aspect(dataset: Attributes, notes: list[str]) -> float:
    """Height of a pixel by its width (PS3.3 C.7.6.3.1.7), for films without a spacing; 1 where nothing is said."""
    found = floats(dataset, "PixelAspectRatio")
    if not found:
        return 1.0
    aspect = found[0] / found[1] if len(found) == 2 and found[1] else math.nan
    if not plausible_aspect(aspect):
        notes.append("PixelAspectRatio is malformed or implausible; it was left out")
        return 1.0
    return aspect


def _orientation(dataset: Attributes) -> tuple[str, str] | None:
    """PatientOrientation (PS3.3 C.7.6.1.1.1): which way rows and columns run, in the letters of two-legged patients;
    None where it says nothing, or contradicts itself."""
    found = texts(dataset, "PatientOrientation")
    axes = [[{"P": "A", "L": "R", "H": "F"}.get(letter, letter) for letter in one] for one in found]
    if len(found) != 2 or not all(one and set(one) <= set("ARF") and len(set(one)) == len(one) for one in axes):
        return None
    return None if axes[0][0] == axes[1][0] else (found[0], found[1])


def _warn_of_raw_values(dataset: Attributes, notes: list[str]) -> None:
    """Films that were not made for display (PS3.3 C.8.11.1.1.1): PACS hold them beside those that were."""
    tail = text(dataset, "SOPClassUID").removeprefix(_STORAGE)
    intent = text(dataset, "PresentationIntentType")
    if intent != "FOR PROCESSING" and (intent or tail not in ("1.1.1", "1.3.1")):
        return
    words = "the film is FOR PROCESSING: values of the detector, not the picture that was made for display"
    if floats(dataset, "PixelIntensityRelationshipSign") == (1.0,) and (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME2"
    ):
        words += "; they grow with the exposure, so bone is dark"
    notes.append(words)
