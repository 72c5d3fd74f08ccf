"""Phantoms of the neck: places, levels and fractures by construction, equal by seed, and a set that is read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.simulate.cervical_fractures import FRACTURES, break_of
from fracture.simulate.cervical_shapes import BONES, vertebra
from fracture.spine.series import read_series

_COARSE = (3.0, 1.6)


def _cell(made: simulate.SimulatedNeck, place: tuple[float, float, float]) -> tuple[int, int, int]:
    column, row, number = np.linalg.solve(made.affine[:3, :3], np.subtract(place, made.affine[:3, 3]))
    return round(number), round(row), round(column)


def test_equal_seeds_give_equal_voxels() -> None:
    one, two, other = (simulate.neck(seed, spacing=_COARSE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.voxels, two.voxels)
    assert one.points == two.points
    assert one.voxels.shape != other.voxels.shape or not np.array_equal(one.voxels, other.voxels)


def test_points_lie_in_their_own_bone_from_the_head_downward() -> None:
    right = total = 0
    for seed in range(6):
        made = simulate.neck(seed, spacing=_COARSE, fracture_rate=0.0)
        heights = [place[2] for place in made.points.values()]
        assert heights == sorted(heights, reverse=True)
        assert not made.fractures
        assert made.truth.max() <= len(BONES)
        for level, place in made.points.items():
            total += 1
            right += made.truth[_cell(made, place)] == BONES.index(level) + 1
    assert total > 30
    assert right >= 0.95 * total  # at 1.6 mm the voxel nearest to a thin anterior arch may lie beside it


def test_bone_is_bright_air_is_dark_and_a_partial_neck_has_fewer_levels() -> None:
    whole, part = simulate.neck(1, partial=0.0, spacing=_COARSE), simulate.neck(1, partial=1.0, spacing=_COARSE)
    assert list(whole.points) == list(FRACTURES)
    assert len(part.points) < 7
    assert whole.voxels[whole.truth > 0].mean() > 300
    assert whole.voxels[:, 0, 0].mean() < -800
    assert whole.voxels.dtype == np.float32


@pytest.mark.parametrize(
    ("level", "kind"), [(level, kind) for level in FRACTURES for kind in sorted(set(FRACTURES[level]))]
)
def test_every_kind_of_fracture_changes_its_bone_at_its_place(level: str, kind: str) -> None:
    bone = vertebra(level, 1.0, np.random.default_rng(0))
    x, y, z = np.meshgrid(*(np.arange(a, b, 1.2, np.float32) for a, b in zip(bone.low, bone.high, strict=True)))
    whole = bone.distance(x, y, z)
    for seed in range(2):
        made = break_of(bone, np.random.default_rng(seed), kind)
        broken, _, zone, _ = made.applied(bone, x, y, z)
        changed = (broken < 0) != (whole < 0)
        assert changed.sum() * 1.2**3 > 10, "mm3 of bone that went or came"
        assert zone.sum() * 1.2**3 > 60
        assert made.displacement >= 0.5
        assert abs(broken[broken < 0].size / whole[whole < 0].size - 1) < 0.15, "a bone breaks, it does not vanish"


def test_fractures_lie_where_the_record_says() -> None:
    found = [simulate.neck(seed, fracture_rate=1.0, partial=0.0, spacing=_COARSE) for seed in range(3)]
    assert all(made.fractures for made in found)
    for made in found:
        for one in made.fractures:
            number = BONES.index(one.level) + 1
            zone = np.argwhere(made.truth == 100 + number)
            low, high = _cell(made, one.low), _cell(made, one.high)
            assert (zone.min(axis=0)[[0, 2]] == np.minimum(low, high)[[0, 2]]).all()
            assert one.kind in FRACTURES[one.level]


def test_a_set_is_written_and_read_back(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    folder = tmp_path / "necks"
    summary = simulate.write_necks(folder, 1, fracture_rate=1.0, spacing=_COARSE)
    assert (summary.films, summary.fractured) == (1, 1)
    (record,) = json.loads((folder / "annotations.json").read_text())["necks"]
    made = simulate.neck(0, fracture_rate=1.0, spacing=_COARSE)
    read = read_series(folder / record["file_name"]).volume
    np.testing.assert_array_equal(read.voxels, made.voxels)
    np.testing.assert_allclose(read.affine, made.affine, atol=1e-4)
    assert record["fractures"][0]["level"] == made.fractures[0].level
    again = tmp_path / "again.nii.gz"
    made.write(again)
    assert again.read_bytes() == (folder / record["file_name"]).read_bytes()


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be drawn"):
        simulate.neck(0, spacing=(0.1, 1.0))
    with pytest.raises(ConfigurationError, match="cannot be drawn"):
        simulate.neck(0, partial=2.0)
    with pytest.raises(ConfigurationError, match="share"):
        simulate.write_necks(tmp_path / "x", 1, fracture_rate=1.5)
    done = CliRunner().invoke(app, ["simulate", str(tmp_path / "x"), "--kind", "cervical", "--format", "png"])
    assert isinstance(done.exception, ConfigurationError)
    assert "nifti" in str(done.exception)
