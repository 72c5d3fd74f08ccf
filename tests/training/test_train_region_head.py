"""The region head is fitted at the end, and nothing else is changed by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fracture.data.records import AnnotatedSet
from fracture.errors import TrainingError
from fracture.models import build_model
from fracture.training import train
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films
from fracture.training.region_head import fit_region_head

Build = Callable[..., MemberConfig]
PYRAMID = {
    "model": {"backbone": "resnet18", "stages": 3, "output_stride": 16, "pyramid": True, "stem_rgb": True},
    "windows": {"size": 64, "long_side": [64, 96], "stored": 96},
    "loop": {"epochs": 1},
}


def regions_right(folder: Path) -> float:
    """Of the validation films, as they were judged at the end."""
    lines = [json.loads(line) for line in (folder / "predictions_validation.jsonl").read_text().splitlines()]
    right = []
    for line in lines:
        tall = int(Path(line["source"]).stem[-2:]) % 4 < 2
        said = line["region_probabilities"]
        right.append((said["wrist"] > 0.5) is tall and (said["ankle"] > 0.5) is not tall)
    return float(np.mean(right))


def test_regions_are_right_once_the_head_is_fitted_and_all_else_stays(
    drawn: AnnotatedSet, small: Build, tmp_path: Path
) -> None:
    base = small(**PYRAMID)
    for name, views in (("with", 2), ("without", 0)):
        train(base.replace({"region_views": views}), drawn, out=tmp_path / name, progress=False)
    fitted, learned = (load_file(tmp_path / name / "small.safetensors") for name in ("with", "without"))
    changed = {name for name in fitted if not torch.equal(fitted[name], learned[name])}
    assert changed == {"heads.region.weight", "heads.region.bias"}
    facts = json.loads((tmp_path / "with" / "small.json").read_text())["training"]["region_head"]
    assert (facts["films"], facts["views"]) == (24, 2)
    assert facts["right"] > 0.9
    assert regions_right(tmp_path / "with" / "small") > 0.9
    assert regions_right(tmp_path / "without" / "small") < 0.9


def test_what_cannot_be_fitted_is_refused(films_of: Callable[..., Films], small: Build) -> None:
    config = small(**PYRAMID)
    films = films_of(config)
    options = {"views": 0, "device": torch.device("cpu")}
    headless = build_model(config.model, seed=0)
    with pytest.raises(TrainingError, match="no region head"):
        fit_region_head(headless, films, films, **options)  # type: ignore[arg-type]
    model = build_model(config.model.replace(regions=("ankle", "wrist")), seed=0)
    few = films_of(config)
    few.part = few.part.select(lambda film: film.group in {"g1", "g2", "g3", "g4", "g5"})
    few.part = replace(few.part, films=few.part.films[:2])
    with pytest.raises(TrainingError, match="at least 5 groups"):
        fit_region_head(model, few, few, **options)  # type: ignore[arg-type]
