"""Is this a musculoskeletal radiograph at all? It warns and never refuses: a score for a photograph means nothing.

Two tests, one after the other:

* :func:`check_pixels`: rules on the pixels that need no network (a blank film, a page of text or a drawing);
* :class:`FeatureDistribution`: how far a picture's features lie from those of real films, for weights whose card has
  an ``input_check``; :func:`make_input_check` measures the distribution and finds the limit.

What DICOM says of itself (modality) and color are judged where files are read, and refused there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.input_check.fit import InputCheckResult as InputCheckResult, make_input_check as make_input_check
    from fracture.wing.distribution import FeatureDistribution as FeatureDistribution
    from fracture.wing.rules import (
        WARNING_START as WARNING_START,
        check_pixels as check_pixels,
        distance_warning as distance_warning,
    )

lazy_names(globals())
