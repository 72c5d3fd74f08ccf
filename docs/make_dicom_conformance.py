"""Make ``docs/dicom_conformance.md``: what the reader does with each file of a DICOM conformance set.

    python docs/make_dicom_conformance.py ../shared/data/dicom

The folder holds the files and an ``index.csv`` (columns ``file``, ``expect``, ``transfer_syntax``, ``pixel_sha256``
and ``note`` are used).
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import sys
import time
from collections import Counter
from pathlib import Path

import fracture
from fracture.errors import FractureError
from fracture.io.dicom import decode_pixels

TARGET = Path(__file__).with_name("dicom_conformance.md")
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
# The index was made with a decoder that masks this file's low bits; shifted, it holds these pixels.
SHIFTED = {"derived/leg_highbit15_stored12.dcm": "derived/leg_explicit_le.dcm"}
JUDGES = """\
## Where DCMTK and pydicom differ

Both are the judges of what a file means (DCMTK 3.6.7, pydicom 3.0.2; `dcmj2pnm`, `pixel_array`). Where they agree
their values are ours. Where they do not:

| subject | DCMTK | pydicom | here, and why |
|---|---|---|---|
| bits above BitsStored, sign (PS3.5 8.1.1) | dropped, extended | the same | the same; but a lossy codestream of more bits is clipped, since its overshoot would turn white black |
| a JFIF stream whose header says RGB | by the header | YCbCr | pydicom: JFIF knows no other colors |
| modality LUT and rescale in angiography and fluoroscopy (SOP classes ...12.1 to 12.3) | left out | applied when asked | DCMTK: it leads back to linear values, not to a picture (PS3.3 C.8.7.1.1.2) |
| first value of a VOI LUT above 32767 where values may be negative | negative | not compared | DCMTK: writers put it so, in implicit VR always |
| PixelPaddingValue | shown | shown | 0, and left out of the percentile window; US and SS are taken for the same bits |
| lossless JPEG without its end marker | refused | read | pydicom, if no pixel is missing |
| sampling factors of a single component | read | read | read (ISO/IEC 10918-1 A.2.2) |
| no delimiter after the last fragment | refused | refused | read, as fo-dicom and dicom-rs do: all pixels are there |
| compressed pixels without file meta information | not compared | refused | recognized from the codestream, with a warning |
| 8-bit pixels in big endian OW | swapped | swapped | swapped |
| uncompressed YBR_FULL_422, lossless JPEG in color | read | read | read, if the film is gray |
| PixelAspectRatio | stored pixels | stored pixels | stored pixels; the networks' input is made square |
| FOR PROCESSING | as stored | as stored | as stored, with a warning |
| PatientOrientation | as stored | as stored | as stored; hips are named by it, with a warning where the film is mirrored |
| no window | least to greatest value | no picture | the 0.5 % to 99.5 % percentile window |

`tests/dicom/test_layouts.py` and `tests/dicom/test_metadata.py` hold each row.

## The files
"""  # noqa: E501
DECODERS = ("pydicom", "numpy", "pillow", "python-gdcm", "pyjpegls", "pylibjpeg-openjpeg")


def decoding(folder: Path, row: dict[str, str], by_file: dict[str, dict[str, str]]) -> tuple[str, str]:
    """What decoding gave, and how it stands to the index."""
    try:
        pixels = decode_pixels(folder / row["file"])
    except FractureError as error:
        may = row["expect"].startswith(("error", "parse", "any"))
        return type(error).__name__, "as expected" if may else "DIFFERS"
    shape = "x".join(map(str, pixels.shape))
    if row["expect"] == "error" or row["expect"].startswith(("error:", "parse")):
        return shape, "DIFFERS"
    if "any result" in row["expect"] or not row["pixel_sha256"]:
        return shape, "as expected (nothing bound)"
    little = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    if hashlib.sha256(little).hexdigest() == by_file[SHIFTED.get(row["file"], row["file"])]["pixel_sha256"]:
        return shape, "SHA-256 equal" + (f" to {SHIFTED[row['file']]}" if row["file"] in SHIFTED else "")
    return shape, "lossy: see tests" if row["transfer_syntax"] in LOSSY_JPEG else "DIFFERS"


def reading(folder: Path, file: str) -> str:
    """What ``fracture.read`` gives, without the file's name."""
    path = str(folder / file)
    try:
        film = fracture.read(path)
    except FractureError as error:
        what = error.what.removeprefix(f"{path}: ")
        return f"{type(error).__name__}: {what}"
    facts = [f"{film.width} x {film.height}, {film.bits} bit"]
    facts += [", ".join(film.regions)] if film.regions else []
    facts += [f"{film.spacing[0]:.4g} x {film.spacing[1]:.4g} mm"] if film.spacing else []
    return "; ".join((*facts, *film.warnings))


def main() -> int:
    """Write the table; exit code 1 where a file does not do what the index says."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    rows = list(csv.DictReader((folder / "index.csv").read_text(encoding="utf-8").splitlines()))
    by_file = {row["file"]: row for row in rows}
    lines, verdicts, slowest = [], Counter[str](), 0.0
    for row in rows:
        started = time.perf_counter()
        decoded, verdict = decoding(folder, row, by_file)
        slowest = max(slowest, time.perf_counter() - started)
        verdicts[verdict.split(" to ")[0]] += 1
        cells = (row["file"], row["transfer_syntax"], row["expect"], decoded, verdict, reading(folder, row["file"]))
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in DECODERS)
    summary = "\n".join(f"- {verdict}: {count}" for verdict, count in sorted(verdicts.items()))
    TARGET.write_text(
        "# DICOM conformance\n\n"
        "Made by `python docs/make_dicom_conformance.py ../shared/data/dicom`; do not edit by hand.\n\n"
        f"{len(rows)} files, fracture {fracture.__version__}, {versions}. Slowest decoding {slowest:.1f} s.\n\n"
        f"{summary}\n\n"
        "`decode` is `fracture.io.dicom.decode_pixels`, which decodes whatever has pixels; `fracture.read` may still\n"
        "refuse what is not a plain radiograph. Lossy JPEG is held against a second decoder, to 2 gray levels, by\n"
        "`tests/dicom/test_conformance.py`.\n\n"
        f"{JUDGES}\n"
        "| file | transfer syntax | expected | decode | against the index | `fracture.read` |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    return 1 if verdicts["DIFFERS"] else 0


if __name__ == "__main__":
    sys.exit(main())
