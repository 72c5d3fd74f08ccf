"""Draw the pictures of README, pages and notebooks: the shipped weights on simulated films, joints, a report's figures.

python docs/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

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
    drawn = (draw_scene(detector.predict(ROOT / "examples" / name).scene()) for name in FILMS)
    save("overlay.png", *map(scaled, drawn))


def scaled(drawn: np.ndarray) -> np.ndarray:
    scale = HEIGHT / drawn.shape[0]
    return cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def save(name: str, *panels: np.ndarray) -> None:
    """Panels of one height, RGB, side by side."""
    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    row = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    cv2.imwrite(str(ROOT / "docs" / "images" / name), row[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def hips() -> None:
    """A simulated pelvis with a displaced fracture of a femoral neck, as ``notebooks/04_hip.ipynb`` has it."""
    import fracture.hip
    from fracture import simulate

    film = simulate.pelvis(12, left="displaced_neck", right="normal")
    save("hips.png", scaled(draw_scene(fracture.hip.load().read_film(film.to_radiograph()).scene())))


def cervical() -> None:
    """A simulated neck from the side and the front, its odontoid broken, as in ``notebooks/07_cervical.ipynb``."""
    from fracture import simulate

    neck = simulate.neck(12, spacing=(1.0, 0.8), fracture_rate=1.0, partial=0.0)
    cells = {
        level: np.linalg.solve(neck.affine[:3, :3], np.subtract(place, neck.affine[:3, 3]))[::-1].round().astype(int)
        for level, place in neck.points.items()
    }

    def gray(slice_: np.ndarray, tall: float) -> np.ndarray:
        shown = np.rint(np.clip((slice_ + 500) / 1800, 0, 1) * 255).astype(np.uint8)
        size = round(shown.shape[1] * 2.4), round(shown.shape[0] * tall)
        return cv2.cvtColor(cv2.resize(shown, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)

    side = gray(neck.voxels[::-1, :, cells["C2"][2]], 3.0)
    named = side.copy()
    for level, (number, row, _) in cells.items():
        at = round(row * 2.4) - 10, round((len(neck.voxels) - 1 - number) * 3.0) + 5
        cv2.putText(named, level, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 180, 0), 1, cv2.LINE_AA)
    front = gray(neck.voxels[::-1, cells["C2"][1], :], 3.0)
    save("cervical.png", *(one[:330, 90:400] for one in (side, named, front)))


def report() -> None:
    """Figures of a report on made-up scores: 600 films of 200 patients."""
    from fracture.evaluation import Settings, evaluate
    from fracture.evaluation.files.predictions import read_predictions
    from fracture.evaluation.files.references import read_reference
    from fracture.evaluation.page.plots import figures, style
    from fracture.evaluation.tables import join

    rng = np.random.default_rng(0)
    labels, patients = rng.random(600) < 0.33, np.repeat(np.arange(200), 3)
    odds = 2.4 * labels + 0.6 * rng.normal(size=200)[patients] + rng.normal(size=600) - 1.7
    with TemporaryDirectory() as folder:
        reference, predictions = Path(folder, "reference.csv"), Path(folder, "predictions.csv")
        films = [f"film_{number:03d}.png" for number in range(600)]
        rows = zip(films, labels.astype(int), patients, strict=True)
        reference.write_text("\n".join(["image,fractured,group", *(f"{a},{b},{c}" for a, b, c in rows)]))
        scores = zip(films, 1 / (1 + np.exp(-odds)), strict=True)
        predictions.write_text("\n".join(["image,probability", *(f"{a},{b}" for a, b in scores)]))
        found = evaluate(join(read_predictions(predictions), read_reference(reference)), Settings())
    drawn = []
    with style():
        for name in ("roc", "calibration"):
            canvas = FigureCanvasAgg(figures(found)[name])
            canvas.figure.set_dpi(100)
            canvas.draw()
            drawn.append(np.asarray(canvas.buffer_rgba())[:450, :, :3])
    save("report.png", *drawn)


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
    hips()
    cervical()
    report()
