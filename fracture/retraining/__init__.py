"""Everything again: from a folder of annotated films to a finished card, in stages that are not done twice.

>>> retrain("weights/mine/recipe.toml", "fracatlas", out="runs/mine", texts=CardTexts.read("weights/mine/card.toml"))

Stages: ``train`` (all members of the recipe), ``weights`` (assembled, calibrated on films that no member, or no member
that judges them, was trained on), ``report`` (``fracture evaluate`` of these predictions), ``card`` (the model card).
A stage is skipped where what it made is there, unchanged, and was made from the same inputs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.retraining.pipeline import Retrained, retrain
    from fracture.retraining.texts import CardTexts

__all__ = ["CardTexts", "Retrained", "retrain"]

_HOMES = {"CardTexts": "texts", "Retrained": "pipeline", "retrain": "pipeline"}


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list its commands without torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
