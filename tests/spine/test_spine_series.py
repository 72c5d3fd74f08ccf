"""Series: sorted, in patient millimeters, of one kind; what is broken is refused in one clear error."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from fracture.errors import ConfigurationError, FractureError, ImageSizeError, MissingDependencyError, SeriesError
from fracture.io.dicom.frames import AIR
from fracture.spine import find_series, oriented, plane_of, read_series
from fracture.wing.volume import Volume
from tests.dicom.builder import file_bytes
from tests.spine.made import AXIAL, SAGITTAL, enhanced, slices, value_at, write

OBLIQUE = (0.995004, 0.0998334, 0.0, -0.0823947, 0.8211945, 0.5646425)  # an axial slice through L5/S1, turned


def places_of(volume: Volume) -> NDArray[np.float64]:
    at = np.moveaxis(np.indices(volume.voxels.shape), 0, -1)[..., ::-1]
    return at @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def right(volume: Volume) -> bool:
    """Whether every voxel stands where its value says."""
    return bool((np.abs(volume.voxels - value_at(places_of(volume))) < 0.6).all())


@pytest.mark.parametrize(
    "orientation", [SAGITTAL, AXIAL, (0, -1, 0, 0, 0, 1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)]
)
@pytest.mark.parametrize("step", [4.0, -2.5])
def test_slices_in_any_order_and_direction_stand_where_they_are(
    orientation: Sequence[float], step: float, tmp_path: Path
) -> None:
    made = slices(6, orientation=orientation, step=step)
    random.Random(3).shuffle(made)
    found = read_series(write(made, tmp_path))
    assert right(found.volume)
    assert found.volume.spacing == pytest.approx((abs(step), 0.5, 0.75), abs=1e-6)
    assert found.volume.warnings == ()
    again = [np.sign(found.volume.affine[axis, column]) for column, axis in enumerate(_axes(found.kind.plane))]
    assert again == [1, {"axial": 1}.get(found.kind.plane, -1), 1]  # columns, rows, slices as people look at them
    assert plane_of(found.volume) == found.kind.plane


def _axes(plane: str) -> tuple[int, int, int]:
    return {"sagittal": (1, 2, 0), "coronal": (0, 2, 1), "axial": (0, 1, 2)}[plane]


def test_an_oblique_series_keeps_its_directions(tmp_path: Path) -> None:
    made = slices(5, orientation=OBLIQUE, step=3.0)
    found = read_series(write(made, tmp_path)).volume
    assert right(found)
    np.testing.assert_allclose(found.affine[:3, 0], 0.75 * np.array(OBLIQUE[:3]), atol=1e-6)


def test_gantry_tilt_shears_the_volume_and_is_told(tmp_path: Path) -> None:
    tilted = (1, 0, 0, 0, np.cos(0.3), -np.sin(0.3))
    made = slices(5, orientation=tilted, step=(0.0, 0.0, 2.0), modality="CT")
    found = read_series(write(made, tmp_path))
    assert found.tilt == pytest.approx(np.degrees(0.3), abs=1e-3)
    assert right(found.volume)
    assert "sheared by 17.2 degrees" in found.volume.warnings[0]


def test_hounsfield_units_and_padding(tmp_path: Path) -> None:
    made = slices(3, orientation=AXIAL, modality="CT", slope=0.5, intercept=-1024.0, PixelPaddingValue=-2000)
    for one in made:
        stored = np.frombuffer(one.PixelData, np.int16).copy()
        stored[0] = -2000
        one.PixelData = stored.tobytes()
    voxels = read_series(write(made, tmp_path)).volume.voxels
    assert (voxels == AIR).sum() == 3
    assert voxels[0, 0, 1] == pytest.approx(value_at(np.array([-8.0 + 0.75, -10.0, 12.0])), abs=0.5)


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("shared", [True, False])
def test_an_enhanced_object_is_the_same_volume_as_its_slices(modality: str, shared: bool, tmp_path: Path) -> None:
    made = slices(5, orientation=AXIAL, modality=modality, step=2.0)
    for k, one in enumerate(made):  # another scaling for each frame
        one.RescaleSlope, one.RescaleIntercept = 1 + k, 10 * k
    single = read_series(write(made, tmp_path / "slices"))
    whole = enhanced(made, (3, 0, 4, 1, 2), shared=shared)
    several = read_series(file_bytes(whole))
    np.testing.assert_array_equal(several.volume.voxels, single.volume.voxels)
    np.testing.assert_allclose(several.volume.affine, single.volume.affine)
    assert several.kind.modality == modality


def test_many_frames_are_within_the_limits_of_the_parser() -> None:
    made = slices(600, orientation=AXIAL, modality="CT", step=0.01, size=(2, 2), start=(0, 0, 0))
    for k, one in enumerate(made):
        one.ImagePositionPatient = ["0", "0", f"{k / 2}"]
    volume = read_series(file_bytes(enhanced(made, range(600)))).volume
    assert volume.voxels.shape == (600, 2, 2)
    assert volume.spacing[0] == 0.5


def test_files_may_be_given_as_a_list_as_bytes_and_as_open_files(tmp_path: Path) -> None:
    made = slices(4)
    folder = write(made, tmp_path)
    paths = sorted(folder.iterdir())
    expected = read_series(folder).volume
    with paths[3].open("rb") as stream:
        mixed = read_series([paths[0], str(paths[1]), gzip.compress(file_bytes(made[2])), stream]).volume
    np.testing.assert_array_equal(mixed.voxels, expected.voxels)
    np.testing.assert_array_equal(mixed.affine, expected.affine)
    assert read_series(paths[0]).volume.voxels.shape[0] == 1
    assert "a single slice" in read_series(paths[0]).volume.warnings[0]


def test_copies_are_dropped_and_told(tmp_path: Path) -> None:
    made = slices(5)
    write(made, tmp_path)
    write(made[1:3], tmp_path / "again")
    found = read_series(tmp_path).volume
    assert found.voxels.shape[0] == 5
    assert found.warnings == ("2 slices were there twice; the copies were left out",)


def test_what_is_no_slice_is_counted(tmp_path: Path) -> None:
    write(slices(3), tmp_path)
    (tmp_path / "README.txt").write_text("hello " * 99)
    (tmp_path / ".hidden").write_text("x")
    report = slices(1, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    write(report, tmp_path, name="report{}.dcm")
    assert read_series(tmp_path).volume.warnings == (
        "1 DICOM objects of another kind (SR) left out",
        "1 files that are not DICOM left out",
    )


def _without(*left_out: int) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda made: [one for k, one in enumerate(made) if k not in left_out]


def _moved(made: list[Dataset]) -> list[Dataset]:
    made[3].ImagePositionPatient = [1.0 + float(made[3].ImagePositionPatient[0]), *made[3].ImagePositionPatient[1:]]
    return made


def _aside(made: list[Dataset]) -> list[Dataset]:
    made[3].ImagePositionPatient = [made[3].ImagePositionPatient[0], 0.0, made[3].ImagePositionPatient[2]]
    return made


def _another(made: list[Dataset]) -> list[Dataset]:
    other = slices(1)[0]
    other.PixelData = bytes(len(other.PixelData))
    return [*made, other]


def _placeless(made: list[Dataset]) -> list[Dataset]:
    del made[2].ImagePositionPatient
    return made


def _skewed(made: list[Dataset]) -> list[Dataset]:
    made[2].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    return made


def _two_series(made: list[Dataset]) -> list[Dataset]:
    for one in made[3:]:
        one.SeriesInstanceUID = generate_uid()
        one.SeriesDescription = "Sagittal T1"
    return made


def _damaged(made: list[Dataset]) -> list[Dataset]:
    made[2].PixelData = made[2].PixelData[:-20]
    return made


def _color(made: list[Dataset]) -> list[Dataset]:
    made[2].PhotometricInterpretation = "MONOCHROME1"
    return made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without(2), ("slices are missing", "1 of 8, the first after slice 2", "one every 4.00 mm", "copy the whole")),
        (_without(1, 4, 5), ("slices are missing", "3 of 8, the first after slice 1")),
        (_moved, ("not lie at equal distances", "3.00 to 5.00 mm", "10 %")),
        (_aside, ("do not lie in line", "slice 4 is 10.00 mm off")),
        (_another, ("two different slices lie at one place", "slice 1 of 8", "one slice at each place")),
        (_placeless, ("does not say where it lies", "ImagePositionPatient missing")),
        (_skewed, ("does not say where it lies", "ImageOrientationPatient missing or malformed")),
        (_two_series, ("series, not one", "0: sagittal", "number=0")),
        (_damaged, ("2.dcm: the pixels are truncated", "copy the file again")),
        (_color, ("2.dcm: slices of this kind are not read", "MONOCHROME1")),
    ],
)
def test_a_broken_series_is_one_clear_error(
    change: Callable[[list[Dataset]], list[Dataset]], words: tuple[str, ...], tmp_path: Path
) -> None:
    folder = write(change(slices(8)), tmp_path)
    with pytest.raises(FractureError) as told:
        read_series(folder)
    assert all(word in str(told.value) for word in words), str(told.value)
    assert "Zyxwvut" not in str(told.value)
    assert "1.2.3" not in str(told.value)


def test_a_multi_frame_file_without_places_is_refused() -> None:
    whole = enhanced(slices(4), range(4))
    del whole.PerFrameFunctionalGroupsSequence
    with pytest.raises(SeriesError, match="must say of each frame where it lies; got 4 frames, 0 with a place"):
        read_series(file_bytes(whole))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="an empty folder"):
        read_series(tmp_path)
    (tmp_path / "x.txt").write_text("no slice " * 50)
    with pytest.raises(SeriesError, match="no CT or MR series; got 1 files that are not DICOM left out"):
        read_series(tmp_path)
    with pytest.raises(SeriesError, match="an empty list"):
        read_series([])
    with pytest.raises(ConfigurationError, match="not a source of slices"):
        read_series(7)  # type: ignore[arg-type]


def test_too_large_a_series_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ImageSizeError, match=r"315 voxels .*at most 300"):
        read_series(write(slices(5), tmp_path), max_voxels=300)


def test_a_study_of_several_kinds_is_told_apart(tmp_path: Path) -> None:
    def series(uid: str, count: int, **more: object) -> list[Dataset]:
        return slices(count, SeriesInstanceUID=uid, **more)  # type: ignore[arg-type]

    write(series("1.1", 7), tmp_path / "a")
    write(series("1.2", 6, SeriesDescription="t1_tse_sag"), tmp_path / "b")
    write(series("1.3", 5, orientation=OBLIQUE, SeriesDescription="AX T2 FSE"), tmp_path / "c")
    write(series("1.4", 4, SeriesDescription="", EchoTime=12, RepetitionTime=600), tmp_path / "d")
    write(series("1.5", 3, SeriesDescription="t2_tirm", EchoTime=60), tmp_path / "e")
    write(series("1.6", 2, SeriesDescription="x", EchoTime=100, RepetitionTime=3000), tmp_path / "f")
    write(series("1.7", 1, SeriesDescription="x"), tmp_path / "g")
    stacks = find_series(tmp_path).series
    assert [stack.kind.rsna for stack in stacks if stack.kind] == [
        *("Sagittal T2/STIR", "Sagittal T1", "Axial T2", "Sagittal T1", "Sagittal T2/STIR", "Sagittal T2/STIR", None),
    ]
    assert [stack.kind.told_by for stack in stacks if stack.kind] == [*["name"] * 3, "times", "name", "times", None]
    assert str(stacks[2]) == "axial T2 MR, 5 x 7 x 9"
    assert read_series(tmp_path, number=2).kind.plane == "axial"
    with pytest.raises(SeriesError, match=r"no such series; got number 9; allowed: 0: sagittal T2 MR"):
        read_series(tmp_path, number=9)


def test_echoes_and_blocks_of_one_series_are_volumes_of_their_own(tmp_path: Path) -> None:
    echoes = [*slices(3, EchoTime=20), *slices(3, EchoTime=100)]
    assert [len(stack.frames) for stack in find_series(write(echoes, tmp_path / "echoes")).series] == [3, 3]
    blocks = slices(12, orientation=AXIAL, SeriesDescription="t2 ax")
    del blocks[5:7]
    found = find_series(write(blocks, tmp_path / "blocks")).series
    assert [len(stack.frames) for stack in found] == [5, 5]
    assert all(right(stack.read().volume) for stack in found)


def test_axes_are_exchanged_and_every_voxel_stays(tmp_path: Path) -> None:
    volume = read_series(write(slices(5, orientation=OBLIQUE), tmp_path)).volume
    for plane, shape in (("sagittal", (7, 5, 9)), ("coronal", (9, 5, 7)), ("axial", (5, 9, 7))):
        turned = oriented(volume, plane)  # type: ignore[arg-type]
        assert turned.voxels.shape == shape
        assert right(turned)
    with pytest.raises(ConfigurationError, match="unknown plane"):
        oriented(volume, "frontal")  # type: ignore[arg-type]


def nifti_of(volume: Volume) -> bytes:
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    content: bytes = nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), affine).to_bytes()
    return content


@pytest.mark.parametrize("orientation", [SAGITTAL, OBLIQUE])
def test_nifti_is_the_same_volume(orientation: Sequence[float], tmp_path: Path) -> None:
    volume = read_series(write(slices(5, orientation=orientation), tmp_path)).volume
    found = read_series(gzip.compress(nifti_of(volume)))
    np.testing.assert_array_equal(found.volume.voxels, volume.voxels)
    np.testing.assert_allclose(found.volume.affine, volume.affine, atol=1e-5)
    assert found.kind.plane == plane_of(volume)


def test_broken_nifti_is_one_clear_error(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    whole = nifti_of(read_series(write(slices(5), tmp_path)).volume)
    for content, words in (
        (whole[:-40], "truncated"),
        (whole[:400], "truncated"),
        (whole[:40] + b"\xff" * 16 + whole[56:], "damaged|not one volume"),
        (nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)).to_bytes(), "not one volume"),
        (nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), None).to_bytes(), "does not say where it lies"),
    ):
        with pytest.raises(FractureError, match=words):
            read_series(content)
    with pytest.raises(ImageSizeError):
        read_series(whole, max_voxels=100)


def test_without_nibabel_dicom_is_read_and_nifti_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    assert right(read_series(write(slices(3), tmp_path)).volume)
    head = bytearray(352)
    head[:4], head[344:348] = (348).to_bytes(4, "little"), b"n+1\0"
    with pytest.raises(MissingDependencyError, match=r"fracture-radiographs\[spine\]"):
        read_series(bytes(head))


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("spine_mr/t2_thoracolumbar/dicom_sagittal", "spine_mr/t2_thoracolumbar/t2.nii.gz"),
        ("spine_ct/neck_cerr/dicom_axial", "spine_ct/neck_cerr/neck_ct_crop.nii.gz"),
    ],
)
def test_real_series_equal_their_nifti_through_millimeters(folder: str, file: str, shared_data: Path) -> None:
    pytest.importorskip("nibabel")
    dicom, nifti = read_series(shared_data / folder).volume, read_series(shared_data / file).volume
    draw = np.random.default_rng(7)
    at = np.stack([draw.integers(0, n, 300) for n in dicom.voxels.shape])
    points = (dicom.affine @ np.vstack([at[::-1], np.ones(300)]))[:3]
    there = np.linalg.solve(nifti.affine, np.vstack([points, np.ones(300)]))[2::-1]
    assert np.abs(there - np.rint(there)).max() < 1e-3
    np.testing.assert_array_equal(dicom.voxels[tuple(at)], nifti.voxels[tuple(np.rint(there).astype(int))])


def test_real_compressed_slices_are_read(shared_data: Path) -> None:
    found = read_series(shared_data / "spine_ct/totalsegmentator/dicom_axial_20")
    assert found.volume.voxels.shape == (20, 512, 512)
    assert found.volume.spacing == pytest.approx((2.0, 0.9765625, 0.9765625))  # 3 mm thick, so they overlap
    assert -1025 <= found.volume.voxels.min() < -900
    assert str(found.kind) == "axial CT"
