"""Small DICOM files for the tests."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SECRETS = {
    "PatientName": "Zyxwvut^Quentina",
    "PatientID": "SECRET-4711-ID",
    "PatientBirthDate": "19330217",
    "StudyDate": "20190813",
    "AccessionNumber": "ACC-998877",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.777666555",
    "InstitutionName": "Hospital Of Secrets",
    "ReferringPhysicianName": "Doctor^Hidden",
    "StudyDescription": "Quentina fell off a ladder",
}


def gradient(rows: int = 16, columns: int = 32, top: int = 4095) -> np.ndarray:
    """A ramp that goes through 0 to ``top``."""
    return np.linspace(0, top, rows * columns).round().astype(np.uint16).reshape(rows, columns)


def dataset(pixels: np.ndarray | None = None, **attributes: Any) -> Dataset:
    """A CR data set that holds ``pixels``; keywords replace or, with ``None``, drop attributes."""
    pixels = gradient() if pixels is None else pixels
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = attributes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    bits = 8 * pixels.dtype.itemsize
    signed = pixels.dtype.kind == "i"
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3.4",
        **SECRETS,
        "Modality": "CR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": 12 if bits == 16 and not signed and int(pixels.max()) < 4096 else bits,
        "PixelRepresentation": int(signed),
        "PixelData": pixels.tobytes(),
        **attributes,
    }
    values.setdefault("HighBit", values["BitsStored"] - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tests write illegal values on purpose
        for keyword, value in values.items():
            if value is not None:
                setattr(made, keyword, value)
    if "PixelData" in made:
        made["PixelData"].VR = "OW" if bits > 8 else "OB"
    return made


def file_bytes(made: Dataset) -> bytes:
    """The data set as a DICOM file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(
            stream,
            made,
            implicit_vr=made.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian,
            little_endian=made.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.2",
            enforce_file_format=True,
        )
    return stream.getvalue()


def lut(descriptor: list[int], data: Any) -> Sequence:
    """A LUT sequence of one item."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return Sequence([item])


def code(value: str, scheme: str = "SCT", meaning: str = "x") -> Dataset:
    """One coded entry."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def lossless_jpeg(planes: np.ndarray, precision: int, *, factor: int = 0x11, end: bytes = b"\xff\xd9") -> bytes:
    """Lossless JPEG (ISO/IEC 10918-1 H) of (rows, columns, samples): predictor 1, a code of five bits for each size."""
    rows, columns, samples = planes.shape
    wide = planes.astype(np.int64)
    left = np.empty_like(wide)
    left[:, 1:] = wide[:, :-1]
    left[1:, 0] = wide[:-1, 0]
    left[0, 0] = 1 << (precision - 1)
    bits = []
    for difference in (wide - left).reshape(-1):
        difference = int((difference + (1 << 15)) % (1 << 16) - (1 << 15))
        size = abs(difference).bit_length()
        bits.append(f"{size:05b}")
        if 0 < size < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    entropy = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    table = b"\xff\xc4\x00\x24\x00" + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    frame = bytes([precision, *rows.to_bytes(2, "big"), *columns.to_bytes(2, "big"), samples])
    frame += b"".join(bytes([k + 1, factor, 0]) for k in range(samples))
    scan = bytes([samples, *(one for k in range(samples) for one in (k + 1, 0)), 1, 0, 0])
    parts = [b"\xff\xd8", table, b"\xff\xc3", (len(frame) + 2).to_bytes(2, "big"), frame]
    return b"".join([*parts, b"\xff\xda", (len(scan) + 2).to_bytes(2, "big"), scan, entropy, end])
