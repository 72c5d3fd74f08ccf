"""Painted lesions: what is changed and what is not, grades by construction, both painters; simulated hands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import second_joint_painter
from typer.testing import CliRunner

from fracture import simulate
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.simulate.joints import ERODED, NARROWED, Joint, Lesion, paint_joints, spaced

SPACE, HALF = 8.0, 24.0
JOINT = Joint("mcp2", (100.0, 120.0), (0.0, -1.0), 250.0, SPACE)


def film(space: float = SPACE) -> np.ndarray:
    """Two bone ends, bright at the cortex, with a dark space between them, in soft tissue; the digit points up."""
    y, x = np.mgrid[:240, :200] + 0.5
    along, across = 120.0 - y, x - 100.0
    bone = (np.abs(across) < HALF) & (np.abs(along) > space / 2)
    edge = np.minimum(HALF - np.abs(across), np.abs(along) - space / 2)
    return np.where(bone, np.where(edge < 3, 0.8, 0.55), 0.3).astype(np.float32)


def gap_of(pixels: np.ndarray) -> float:
    """Pixels of the middle line that are darker than bone, around the joint."""
    return float((pixels[90:150, 92:108].mean(axis=1) < 0.5).sum())


def test_narrowing_takes_the_share_of_its_grade() -> None:
    before = film()
    assert gap_of(before) == SPACE
    for grade, (low, high) in enumerate(NARROWED[:4]):
        shares = [1 - gap_of(paint_joints(before, [JOINT], {"mcp2": Lesion(grade)}, k)) / SPACE for k in range(12)]
        assert low - 0.13 <= np.mean(shares) <= high + 0.13, grade  # half a pixel at either edge is 0.12 of the space
    fused = paint_joints(before, [JOINT], {"mcp2": Lesion(4)}, 1)
    assert gap_of(fused) == 0


def test_erosion_takes_more_bone_with_each_grade_and_lies_at_the_margin() -> None:
    before = film()
    lost = []
    for grade in range(6):
        # The warp of grade 0 moves edges by up to 5 % of the space: what is dark now and was bone counts.
        painted = [paint_joints(before, [JOINT], {"mcp2": Lesion(0, grade)}, k) for k in range(10)]
        lost.append(float(np.mean([((one < 0.44) & (before > 0.5)).sum() for one in painted])))
    assert lost[0] <= 0.1 * lost[1]
    assert (np.diff(lost) > 0).all()
    assert lost[5] < 1.3 * ERODED[5][1] * (2 * HALF) ** 2
    one = paint_joints(before, [JOINT], {"mcp2": Lesion(0, 2)}, 3)
    columns = np.nonzero(((one < 0.44) & (before > 0.5)).any(axis=0))[0]
    assert min(columns.min() - 76, 124 - columns.max()) < 6  # the cortex of a side is broken


def test_nothing_changes_elsewhere_and_seeds_decide() -> None:
    before = film()
    kept = before.copy()
    painted = paint_joints(before, [JOINT], {"mcp2": Lesion(3, 4)}, 5)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(painted, paint_joints(before, {"mcp2": JOINT}, {"mcp2": Lesion(3, 4)}, 5))
    assert (painted != paint_joints(before, [JOINT], {"mcp2": Lesion(3, 4)}, 6)).any()
    part, local = spaced(before, JOINT)
    corner = (round(JOINT.center[0] - local.center[0]), round(JOINT.center[1] - local.center[1]))
    outside = np.ones(before.shape, bool)
    outside[corner[1] : corner[1] + part.shape[0], corner[0] : corner[0] + part.shape[1]] = False
    np.testing.assert_array_equal(painted[outside], before[outside])
    np.testing.assert_array_equal(paint_joints(before, [JOINT], {}), before)
    assert painted.dtype == np.float32
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_joints_at_the_edge_and_wrong_grades() -> None:
    corner = Joint("mtp1", (2.0, 3.0), (1.0, 0.0), 250.0)
    paint_joints(film(), [corner], {"mtp1": Lesion(2, 10)})
    far = Joint("mtp1", (900.0, 900.0), (1.0, 0.0), 250.0)
    np.testing.assert_array_equal(paint_joints(film(), [far], {"mtp1": Lesion(2, 9)}), film())
    for lesions in ({"pip9": Lesion(1)}, {"mcp2": Lesion(5)}, {"mcp2": Lesion(0, 6)}):
        with pytest.raises(ConfigurationError):
            paint_joints(film(), [JOINT], lesions)


def test_the_second_painter_grades_too_and_shares_nothing() -> None:
    text = Path(second_joint_painter.__file__).read_text(encoding="utf-8")
    assert "import fracture" not in text
    assert "from fracture" not in text
    before = film()
    place: Any = (JOINT.center, JOINT.direction, SPACE, HALF)
    gaps = [gap_of(second_joint_painter.paint(before, *place, narrowing=g, seed=2)) for g in range(5)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[4] < gaps[0] / 3
    areas = [
        np.mean(
            [
                (np.abs(second_joint_painter.paint(before, *place, erosion=g, seed=k) - before) > 0.1).sum()
                for k in range(8)
            ]
        )
        for g in (1, 3, 5)
    ]
    assert areas[0] < areas[1] < areas[2]


def test_simulated_hands_know_their_joints() -> None:
    plain, damaged = (simulate.hand(4, size=(256, 213), damaged=yes) for yes in (False, True))
    assert plain.points == damaged.points
    assert len(plain.points) == 26
    assert plain.film.laterality == damaged.film.laterality
    assert not plain.lesions
    assert set(damaged.lesions) < set(damaged.points)
    # A joint space is darker than the bone beside it.
    gray = plain.film.to_radiograph().pixels
    darker = 0
    for name in ("mcp2", "mcp3", "mcp4", "pip2", "pip3", "pip4"):
        x, y = plain.points[name]
        block = gray[int(y) - 5 : int(y) + 6, int(x) - 3 : int(x) + 4].mean(axis=1)
        darker += bool(block[4:7].min() < block.max() - 0.03)
    assert darker >= 5
    given = simulate.hand(4, size=(256, 213), lesions={"mcp3": Lesion(4, 3)})
    assert given.lesions == {"mcp3": Lesion(4, 3)}
    changed = np.argwhere(given.film.pixels != plain.film.pixels)
    assert np.abs(changed[:, ::-1] - plain.points["mcp3"]).max() < 34  # all of it within a finger's length of the joint


def test_folders_of_hands_are_read_back_by_the_wing(tmp_path: Path) -> None:
    from fracture.joints.records import limbs_of, read_landmarks

    found = CliRunner().invoke(app, ["simulate", str(tmp_path / "a"), "--kind", "joints", "-n", "2", "--size", "192"])
    assert found.exit_code == 0, found.output
    content = json.loads((tmp_path / "a" / "annotations.json").read_text(encoding="utf-8"))
    assert set(content["annotations"][0]["scores"]) <= set(content["categories"][0]["keypoints"])
    films = read_landmarks(tmp_path / "a" / "annotations.json")
    assert len(films) == 2
    assert len(limbs_of(films[0])[0].points) == 26
    x, y = limbs_of(films[0])[0].points["mcp2"]
    assert (x, y) == pytest.approx(simulate.hand(0, size=(192, 160)).points["mcp2"], abs=0.01)
    refused = CliRunner().invoke(app, ["simulate", str(tmp_path / "b"), "--kind", "joints", "--region", "hand"])
    assert isinstance(refused.exception, ConfigurationError)


def test_pixels_stay_in_their_range() -> None:
    """Interpolation overshoots at sharp edges: below 0 it would come round as the brightest gray."""
    names = ("mcp2", "mcp3", "pip2", "pip4", "mcp5")
    lesions = {name: simulate.Lesion(n % 5, (2 * n) % 6) for n, name in enumerate(names)}
    painted = simulate.hand(12, size=(512, 426), lesions=lesions)
    assert painted.film.pixels.max() <= 4095
    painted.film.to_radiograph()
