"""Volumes on an even grid: places stay where they are, whatever the tilt; the table goes, the patient stays."""

from __future__ import annotations

import numpy as np
import pytest

from fracture.errors import ConfigurationError, ImageSizeError
from fracture.spine.resample import AIR, body_mask, resampled, sampled
from fracture.wing.volume import Volume


def _affine(columns, rows, slices, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.array([columns, rows, slices], float).T
    affine[:3, 3] = origin
    return affine


def _linear(shape, affine):
    """Values that are a linear function of the place, so that interpolation must give them exactly."""
    k, i, j = np.indices(shape)
    places = np.stack([j, i, k], -1) @ affine[:3, :3].T + affine[:3, 3]
    return (places @ (1.0, 2.0, -3.0) + 5).astype(np.float32)


@pytest.mark.parametrize(
    "affine",
    [
        _affine((1, 0, 0), (0, 1, 0), (0, 0, 3), (-7, 4, 11)),
        _affine((1, 0, 0), (0, 1, 0), (0, 0.8, 2.9)),  # a tilted gantry
        _affine((0, 0.9, 0), (0, 0, -0.9), (2.5, 0, 0)),  # sagittal slices
        _affine((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (3, 3, 3)),  # averaged first
    ],
)
def test_places_keep_their_values(affine):
    shape = (12, 30, 28)
    volume = Volume(_linear(shape, affine), affine, "made")
    even = resampled(volume, 2.0, fill=1e6)
    assert even.spacing == pytest.approx((2, 2, 2))
    assert (np.diag(even.affine)[:3] == 2).all()
    inside = even.voxels < 1e5
    expected = _linear(even.voxels.shape, even.affine)
    inner = inside & (np.abs(even.voxels - expected) < 1e-2)
    # A voxel beside the edge mixes with what lies outside; all others are exact.
    core = np.zeros_like(inside)
    core[1:-1, 1:-1, 1:-1] = True
    for axis in range(3):
        for step in (-1, 1):
            core &= np.roll(inside, step, axis)
    assert core.sum() >= 20
    assert inner[core].all()


def test_small_voxels_are_averaged_not_skipped():
    checker = (np.indices((40, 40, 40)).sum(axis=0) % 2 * 100).astype(np.float32)
    even = resampled(Volume(checker, np.diag([0.5, 0.5, 0.5, 1.0])), 2.0)
    assert even.voxels[2:-2, 2:-2, 2:-2] == pytest.approx(50, abs=1e-3)


def test_labels_by_the_nearest_voxel():
    labels = np.zeros((4, 4, 4), np.float32)
    labels[1, 2, 3] = 7
    grid = np.diag([0.5, 0.5, 0.5, 1.0])
    fine = sampled(Volume(labels, np.eye(4)), grid, (8, 8, 8), fill=0, order=0)
    assert set(np.unique(fine)) == {0, 7}
    assert fine[2, 4, 6] == 7


def test_the_table_goes_and_the_patient_stays():
    _z, y, x = np.indices((30, 60, 60))
    patient = (x - 30) ** 2 + (y - 25) ** 2 < 18**2
    airway = (x - 30) ** 2 + (y - 15) ** 2 < 4**2
    table = (abs(y - 43) < 1) & (abs(x - 30) < 27)  # touches the patient's back
    values = np.where(patient & ~airway, 40.0, AIR)
    values[table] = 100
    mask = body_mask(Volume(values.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])))
    assert mask[airway].all(), "an airway is inside the patient"
    assert mask[patient].mean() > 0.99
    assert mask[[0, -1]][:, patient[0]].mean() > 0.99, "the patient is whole to the faces of the volume"
    assert not mask[table & (abs(x - 30) > 15)].any(), "what touches the patient ends within some voxels"
    assert not body_mask(Volume(np.full((5, 5, 5), AIR, np.float32), np.eye(4))).any()


def test_refused():
    volume = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4))
    for spacing in (0, -1, float("nan")):
        with pytest.raises(ConfigurationError, match="spacing"):
            resampled(volume, spacing)
    with pytest.raises(ImageSizeError, match="too large"):
        resampled(volume, 1e-3)


def test_a_volume_is_shown_without_its_voxels() -> None:
    volume = Volume(np.zeros((40, 64, 64), np.float32), np.diag([0.5, 0.5, 3.0, 1.0]), source="neck")
    assert repr(volume) == "Volume(source='neck', shape=(40, 64, 64), spacing=(3.0, 0.5, 0.5), warnings=0)"
