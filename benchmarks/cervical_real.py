"""The finder of levels on real CT: points of one neck, and the Dice of vertebrae of one lumbar spine.

    python benchmarks/cervical_real.py FOLDER [--weights cervical-small] [--overlay DIR]

FOLDER holds ``neck_cerr`` (DICOM slices, ``levels.json``) and ``totalsegmentator`` (``ct.nii.gz``,
``vertebrae.nii.gz``). Points of the neck were read by eye on slices of 3 mm: C1 to C4 within a slice, C5 to C7 within
one or two. No vertebra of a lumbar spine has a name here: bone that the finder calls vertebra is held against all
vertebrae but the sacrum.
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

SACRUM = 26  # TotalSegmentator's number


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
