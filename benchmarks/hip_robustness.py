"""Boxes of hips on held-out films that were turned, shrunken, cut, stretched or toned: mean IoU and hips found.

    python benchmarks/hip_robustness.py HIP --weights runs/fold0/weights --split runs/fold0/classifier/turn.json \
        [--weights runs/fold1/weights --split runs/fold1/classifier/turn.json ...]

Films of each split's validation part are judged by the weights given with it; what is shown is all of them together.
The changes are those of the training (``fracture.hip.augment.augment_film``), with seeds by the film's place, and are
applied to the letterboxed film; a hip of which less than 0.4 is left after a cut does not count.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

import fracture
from fracture.data.merged import part_of_split
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.hip import HipReader, load
from fracture.hip.augment import FilmAugmentation, augment_film
from fracture.hip.classes import SIDES
from fracture.hip.localizer import locate
from fracture.hip.records import hips_of, read_hips
from fracture.iou import iou
from fracture.preprocess import letterbox
from fracture.preprocess.rgb import rgb_input

PLAIN = {"crop": 0.0, "flip": 0.0, "rotation": 0.0, "stretch": 1.0, "zoom": 1.0, "gamma": 1.0, "contrast": 1.0}
CHANGES: Mapping[str, Mapping[str, float]] = {
    "as they are": {},
    "turned by up to 20 degrees": {"rotation": 20.0},
    "shrunken, at most to half": {"zoom": 0.5},
    "cut, sides of 55 to 100 %": {"crop": 1.0, "least": 0.55},
    "stretched by up to 1.4": {"stretch": 1.4},
    "gamma up to 1.8, contrast up to 1.5": {"gamma": 1.8, "contrast": 1.5},
}


def overlaps(reader: HipReader, part: AnnotatedSet, change: Mapping[str, float]) -> Iterator[float]:
    """IoU of each labeled hip with the box found on its side, 0 where there is none."""
    magnitudes = FilmAugmentation(**{**PLAIN, **change})
    for place, film in enumerate(part):
        boxed = letterbox(fracture.read(part.image_path(film)), reader.preprocess)
        hips = hips_of(film)
        boxes = boxed.geometry.boxes_to_network(np.array([hip.box for hip in hips]).reshape(-1, 4))
        sides = np.array([SIDES.index(hip.side) for hip in hips], np.int64)
        pixels, mask, boxes, sides = augment_film(boxed.pixels, boxed.mask, boxes, sides, magnitudes, seed=place)
        planes = torch.from_numpy(rgb_input(pixels, mask))[None].to(reader.device, reader.dtype)
        planes = planes.to(memory_format=torch.channels_last)
        found = {one.side: one.box for one in locate(reader.localizer, planes, boxed.geometry, reader.rules)}
        boxes = boxed.geometry.boxes_to_source(boxes)
        for (x0, y0, x1, y1), side in zip(boxes.tolist(), sides.tolist(), strict=True):
            box = found.get(SIDES[side])
            yield 0.0 if box is None else iou((x0, y0, x1, y1), box)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", action="append", required=True)
    parser.add_argument("--split", action="append", type=Path, required=True)
    chosen = parser.parse_args()
    films = read_hips(chosen.data)
    pairs = [
        (load(weights, precision="float32"), part_of_split(films, Split.read(split), "validation"))
        for weights, split in zip(chosen.weights, chosen.split, strict=True)
    ]
    for name, change in CHANGES.items():
        values = np.array([v for reader, part in pairs for v in overlaps(reader, part, change)])
        print(f"{name}: {len(values)} hips, mean IoU {values.mean():.3f}, {int((values < 0.5).sum())} below 0.5")


if __name__ == "__main__":
    main()
