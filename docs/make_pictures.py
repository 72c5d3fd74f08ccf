"""Draw the README's picture, of the shipped weights on the shipped (simulated) examples, and that of the joints.

python docs/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

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


def joints() -> None:
    """Damage painted into a simulated hand, beside its joints colored by score."""
    from fracture import simulate
    from fracture.joints import draw_damage
    from fracture.joints.layout import columns_of
    from fracture.joints.scoring import Score

    lesions = {
        name: simulate.Lesion(n % 5, (2 * n) % 6) for n, name in enumerate(("mcp2", "mcp3", "pip2", "pip4", "mcp5"))
    }
    hand = simulate.hand(12, size=(512, 426), lesions=lesions)
    scores = {
        c.name: Score(getattr(hand.lesions[c.point], c.damage), 0.0)
        for c in columns_of("hand")
        if c.point in hand.lesions
    }
    drawn = draw_damage(
        hand.film.to_radiograph().pixels, SimpleNamespace(kind="hand", points=hand.points, scores=scores)
    )
    drawn.savefig(ROOT / "docs" / "images" / "joints.png", dpi=90)


if __name__ == "__main__":
    main()
    joints()
