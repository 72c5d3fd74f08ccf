"""The networks: specifications (free of torch), and what builds, starts, saves and speeds up a model.

>>> spec = ModelSpec(backbone="resnet18", stages=3, output_stride=16, map_skip=True)
>>> model = build_model(spec)                                 # random, as in the paper
>>> report = initialize(model, "resnet18.safetensors")        # or a starting point of one's own
>>> score, map_logits, regions, extents = model(planes, mask)

Names are imported when they are first used, so that a specification can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.models.drn import drn_classifier
    from fracture.models.inference import fuse_for_inference
    from fracture.models.multitask import Features, FractureModel, ModelOutput, build_model
    from fracture.models.persistence import load_state, state_for_saving
    from fracture.models.published import load_published_drn
    from fracture.models.recipes import MemberRecipe, jones2020_members
    from fracture.models.spec import BACKBONES, MAP_STRIDE, ModelSpec
    from fracture.models.starting_points import InitReport, initialize

_HOMES = {
    "BACKBONES": "spec",
    "MAP_STRIDE": "spec",
    "ModelSpec": "spec",
    "MemberRecipe": "recipes",
    "jones2020_members": "recipes",
    "Features": "multitask",
    "FractureModel": "multitask",
    "ModelOutput": "multitask",
    "build_model": "multitask",
    "InitReport": "starting_points",
    "initialize": "starting_points",
    "drn_classifier": "drn",
    "load_published_drn": "published",
    "load_state": "persistence",
    "state_for_saving": "persistence",
    "fuse_for_inference": "inference",
}

__all__ = [
    "BACKBONES",
    "MAP_STRIDE",
    "Features",
    "FractureModel",
    "InitReport",
    "MemberRecipe",
    "ModelOutput",
    "ModelSpec",
    "build_model",
    "drn_classifier",
    "fuse_for_inference",
    "initialize",
    "jones2020_members",
    "load_published_drn",
    "load_state",
    "state_for_saving",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
