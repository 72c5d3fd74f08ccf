"""The whole way again: from annotated films to a finished card, in stages that are not repeated.

>>> retrain("weights/mine/recipe.toml", "fracatlas", out="runs/mine", texts=CardTexts.read("weights/mine/card.toml"))

Stages: ``train`` (all members of the recipe), ``weights`` (assembled, calibrated on films that no member, or no member
that judges them, was trained on), ``report`` (``fracture evaluate`` of these predictions), ``card`` (the model card).
A stage is skipped where what it made is there, unchanged, and was made from the same inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.retraining.pipeline import Retrained as Retrained, retrain as retrain
    from fracture.retraining.texts import CardTexts as CardTexts

lazy_names(globals())
