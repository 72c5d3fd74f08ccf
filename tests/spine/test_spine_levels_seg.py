"""Levels of a neck as a segmentation: on the pixels of every slice of its series, a tilted gantry's too."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom")

from pydicom import Dataset, dcmread

from fracture.errors import ConfigurationError
from fracture.spine import find_series
from fracture.spine.cervical.reader import CervicalReader
from fracture.spine.cervical.result import CervicalSpine, Vertebra
from fracture.spine.frame import frame_of
from fracture.spine.planes import plane_of
from fracture.wing.scene import NOTE
from fracture.wing.volume import Volume
from tests.dicom.builder import file_bytes
from tests.spine.made import AXIAL, enhanced, slices, write

MIDDLE = np.array((15.0, 10.0, 40.0))  # of the first level, millimeters; each next one 12 below
TILTED = (0.0, 0.8, 3.0)


def made_of() -> list[Dataset]:
    return slices(
        30,
        modality="CT",
        orientation=AXIAL,
        step=TILTED,
        start=(-10.0, -30.0, -40.0),
        spacing=(1.5, 1.25),
        size=(56, 48),
        StudyInstanceUID="1.2.3.4",
        FrameOfReferenceUID="1.2.3.5",
        SliceThickness=3.0,
    )


def neck(folder: Path) -> CervicalSpine:
    """A result whose C2 to C4 are cubes of 10 mm."""
    (stack,) = find_series(folder).series
    volume = stack.read().volume
    masks = Volume(np.zeros((60, 50, 50), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    masks.affine[:3, 3] = (-15.0, -30.0, -45.0)
    k, i, j = np.indices(masks.voxels.shape)
    for number in (2, 3, 4):
        center = MIDDLE - (0, 0, 12 * (number - 2))
        away = np.stack([j, i, k], -1) * 2.0 + masks.affine[:3, 3] - center
        masks.voxels[(np.abs(away) < 5).all(axis=-1)] = number
    rows = tuple(Vertebra(name, (0.0, 0.0, 0.0), 0.9, 0.7, True) for name in ("C2", "C3", "C4"))
    return CervicalSpine(
        source=str(folder),
        width=48,
        height=56,
        series="CT",
        reason="",
        slice=(20, 30),
        vertebrae=rows,
        probability=0.9,
        fractured=True,
        threshold=0.5,
        level_threshold=0.5,
        remarks=(),
        model="tiny",
        weights_checksum="0" * 64,
        pixels=np.zeros((56, 48), np.uint8),
        masks=masks,
        stack=stack,
        frame=frame_of(stack, volume, 20),
    )


def places_of(made: Dataset) -> dict[str, np.ndarray]:
    """Label to the millimeters of all its pixels, as a reader of the object finds them, (n, 3)."""
    pixels, found = made.pixel_array.reshape(-1, made.Rows, made.Columns), {}
    names = {one.SegmentNumber: one.SegmentLabel for one in made.SegmentSequence}
    shared = made.SharedFunctionalGroupsSequence[0]
    ways = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for plane, frame in zip(pixels, made.PerFrameFunctionalGroupsSequence, strict=True):
        i, j = np.nonzero(plane)
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        spots = corner + j[:, None] * across * ways[0] + i[:, None] * down * ways[1]
        name = names[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        found.setdefault(name, []).append(spots)
    return {name: np.concatenate(spots) for name, spots in found.items()}


def test_levels_lie_where_they_are_on_every_slice(tmp_path: Path) -> None:
    series = {str(one.SOPInstanceUID): one for one in made_of()}
    result = neck(write(list(series.values()), tmp_path))
    (made,) = result.to_dicom(["seg"])
    found = places_of(made)
    assert list(found) == ["C2", "C3", "C4"]
    for number, spots in enumerate(found.values()):
        center = MIDDLE - (0, 0, 12 * number)
        assert np.abs(spots - center).max() <= 5 + 1.0, "within a cube of 10 mm and half a voxel of 2 mm"
        assert np.abs(spots.mean(axis=0) - center).max() < 1.0
    codes = [one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for one in made.SegmentSequence]
    assert codes == ["C2 vertebra", "C3 vertebra", "C4 vertebra"]
    assert (made.StudyInstanceUID, made.SegmentationType) == ("1.2.3.4", "BINARY")
    for frame in made.PerFrameFunctionalGroupsSequence:  # each is derived from the slice at its own place
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        at = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(at, np.array(series[uid].ImagePositionPatient, float), atol=1e-3)
    if shutil.which("dciodvfy") is not None:
        made.save_as(path := tmp_path / "levels.seg", enforce_file_format=True)
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told, told


def test_frames_of_an_enhanced_file_are_named(tmp_path: Path) -> None:
    order = [*range(29, -1, -1)]
    whole = enhanced(made_of(), order)
    whole.StudyInstanceUID, whole.SOPInstanceUID, whole.FrameOfReferenceUID = "1.2.3.4", "1.2.3.77", "1.2.3.5"
    (tmp_path / "a.dcm").write_bytes(file_bytes(whole))
    (made,) = neck(tmp_path).to_dicom(["seg"])
    assert list(places_of(made)) == ["C2", "C3", "C4"]
    for frame in made.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        number = order[source.ReferencedFrameNumber - 1]
        at = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(at, (-10, -30 + 0.8 * number, -40 + 3 * number), atol=1e-3)
        assert source.ReferencedSOPClassUID == whole.SOPClassUID


def test_none_is_made_where_nothing_was_found_and_none_of_what_is_gone(tmp_path: Path) -> None:
    result = neck(write(made_of(), tmp_path))
    assert result.mapped
    assert result.masks is not None
    empty = replace(result, masks=replace(result.masks, voxels=np.zeros_like(result.masks.voxels)))
    assert empty.to_dicom(["seg"]) == []
    dropped = result.drop_pixels()
    assert not dropped.mapped
    with pytest.raises(ConfigurationError, match="map"):
        replace(dropped, pixels=result.pixels).to_dicom(["seg"])
    copy = dcmread(tmp_path / "20.dcm")
    copy.SeriesInstanceUID = "1.2.3.99"
    with pytest.raises(ConfigurationError, match="fracture deidentify"):
        result.to_dicom(["seg"], source=copy)


def test_a_sheet_says_once_what_it_is_not(tmp_path: Path) -> None:
    first, *_ = neck(write(made_of(), tmp_path)).scene().pages
    assert first.verdict == "Fracture suspected: C2, C3, C4"
    assert NOTE not in first.lines, "what draws the sheet puts it there"


def test_a_volume_is_shown_from_the_feet_whatever_its_spacing() -> None:
    reader = CervicalReader.__new__(CervicalReader)
    turned = Volume(
        np.zeros((4, 6, 8), np.float32), np.array([[0, 0, 3, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    )
    assert plane_of(turned) == "sagittal"
    assert plane_of(reader.take(turned).volume) == "axial"
