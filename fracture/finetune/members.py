"""A member of the old weights as the starting point of its fine-tuning, and the way back to a member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fracture.atomic import write_atomic
from fracture.errors import FractureError
from fracture.limb.card import MemberCard
from fracture.limb.store import Weights
from fracture.models import build_model
from fracture.models.persistence import filled, load_state, state_for_saving
from fracture.models.spec import ModelSpec
from fracture.regular import sha256_of
from fracture.training.config import LossConfig, MemberConfig

_REGION = "heads.region."
_HABITS = ("loss", "augmentation", "windows")  # what it was taught with, it goes on with
_NEVER = -6.0  # logit of a region that nothing has taught: sigmoid 0.0025


@dataclass(frozen=True)
class Start:
    """Where one member's fine-tuning starts.

    Attributes:
        config: The member's configuration: network with the new region, preprocessing, losses, augmentation.
        stages: Stages of its backbone.
        tensors: Its weights, float32, with a row for the new region that says "never".
        region_row: The row's place in the region head; None for a network without one, or one that knew the region.
    """

    config: MemberConfig
    stages: int
    tensors: Mapping[str, Tensor]
    region_row: int | None

    def write(self, path: Path) -> None:
        """The tensors as a safetensors file, for ``init``."""
        write_atomic(path, lambda draft: save_file(dict(self.tensors), str(draft)))


def start_member(weights: Weights, member: MemberCard, region: str, *, seed: int) -> Start:
    """One member with a place for the new region.

    Losses and augmentation are those that the member was trained with where its card says so. Stored statistics of
    batch normalization are used and not moved: a few films have none of their own.

    Args:
        weights: The old weights.
        member: One of their members.
        region: The region to add to its region head.
        seed: Of the training.

    Raises:
        WeightsIntegrityError: The member's file is not what its card describes.
    """
    tensors = {name: value.float() for name, value in weights.tensors(member).items()}
    spec = member.model_spec
    row = None
    if spec.regions and region not in spec.regions:
        row = len(spec.regions)
        weight, bias = tensors[f"{_REGION}weight"], tensors[f"{_REGION}bias"]
        tensors[f"{_REGION}weight"] = torch.cat([weight, torch.zeros_like(weight[:1])])
        tensors[f"{_REGION}bias"] = torch.cat([bias, torch.full_like(bias[:1], _NEVER)])
        spec = spec.replace(regions=(*spec.regions, region))
    if spec.norm == "batch" and not spec.backbone.startswith("mobilenet"):
        spec = spec.replace(norm="frozen")
    model = filled(lambda: build_model(spec), tensors, source=member.file)
    config = MemberConfig.from_dict(
        {
            "name": Path(member.file).stem,
            "recipe": "finetune",
            "seed": seed,
            "region_head": "model",
            "model": spec,
            "preprocess": member.preprocess_spec,
            **_habits(member.training, spec),
        }
    )
    return Start(config, len(model.backbone.stage_names), tensors, row)


def _habits(training: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Losses, augmentation and windows of the member's own training; ours where its card is silent or of another
    version."""
    settings = training.get("config")
    if isinstance(settings, Mapping):
        try:
            found = MemberConfig.from_dict({"model": spec, **{k: settings[k] for k in _HABITS if k in settings}})
            return {name: getattr(found, name) for name in _HABITS}
        except (FractureError, ValidationError):
            pass  # settings of an older version are worth less than a training that starts
    return {"loss": LossConfig(map_loss="bce_dice", map_negatives=0.5, localization=1, classification=1)}


def mix(start: Start, trained: Path, keep: float, out: Path) -> str:
    """``keep * old + (1 - keep) * new`` as a weight file; the SHA-256 of what was written.

    The new region's row of the region head has no old counterpart and is kept as trained.
    """
    new = load_file(str(trained))
    merged = {}
    for name, value in new.items():
        value = value.float()
        blend = keep * start.tensors[name] + (1 - keep) * value
        if start.region_row is not None and name.startswith(_REGION):
            blend[start.region_row] = value[start.region_row]
        merged[name] = blend
    model = build_model(start.config.model)
    load_state(model, merged, source=trained.name)
    write_atomic(out, lambda draft: save_file(state_for_saving(model), str(draft)))
    return sha256_of(out)
