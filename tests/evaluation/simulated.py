"""A small made-up evaluation: a COCO reference with all the extra fields, and predictions in three formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

REGIONS = ("wrist", "ankle", "hip")


def reference(films: int = 120, seed: int = 0) -> dict[str, Any]:
    """COCO: groups of four films, two regions on every tenth film, indicators at the annotations."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for film in range(films):
        fractured = bool(rng.random() < 0.35)
        hardware = bool(rng.random() < (0.3 if fractured else 0.05))
        regions = [REGIONS[film % 3]] + ([REGIONS[(film + 1) % 3]] if film % 10 == 0 else [])
        images.append(
            {
                "id": film + 7,
                "file_name": f"films/case_{film:03d}.png",
                "width": 200,
                "height": 260,
                "fractured": int(fractured),
                "regions": regions,
                "views": [("frontal", "lateral")[film % 2]],
                "hardware": int(hardware),
                "site": "AB"[film % 4 == 0],
                "sex": "MF"[film % 2],
                "age": float(film % 90),
                "group": film // 4,
                "label_conflict": film % 17 == 0,
            }
        )
        for _ in range(int(fractured) + int(fractured and film % 5 == 0)):
            x, y = rng.integers(0, 120, 2).tolist()
            w, h = rng.integers(15, 60, 2).tolist()
            annotation = {"id": len(annotations) + 1, "image_id": film + 7, "category_id": 2, "bbox": [x, y, w, h]}
            annotation["displacement"] = bool(rng.random() < 0.5)
            annotations.append(annotation)
    annotations.append({"id": 999, "image_id": 7, "category_id": 3, "bbox": [1, 1, 5, 5]})
    return {
        "info": {"description": "Made-up films"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 2, "name": "fracture"}, {"id": 3, "name": "metal"}],
    }


def predictions(
    coco: dict[str, Any], *, skill: float = 2.0, seed: int = 1, threshold: float = 0.3
) -> list[dict[str, Any]]:
    """JSON lines as ``fracture predict --json --candidates`` writes them."""
    rng = np.random.default_rng(seed)
    boxes: dict[int, list[list[float]]] = {}
    for annotation in coco["annotations"]:
        if annotation["category_id"] == 2:
            boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    lines = []
    for image in coco["images"]:
        probability = float(1 / (1 + np.exp(-rng.normal(skill * image["fractured"] - 1.5))))
        candidates = []
        for x, y, w, h in boxes.get(image["id"], []):
            if rng.random() < 0.8:
                dx, dy = rng.normal(0, 3, 2).tolist()
                candidates.append((x + dx, y + dy, x + w + dx, y + h + dy, probability * rng.uniform(0.6, 1)))
        for _ in range(rng.poisson(1.0)):
            x, y = rng.uniform(0, 150, 2).tolist()
            candidates.append((x, y, x + 30, y + 40, probability * rng.uniform(0, 0.8)))
        listed = [dict(zip(("x0", "y0", "x1", "y1", "score"), map(float, box), strict=True)) for box in candidates]
        called = probability >= threshold
        lines.append(
            {
                "source": f"/data/x/{image['file_name']}",
                "width": image["width"],
                "height": image["height"],
                "probability": probability,
                "fractured": called,
                "region": image["regions"][0],
                "threshold": threshold,
                "boxes": [box for box in listed if called and box["score"] > 0.2],
                "candidates": listed,
                "model": "toy",
                "model_version": "3",
                "error": None,
            }
        )
    return lines


def write(folder: Path, *, films: int = 120) -> tuple[Path, Path]:
    """``predictions.jsonl`` and ``reference.json`` in ``folder``."""
    coco = reference(films)
    truth = folder / "reference.json"
    truth.write_text(json.dumps(coco))
    return write_lines(folder / "predictions.jsonl", predictions(coco)), truth


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path
