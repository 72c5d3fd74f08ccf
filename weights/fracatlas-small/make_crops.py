"""Cut the training films into crops around fractures and around normal bone, for the first stage of the training.

    python weights/fracatlas-small/make_crops.py DATA SPLIT OUT

A fracture fills one part in a hundred of a film, so a network that starts from photographs needs thousands of films
before the score says anything; in a crop of 224 pixels the fracture is large and a step costs a quarter. Only films of
the split's training part are used. Each box gives four crops with the box somewhere inside; a normal film gives one
or two crops around bone (bright pixels). Pixels are those of the second stage: same crop of padding, same scale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

import fracture
from fracture.data.readers import read_annotations
from fracture.data.splits import Split
from fracture.preprocess import Letterboxed, PreprocessSpec, letterbox

SIDE = 224
SPEC = PreprocessSpec(size=480, shape="stride", enlarge=False, channels=("raw",))


def window(center: tuple[float, float], boxed: Letterboxed) -> tuple[int, int]:
    """Upper left corner of the crop nearest to a center that lies inside the film."""
    width, height = boxed.geometry.scaled_size
    x = int(np.clip(center[0] - SIDE / 2, 0, max(0, width - SIDE)))
    y = int(np.clip(center[1] - SIDE / 2, 0, max(0, height - SIDE)))
    return x, y


def main() -> None:
    data, split, out = (Path(p) for p in sys.argv[1:4])
    annotated = read_annotations(data)
    part = Split.read(split).part(annotated, "train")
    rng = np.random.default_rng(0)
    (out / "images").mkdir(parents=True)
    images, annotations = [], []
    for film in part:
        boxed = letterbox(fracture.read(part.image_path(film)), SPEC)
        width, height = boxed.geometry.scaled_size
        pixels = boxed.pixels[:height, :width]
        boxes = boxed.geometry.boxes_to_network(np.array(film.boxes)).reshape(-1, 4) if film.boxes else np.empty((0, 4))
        if film.fractured:
            centers = [
                (
                    rng.uniform(x0, x1) + rng.uniform(-0.3, 0.3) * SIDE,
                    rng.uniform(y0, y1) + rng.uniform(-0.3, 0.3) * SIDE,
                )
                for x0, y0, x1, y1 in boxes
                for _ in range(4)
            ]
        else:
            bright = np.argwhere(pixels > np.percentile(pixels, 75))
            chosen = bright[rng.integers(len(bright), size=int(rng.integers(1, 3)))]
            centers = [(float(x), float(y)) for y, x in chosen]
        for number, center in enumerate(centers):
            x, y = window(center, boxed)
            crop = pixels[y : y + SIDE, x : x + SIDE]
            inside = np.clip(boxes - (x, y, x, y), 0, (crop.shape[1], crop.shape[0]) * 2)
            # A box counts where at least half of it is in the crop.
            area = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
            whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            inside = inside[area >= 0.5 * whole]
            if film.fractured and len(inside) == 0:
                continue
            name = f"{Path(film.source).stem}_{number}.png"
            cv2.imwrite(str(out / "images" / name), np.round(crop * 255).astype(np.uint8))
            identity = len(images)
            images.append(
                {
                    "id": identity,
                    "file_name": name,
                    "width": crop.shape[1],
                    "height": crop.shape[0],
                    "regions": list(film.regions),
                    "fractured": film.fractured,
                    "group": film.group,
                    "hardware": bool(film.hardware),
                }
            )
            for x0, y0, x1, y1 in inside:
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": identity,
                        "category_id": 1,
                        "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                        "iscrowd": 0,
                    }
                )
    document = {
        "info": {"description": f"crops of {annotated.name}, training part"},
        "categories": [{"id": 1, "name": "fracture"}],
        "images": images,
        "annotations": annotations,
    }
    (out / "annotations.json").write_text(json.dumps(document))
    sys.stdout.write(f"{len(images)} crops, {sum(i['fractured'] for i in images)} with a fracture\n")


if __name__ == "__main__":
    main()
