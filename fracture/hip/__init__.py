"""Hips: find them, then read them in six classes (Krogue et al. 2020).

>>> import fracture.hip
>>> for hip in fracture.hip.predict("pelvis.dcm"):
...     hip.side, hip.label, hip.fracture_probability

Names are imported when they are first used, so that this package is quick to import and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.hip.classes import CLASSES as CLASSES, FRACTURES as FRACTURES
    from fracture.hip.evaluation import HipEvaluation as HipEvaluation, evaluate_hips as evaluate_hips
    from fracture.hip.pipeline import (
        HipReader as HipReader,
        load as load,
        predict as predict,
        predict_many as predict_many,
        predict_study as predict_study,
    )
    from fracture.hip.prediction import Hip as Hip, HipFilm as HipFilm
    from fracture.hip.records import (
        HipLabel as HipLabel,
        read_hips as read_hips,
        read_via as read_via,
        split_hips as split_hips,
        write_via as write_via,
    )
    from fracture.hip.training import train as train

lazy_names(globals())
