"""Training: the paper's recipe on any annotated set.

>>> from fracture.training import train
>>> run = train("small_public", "data/fracatlas", out="runs/mine")

Names are imported when they are first used, so that a configuration can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.training.config import (
        MemberConfig as MemberConfig,
        Recipe as Recipe,
        load_recipe as load_recipe,
        recipe_names as recipe_names,
    )
    from fracture.training.folds import FoldRun as FoldRun, train_folds as train_folds
    from fracture.training.run import MemberResult as MemberResult, TrainingRun as TrainingRun, train as train

lazy_names(globals())
