"""fracture: find fractures on radiographs.

>>> import fracture
>>> p = fracture.predict("examples/wrist_radius_transverse.dcm")  # in a clone; or any film of yours
>>> p.probability, p.fractured, p.boxes

Research use only; this is not a medical device. Everything public is listed here; all else is an implementation
detail. Names are imported when they are first used, so that ``import fracture`` is quick and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names
from fracture._moved import forward
from fracture._version import __version__ as __version__

if TYPE_CHECKING:
    from fracture import (
        adapt as adapt,
        data as data,
        errors as errors,
        evaluation as evaluation,
        hip as hip,
        models as models,
        preprocess as preprocess,
        regions as regions,
        results as results,
        simulate as simulate,
        training as training,
    )
    from fracture.deidentification.film import deidentify as deidentify
    from fracture.detector import Detector as Detector, load as load, predict as predict
    from fracture.errors import FractureError as FractureError, InputError as InputError
    from fracture.gallery.table import to_frame as to_frame
    from fracture.io.radiograph import Radiograph as Radiograph
    from fracture.io.reading import read as read
    from fracture.limb.prediction import Prediction as Prediction
    from fracture.wing.result import Box as Box, Failure as Failure

forward()
lazy_names(globals(), "__version__")
