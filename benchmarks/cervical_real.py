"""The finder of levels on real CT: points of one neck, and the Dice of vertebrae of one lumbar spine.

    python benchmarks/cervical_real.py FOLDER [--weights cervical-small] [--overlay DIR]

FOLDER holds ``neck_cerr`` (DICOM slices, ``levels.json``) and ``totalsegmentator`` (``ct.nii.gz``,
``vertebrae.nii.gz``). Points of the neck were read by eye on sagittal pictures with slices of 3 mm: C1 to C4 within a
slice, C5 to C7 within one or two, all in one column, which lies at the edge of the bodies. So each distance is told
twice: to the mark, and to the mark in the column about which the bone of its slice is its own mirror image; no network
has a part in that. No vertebra of a lumbar spine has a name here: bone that the finder calls vertebra is held against
all vertebrae but the sacrum.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from fracture.spine.cervical.levels import grid_of
from fracture.spine.cervical.wing import WING
from fracture.spine.planes import oriented
from fracture.spine.resample import sampled
from fracture.spine.series import read_series
from fracture.wing.volume import Volume

SACRUM = 26  # TotalSegmentator's number
BONE = 150.0, 950.0  # Hounsfield units between which density counts for the mirror image
HALF = 28.0  # mm to each side of the mirror: a cervical vertebra from tip to tip is 50 to 60 mm wide
FRONT, BACK = 10.0, 40.0  # mm of the slice before and behind the mark


def mirror_column(crop: Volume, number: float, row: float, column: float) -> float:
    """The column, to half a pixel, about which the bone around a mark is most like its mirror image.

    Args:
        crop: Axial slices whose columns run from side to side.
        number: Slice of the mark; between two slices, their mean is taken.
        row: Row of the mark.
        column: Where to look, 16 mm to either side.
    """
    _, rows, columns = crop.spacing
    around = slice(round(row - FRONT / rows), round(row + BACK / rows))
    numbers = [int(np.floor(number)), int(np.ceil(number))]
    bone = np.clip(crop.voxels[numbers, around] - BONE[0], 0, BONE[1] - BONE[0]).mean(axis=0)
    steps = np.arange(-HALF, HALF + 1) / columns

    def likeness(middle: float) -> float:
        left, right = (
            np.array([np.interp(middle + way * steps, np.arange(bone.shape[1]), line) for line in bone])
            for way in (1, -1)
        )
        return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])

    return max(np.arange(column - 16 / columns, column + 16 / columns, 0.5).tolist(), key=likeness)


def neck(reader, folder: Path, overlay: Path | None) -> None:
    """Print each level's distance from where it was read."""
    marks = json.loads((folder / "levels.json").read_text())
    crop = read_series(folder / "neck_ct_crop.nii.gz").volume  # as it is stored: (slice, row, column)
    result = reader.predict(folder / "dicom_axial")
    if overlay is not None:
        result.save_overlay(overlay / "real_neck.png")
    found = {one.level: one for one in result.vertebrae}
    for level, (column, row, number) in marks["points"].items():
        told = "not found"
        if level in found:
            away = np.subtract(found[level].place, crop.place((number, row, column)))
            told = f"{np.linalg.norm(away):.1f} mm (x, y, z: {', '.join(f'{v:+.1f}' for v in away)})"
            middle = mirror_column(crop, number, row, column)
            moved = np.subtract(found[level].place, crop.place((number, row, middle)))
            told += f"; {np.linalg.norm(moved):.1f} mm with the mark in column {middle:g} instead of {column:g}"
            told += f", probability of a fracture {found[level].probability:.3f}"
        print(f"{level}{' (uncertain mark)' if level in marks['uncertain'] else ''}: {told}")
    print("patient", result.probability, "remarks", result.remarks, "warnings", result.warnings)


def lumbar(reader, folder: Path) -> None:
    """Print the Dice of all vertebrae together, within the slices that show one."""
    volume, masks = (oriented(read_series(folder / name).volume) for name in ("ct.nii.gz", "vertebrae.nii.gz"))
    grid, inputs = grid_of(volume)
    out = reader.finder.run({"x": inputs[None, None]})
    depth, height, width = grid.voxels.shape
    bone = out["bone"].float().sigmoid()[0, 0, :depth, :height, :width].cpu().numpy() > 0.5
    labels = sampled(masks, grid.affine, grid.voxels.shape, fill=0, order=0)
    true, sacrum = labels > SACRUM, labels == SACRUM
    bone &= ~sacrum
    inside = true.any(axis=(1, 2))
    overlap = 2 * int((bone & true)[inside].sum()) / int(bone[inside].sum() + true[inside].sum())
    print(f"lumbar CT: Dice of vertebrae {overlap:.3f}")


def main() -> None:
    """Both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--overlay", type=Path)
    parser.add_argument("--lumbar-only", action="store_true")
    options = parser.parse_args()
    reader = WING.open(WING.store.open(options.weights), device="cpu")
    lumbar(reader, options.folder / "totalsegmentator")
    if not options.lumbar_only:
        neck(reader, options.folder / "neck_cerr", options.overlay)


if __name__ == "__main__":
    main()
