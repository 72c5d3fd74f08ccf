"""Training: the paper's recipe on any annotated set.

>>> from fracture.training import train
>>> run = train("small_public", "data/fracatlas", out="runs/mine")

Names are imported when they are first used, so that a configuration can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.training.config import MemberConfig, Recipe, load_recipe, recipe_names
    from fracture.training.run import MemberResult, TrainingRun, train

_HOMES = {
    "MemberConfig": "config",
    "Recipe": "config",
    "load_recipe": "config",
    "recipe_names": "config",
    "MemberResult": "run",
    "TrainingRun": "run",
    "train": "run",
}

__all__ = ["MemberConfig", "MemberResult", "Recipe", "TrainingRun", "load_recipe", "recipe_names", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
