"""Is this a musculoskeletal radiograph at all? Warnings, never a refusal: a score for a photograph means nothing.

Two tests, one after the other:

* :func:`check_pixels`: rules on the pixels that need no network (a blank film, a page of text or a drawing);
* :class:`FeatureDistribution`: how far a picture's features lie from those of real films, for weights whose card has
  an ``input_check``; :func:`make_input_check` measures the distribution and finds the limit.

What DICOM says of itself (modality) and color are judged where files are read, and refused there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.input_check.distribution import FeatureDistribution
    from fracture.input_check.fit import InputCheckResult, make_input_check
    from fracture.input_check.rules import WARNING_START, check_pixels, distance_warning

__all__ = [
    "WARNING_START",
    "FeatureDistribution",
    "InputCheckResult",
    "check_pixels",
    "distance_warning",
    "make_input_check",
]

_HOMES = {
    "FeatureDistribution": "distribution",
    "InputCheckResult": "fit",
    "make_input_check": "fit",
    "WARNING_START": "rules",
    "check_pixels": "rules",
    "distance_warning": "rules",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list its commands without numpy, and since `fit` stands above the ensemble,
    # which takes the distribution from here.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
