"""fracture: find fractures on radiographs.

>>> import fracture
>>> p = fracture.predict("wrist.dcm")
>>> p.probability, p.fractured, p.boxes

Research use only; this is no medical device. Everything public is listed here; all else is an implementation
detail. Names are imported when they are first used, so that ``import fracture`` is quick and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fracture._version import __version__

if TYPE_CHECKING:
    from fracture import data, errors, evaluation, hip, models, preprocess, regions, simulate, training
    from fracture.detector import Detector, load, predict
    from fracture.errors import FractureError, InputError
    from fracture.prediction import Box, Failure, Prediction
    from fracture.radiograph import Radiograph
    from fracture.reading import read

__all__ = [
    "Box",
    "Detector",
    "Failure",
    "FractureError",
    "InputError",
    "Prediction",
    "Radiograph",
    "__version__",
    "data",
    "errors",
    "evaluation",
    "hip",
    "load",
    "models",
    "predict",
    "preprocess",
    "read",
    "regions",
    "simulate",
    "training",
]

_HOMES = {
    "Box": "fracture.prediction",
    "Detector": "fracture.detector",
    "Failure": "fracture.prediction",
    "FractureError": "fracture.errors",
    "InputError": "fracture.errors",
    "Prediction": "fracture.prediction",
    "Radiograph": "fracture.radiograph",
    "load": "fracture.detector",
    "predict": "fracture.detector",
    "read": "fracture.reading",
}
_ROOMS = ("data", "errors", "evaluation", "hip", "models", "preprocess", "regions", "simulate", "training")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"fracture.{name}")
    raise AttributeError(f"module 'fracture' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
