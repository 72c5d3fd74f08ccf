"""Draw the README's picture: the shipped weights on the shipped (simulated) examples.

python docs/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import fracture
from fracture.wing.overlay import draw_scene

ROOT = Path(__file__).resolve().parent.parent
FILMS = (
    "wrist_radius_transverse.dcm",
    "forearm_both_bones_oblique.png",
    "leg_tibia_fibula_spiral.dcm",
    "hand_normal.png",
)
HEIGHT = 620


def main() -> None:
    detector = fracture.load()
    panels = []
    for name in FILMS:
        overlay = draw_scene(detector.predict(ROOT / "examples" / name).scene())
        scale = HEIGHT / overlay.shape[0]
        panels.append(cv2.resize(overlay, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    gap = np.full((HEIGHT, 8, 3), 255, np.uint8)
    row = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    target = ROOT / "docs" / "images" / "overlay.png"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), row[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
