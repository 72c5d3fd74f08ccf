"""A probability map as a segmentation: FRACTIONAL, on the film's own pixels, RLE.

A value is stored as one of 256 steps. At the threshold the step is chosen so that what is at or above it stays so: what
a reader of the object marks is what the map marks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from highdicom import AlgorithmIdentificationSequence, seg
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from fracture.results import codes as own
from fracture.results.kinds import MANUFACTURER, RESEARCH
from fracture.results.marks import Making
from fracture.results.rle import compress
from fracture.wing.scene import Heat, grid_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 255


def make_segmentation(making: Making, heat: Heat) -> Dataset:
    """The map of the whole film as one segment.

    Args:
        making: The film and what is said of it.
        heat: The map and where it lies.
    """
    statement, image = making.statement, making.reference()
    size = making.header.size
    threshold = statement.settings.get("map_threshold")
    steps = steps_of(grid_on(heat, size, size), float(threshold) if isinstance(threshold, float) else None)
    if "FrameOfReferenceUID" in image:
        del image.FrameOfReferenceUID  # a projection has no place in the patient: no plane to give
    described = seg.SegmentDescription(
        segment_number=1,
        segment_label="Fracture probability",
        segmented_property_category=own.ABNORMAL,
        segmented_property_type=own.FRACTURE,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"fracture {statement.model}"[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=statement.version[:64],
            source=MANUFACTURER,
            parameters={"weights_sha256": statement.checksum, "map_threshold": str(threshold)},
        ),
        tracking_uid=making.uid("tracking", "map"),
        tracking_id="map",
    )
    for keyword in ("Rows", "Columns"):
        image.add_new(keyword, "US", 1)  # the pixels follow, compressed by us
    made = seg.Segmentation(
        source_images=[image],
        pixel_array=np.zeros((1, 1, 1), np.float32),
        segmentation_type="FRACTIONAL",
        fractional_type="PROBABILITY",
        max_fractional_value=_STEPS,
        segment_descriptions=[described],
        omit_empty_frames=False,
        content_label="FRACTURE",
        content_description=f"Probability of a fracture, {RESEARCH}",
        **making.common("seg"),
    )
    made.Rows, made.Columns = steps.shape
    made.PatientOrientation = making.header.image.get("PatientOrientation") or ""
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = making.uid("dimensions")
    compress(made, steps)
    return making.finish(made)


def steps_of(values: NDArray[np.float32], threshold: float | None) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] in steps of 1/255, at or above the threshold exactly where they were.

    Args:
        values: float32 (height, width).
        threshold: None where there is none.
    """
    steps = np.asarray(cv2.convertScaleAbs(values, alpha=_STEPS), np.uint8)  # rounds and saturates
    if threshold is not None and 0 < threshold <= 1:
        first = math.ceil(threshold * _STEPS)  # the least step at or above the threshold
        first += first / _STEPS < threshold
        above = values >= np.float32(threshold)
        wrong = (steps >= first) != above
        steps[wrong] = np.where(above[wrong], first, first - 1)
    return steps
