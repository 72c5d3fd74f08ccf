"""Fixtures of the hip tests: a toy set of pelves, and random networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FINDINGS = ("normal", "neck", "intertrochanteric", "dislocation")
BOXES = {"right": (10, 30, 60, 110), "left": (100, 30, 150, 110)}


def write_set(root: Path, films: int, *, classes: tuple[str, ...] = (), **image: Any) -> Path:
    """Toy pelves of 160 x 120 pixels with two bright rectangles for hips."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(films)
    images, annotations = [], []
    for number in range(films):
        pixels = rng.integers(0, 60, (120, 160)).astype(np.uint8)
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 160, "height": 120, "group": number, **image}
        )
        for place, (side, (x0, y0, x1, y1)) in enumerate(BOXES.items()):
            pixels[y0:y1, x0:x1] += 80
            annotation: dict[str, Any] = {
                "id": 2 * number + place,
                "image_id": number,
                "category_id": 1 if side == "left" else 2,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            if classes:
                annotation["hip_class"] = classes[(number + place) % len(classes)]
            else:
                annotation["findings"] = [FINDINGS[(number + place) % len(FINDINGS)]]
            annotations.append(annotation)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    categories = [{"id": 1, "name": "left_hip"}, {"id": 2, "name": "right_hip"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 toy films with findings; not to be changed."""
    return write_set(tmp_path_factory.mktemp("hips") / "toy", 16)


@pytest.fixture(scope="session")
def hip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random hip networks; not to be changed."""
    from tests.hip.weights import write_hip_weights

    folder = tmp_path_factory.mktemp("hip_weights") / "tiny"
    write_hip_weights(folder)
    return folder
