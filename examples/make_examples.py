"""Writes the simulated films of this folder and their COCO annotations: ``python examples/make_examples.py [FOLDER]``.

The films in the repository were written by exactly this, once. No patient is on them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fracture.simulate import SimulatedFilm, radiograph
from fracture.simulate.dataset import coco_annotations, coco_header, coco_image, png_bytes

SIZE = (384, 336)

FILMS: dict[str, dict[str, Any]] = {
    "wrist_radius_transverse.dcm": {
        "seed": 1, "region": "wrist", "view": "frontal", "fracture_type": "transverse", "displaced": True,
    },
    "leg_tibia_fibula_spiral.dcm": {
        "seed": 4, "region": "tibia_fibula", "view": "frontal", "fracture_type": "spiral", "displaced": True,
    },
    "ankle_normal_lateral.dcm": {"seed": 3, "region": "ankle", "view": "lateral", "fractured": False},
    "forearm_both_bones_oblique.png": {
        "seed": 51, "region": "forearm", "view": "frontal", "fracture_type": "oblique", "displaced": True,
    },
    "hip_femoral_neck.png": {
        "seed": 3, "region": "hip", "view": "frontal", "fracture_type": "transverse", "displaced": True,
    },
    "hand_normal.png": {"seed": 12, "region": "hand", "view": "frontal", "fractured": False},
}  # fmt: skip


def film(name: str) -> SimulatedFilm:
    """The film that stands in the file of this name."""
    return radiograph(**FILMS[name], size=SIZE)


def main(folder: Path) -> None:
    """Write all films and ``annotations.json`` into ``folder``."""
    coco = coco_header()
    for index, name in enumerate(FILMS):
        made = film(name)
        if name.endswith(".dcm"):
            made.to_dicom().save_as(folder / name, enforce_file_format=True)
        else:
            (folder / name).write_bytes(png_bytes(made, 8))
        coco["images"].append({**coco_image(made, index), "file_name": name})
        coco["annotations"] += coco_annotations(made, index, len(coco["annotations"]))
    (folder / "annotations.json").write_text(json.dumps(coco, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
