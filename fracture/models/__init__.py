"""The networks: specifications (free of torch), and what builds, starts, saves and speeds up a model.

>>> spec = ModelSpec(backbone="resnet18", stages=3, output_stride=16, map_skip=True)
>>> model = build_model(spec)                                 # random, as in the paper
>>> report = initialize(model, "resnet18.safetensors")        # or a starting point of one's own
>>> score, map_logits, regions, cells = model(planes, mask)

Names are imported when they are first used, so that a specification can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.models.inference import fuse_for_inference as fuse_for_inference
    from fracture.models.multitask import (
        Features as Features,
        FractureModel as FractureModel,
        ModelOutput as ModelOutput,
        build_model as build_model,
    )
    from fracture.models.persistence import load_state as load_state, state_for_saving as state_for_saving
    from fracture.models.spec import BACKBONES as BACKBONES, MAP_STRIDE as MAP_STRIDE, ModelSpec as ModelSpec
    from fracture.models.starting_points import InitReport as InitReport, initialize as initialize

lazy_names(globals())
