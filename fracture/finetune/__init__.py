"""Fine-tuning: weights that know some regions learn a new one from few films, and say what that cost the old ones.

>>> tuned = fracture.load().finetune("data/scaphoid", region="scaphoid", parent="wrist", out="weights/scaphoid")
>>> tuned.detector.predict("film.dcm", region="scaphoid")

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.finetune.policy import FineTunePolicy
    from fracture.finetune.run import FineTuned, finetune

_HOMES = {"FineTunePolicy": "policy", "FineTuned": "run", "finetune": "run"}

__all__ = ["FineTunePolicy", "FineTuned", "finetune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
