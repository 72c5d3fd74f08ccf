"""Segmentations: a probability map on the film's own pixels, FRACTIONAL, RLE; labels on a series' frames, BINARY.

A value is stored as one of 256 steps. At the threshold the step is chosen so that what is at or above it stays so: what
a reader of the object marks is what the map marks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from highdicom import AlgorithmIdentificationSequence, seg
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from fracture.errors import ConfigurationError
from fracture.results import codes as own
from fracture.results.header import read_source
from fracture.results.kinds import MANUFACTURER, RESEARCH
from fracture.results.labels import LabelMap
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
        algorithm_identification=_algorithm(making, map_threshold=str(threshold)),
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
    compress(made, steps)
    return _finished(making, made)


def make_labels(making: Making, labels: LabelMap) -> Dataset:
    """The labels of a series, BINARY, a segment for each that occurs, on the pixels of its frames.

    Args:
        making: The frame that the result shows and what is said of it.
        labels: On which frames which label lies where.

    Raises:
        ConfigurationError: The frames are not of the series that the objects belong to, such as a de-identified copy's.
    """
    images, numbers = [], {}
    for frame in labels.frames:
        header = read_source(frame.source, frame=frame.number)
        image = replace(making, header=header).reference()
        image.ImagePositionPatient, image.ImageOrientationPatient = _texts(frame.position), _texts(frame.orientation)
        image.PixelSpacing, image.SliceThickness = _texts(frame.spacing), f"{labels.thickness:.6f}"
        image.setdefault("FrameOfReferenceUID", making.uid("frame of reference"))
        numbers[tuple(map(float, image.ImagePositionPatient))] = header.frame
        images.append(image)
    ours = making.header.image
    if {str(one.SeriesInstanceUID) for one in images} != {str(ours.SeriesInstanceUID)}:
        raise ConfigurationError(
            "a segmentation of levels refers to every file of its series",
            got="the header of another series than the files' own",
            hint="predict on the copies that fracture deidentify makes, or leave seg out",
        )
    present = [k for k in range(1, len(labels.names) + 1) if (labels.voxels == k).any()]
    stack = np.stack([labels.voxels == k for k in present], axis=-1)
    segments = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=labels.names[k - 1],
            segmented_property_category=own.ANATOMY,
            segmented_property_type=own.VERTEBRAE[labels.names[k - 1]],
            algorithm_type="AUTOMATIC",
            algorithm_identification=_algorithm(making, how=labels.how),
            tracking_uid=making.uid("tracking", labels.names[k - 1]),
            tracking_id=labels.names[k - 1],
        )
        for number, k in enumerate(present, 1)
    ]
    made = seg.Segmentation(
        source_images=images,
        pixel_array=stack,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        content_label="LEVELS",
        content_description=f"Levels of vertebrae, {RESEARCH}",
        **making.common("seg") | {"series_description": f"Levels by fracture, {RESEARCH}"},
    )
    finished = _finished(making, made)
    for item in finished.PerFrameFunctionalGroupsSequence:
        number = numbers[tuple(map(float, item.PlanePositionSequence[0].ImagePositionPatient))]
        for derived in item.get("DerivationImageSequence", ()):
            for source in derived.SourceImageSequence if number is not None else ():
                source.ReferencedFrameNumber = number
    return finished


def _texts(values: Sequence[float]) -> list[str]:
    return [f"{value:.6f}" for value in values]


def _algorithm(making: Making, **parameters: str) -> AlgorithmIdentificationSequence:
    statement = making.statement
    return AlgorithmIdentificationSequence(
        name=f"fracture {statement.model}"[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=statement.version[:64],
        source=MANUFACTURER,
        parameters={"weights_sha256": statement.checksum, **parameters},
    )


def _finished(making: Making, made: Dataset) -> Dataset:
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = making.uid("dimensions")
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
