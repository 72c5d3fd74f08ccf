"""Drawn films of two sites, a detector with small random members, and a detector whose score is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet

FILMS = 48


@pytest.fixture(scope="session")
def two_sites(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    """Films of sites A and C in sixteen groups, read from a COCO file; a bright bar is broken in every second one."""
    root = tmp_path_factory.mktemp("two_sites")
    images, boxes = [], []
    for k in range(FILMS):
        rng = np.random.default_rng(k)
        site = ("A", "C", "C_hires")[(k // 3) % 3]
        height, width = (96, 64) if k % 4 < 2 else (64, 96)
        pixels = rng.normal(50, 5, (height, width))
        pixels[height // 4 : -height // 4, 8:-8] += 90
        fractured = k % 2
        if fractured:
            x = int(rng.integers(20, width - 28))
            pixels[height // 4 - 2 : height - height // 4 + 2, x : x + 7] = 15
            box = [float(x - 2), float(height // 4 - 2), 11.0, float(height // 2 + 4)]
            boxes.append({"id": len(boxes), "image_id": k, "category_id": 1, "bbox": box, "iscrowd": 0})
        cv2.imwrite(str(root / f"{k:02d}.png"), np.clip(pixels, 0, 255).astype(np.uint8))
        images.append(
            {"id": k, "file_name": f"{k:02d}.png", "width": width, "height": height}
            | {"regions": ["wrist" if k % 4 < 2 else "ankle"], "fractured": fractured, "group": k // 3, "site": site}
            | {"hardware": int(k % 8 == 1)}
        )
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "fracture"}]}
    (root / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return read_annotations(root)


@pytest.fixture(scope="session")
def predictions(two_sites: AnnotatedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines that are right at site A and by chance at C, and always sure where there is hardware."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("predictions") / "predictions.jsonl"
    lines = []
    for film in two_sites:
        score = 0.1 + 0.8 * film.fractured + 0.05 * rng.random() if film.site == "A" else rng.random()
        score = 0.99 if film.hardware else score
        lines.append({"source": film.source, "probability": score, "fractured": score >= 0.5, "model": "m"})
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return path
