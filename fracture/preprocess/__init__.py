"""Preprocessing: the one path from a radiograph to a network's input, in training and in use alike.

Three steps (Jones et al. 2020, Methods, "Pre-processing stage"): crop dark padding, resize with the aspect
ratio preserved and pad, normalize. :func:`letterbox` does the first two and its result may be cached and
augmented; :func:`normalize` is always last; :func:`prepare` is both.
"""

from __future__ import annotations

from fracture.preprocess.crop import find_crop, find_field
from fracture.preprocess.geometry import Geometry
from fracture.preprocess.lcn import local_contrast_normalization
from fracture.preprocess.pipeline import Letterboxed, Prepared, letterbox, normalize, prepare, prepare_all
from fracture.preprocess.spec import PREPROCESS_VERSION, PreprocessSpec

__all__ = [
    "PREPROCESS_VERSION",
    "Geometry",
    "Letterboxed",
    "Prepared",
    "PreprocessSpec",
    "find_crop",
    "find_field",
    "letterbox",
    "local_contrast_normalization",
    "normalize",
    "prepare",
    "prepare_all",
]
