"""A set of forty small drawn films and a network small enough to train in a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split, split_parts
from fracture.training.cache import FilmCache
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films

FILMS = 40


def draw_film(path: Path, number: int) -> Film:
    """A gray rod on a dark plate; in every second film it is broken, and a box is around the gap."""
    rng = np.random.default_rng(number)
    height, width = ((96, 64), (64, 96))[number % 4 // 2]
    image = rng.normal(40, 4, (height, width))
    along = height if height > width else width
    rod = np.zeros((height, width))
    if height > width:
        rod[4:-4, 24:40] = 150
    else:
        rod[24:40, 4:-4] = 150
    fractured = number % 2
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    if fractured:
        at = int(rng.integers(24, along - 24))
        if height > width:
            rod[at : at + 8, 20:44] = -20
            boxes = ((20.0, float(at - 2), 44.0, float(at + 10)),)
        else:
            rod[20:44, at : at + 8] = -20
            boxes = ((float(at - 2), 20.0, float(at + 10), 44.0),)
    cv2.imwrite(str(path), np.clip(image + rod, 1, 255).astype(np.uint8))
    region = "wrist" if height > width else "ankle"
    return Film(path.name, width, height, fractured, (region,), boxes=boxes, group=f"g{number // 2}")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    """The films."""
    root = tmp_path_factory.mktemp("drawn")
    films = tuple(draw_film(root / f"film{number:02d}.png", number) for number in range(FILMS))
    return AnnotatedSet(films, "drawn", root, attribution="drawn by the tests")


@pytest.fixture(scope="session")
def drawn_file(drawn: AnnotatedSet) -> Path:
    """The same films with a COCO file beside them, for commands."""
    images, boxes = [], []
    for number, film in enumerate(drawn):
        images.append(
            {"id": number, "file_name": film.source, "width": film.width, "height": film.height}
            | {"regions": list(film.regions), "fractured": film.fractured, "group": film.group}
        )
        for x0, y0, x1, y1 in film.boxes:
            box = {"id": len(boxes), "image_id": number, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            boxes.append(box)
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "fracture"}]}
    path = drawn.root / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def drawn_split(drawn: AnnotatedSet) -> Split:
    return split_parts(drawn, {"train": 0.6, "tune": 0.2, "validation": 0.2}, seed=3)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "model": {"backbone": "resnet18", "stages": 2, "output_stride": 8, "norm": "group", "dropout": 0.1},
    "preprocess": {"size": 64, "shape": "stride", "enlarge": False, "crop": False},
    "split": {"shares": {"train": 0.6, "tune": 0.2, "validation": 0.2}, "seed": 3},
    "optimizer": {"lr": 1e-3, "ema": 0.9, "schedule": "cosine", "warmup_steps": 2},
    "loop": {"epochs": 2, "batch": 8, "micro_batch": 4, "workers": 1, "overlays": 0, "threads": 1},
}


@pytest.fixture
def small(cache_folder: Path) -> Callable[..., MemberConfig]:
    """The small configuration, with changes: ``small(loop={"epochs": 3})``."""

    def build(**changes: Any) -> MemberConfig:
        base = MemberConfig.from_dict(SMALL).replace({"data": {"cache": str(cache_folder)}})
        return base.replace(changes) if changes else base

    return build


@pytest.fixture
def films_of(drawn: AnnotatedSet, drawn_split: Split, cache_folder: Path) -> Callable[..., Films]:
    """The films of a part, ready for training."""

    def build(config: MemberConfig, part: str = "train") -> Films:
        chosen = drawn_split.part(drawn, part)
        return Films(chosen, FilmCache(cache_folder, config.preprocess), config, drawn.regions)

    return build


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on several threads, and bits depend on their number."""
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(kept)
