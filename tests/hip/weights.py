"""Small random hip networks for tests of everything around them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch

from fracture.hip.card import ClassifierCard, HipCard, LocalizerCard, Threshold
from fracture.hip.classifier import build_classifier
from fracture.hip.crops import CropSpec
from fracture.hip.localizer import build_localizer
from fracture.hip.spec import ClassifierSpec, LocalizerSpec, Rules
from fracture.models.persistence import state_for_saving
from fracture.preprocess import PreprocessSpec

LOCALIZER = LocalizerSpec(body="resnet18", levels=(2,), channels=16, anchors=(32, 64, 128), ratios=(1.0, 1.5))
CLASSIFIER = ClassifierSpec(trunk="resnet18", stages=2)
PREPROCESS = PreprocessSpec(size=128, shape="stride", enlarge=False)
CROP = CropSpec(size=64)


def write_hip_weights(
    folder: Path, *, classifier: ClassifierSpec = CLASSIFIER, score: float = 0.0, **card: Any
) -> HipCard:
    """A folder of random networks with a card; with ``score=0`` any film has two hips somewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    built = {"localizer": build_localizer(LOCALIZER, seed=1), "classifier": build_classifier(classifier, seed=2)}
    sums = {}
    for name, model in built.items():
        path = folder / f"{name}.safetensors"
        safetensors.torch.save_file(state_for_saving(model), path)
        sums[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    values: dict[str, Any] = {
        "name": "tiny-hip",
        "version": "0",
        "created": "2026-01-01",
        "description": "random numbers for tests",
        "license": "none",
        "attribution": (),
        "intended_use": "tests",
        "limitations": (),
        "localizer": LocalizerCard(
            file="localizer.safetensors",
            sha256=sums["localizer"],
            model=LOCALIZER.to_dict(),
            preprocess=PREPROCESS.to_dict(),
            rules=Rules(score=score, least_area=0.0, most_area=1.0).to_dict(),
        ),
        "classifier": ClassifierCard(
            file="classifier.safetensors", sha256=sums["classifier"], model=classifier.to_dict(), crop=CROP.to_dict()
        ),
        "fracture": Threshold(threshold=0.5, method="fixed"),
        "advise_imaging": Threshold(threshold=0.1, method="fixed"),
        **card,
    }
    made = HipCard(**values)
    made.write(folder)
    return made
