"""Hips: find them, then read them in six classes (Krogue et al. 2020).

>>> import fracture.hip
>>> for hip in fracture.hip.predict("pelvis.dcm"):
...     hip.side, hip.label, hip.fracture_probability

Names are imported when they are first used, so that this package is quick to import and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.hip.classes import CLASSES, FRACTURES
    from fracture.hip.evaluation import HipEvaluation, evaluate_hips
    from fracture.hip.pipeline import HipReader, load, predict, predict_many, predict_study
    from fracture.hip.prediction import Hip, HipFilm
    from fracture.hip.records import HipLabel, read_hips, split_hips
    from fracture.hip.training import train
    from fracture.hip.via import read_via, write_via

_HOMES = {
    "CLASSES": "classes",
    "FRACTURES": "classes",
    "Hip": "prediction",
    "HipEvaluation": "evaluation",
    "HipFilm": "prediction",
    "HipLabel": "records",
    "HipReader": "pipeline",
    "evaluate_hips": "evaluation",
    "load": "pipeline",
    "predict": "pipeline",
    "predict_many": "pipeline",
    "predict_study": "pipeline",
    "read_hips": "records",
    "read_via": "via",
    "split_hips": "records",
    "train": "training",
    "write_via": "via",
}

__all__ = [
    "CLASSES",
    "FRACTURES",
    "Hip",
    "HipEvaluation",
    "HipFilm",
    "HipLabel",
    "HipReader",
    "evaluate_hips",
    "load",
    "predict",
    "predict_many",
    "predict_study",
    "read_hips",
    "read_via",
    "split_hips",
    "train",
    "write_via",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
