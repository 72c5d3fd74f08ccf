"""Ordered levels, rounding, families; and reports: change between visits, and the drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from fracture import simulate
from fracture.errors import EvaluationError
from fracture.evaluation.stats.change import repeatability
from fracture.joints.card import ScoreSpec
from fracture.joints.layout import FAMILIES, columns_of
from fracture.joints.reports import CLAIM, change, draw_damage
from fracture.joints.scoring import Score, ScoreNetworks, expected, points_of, score_joints
from fracture.models.ordered_levels import LocatedLevels, OrderedLevels, level_loss
from fracture.wing.runner import TorchRunner


def test_expected_value_and_spread_are_those_of_the_levels() -> None:
    chances = np.array([0.1, 0.2, 0.4, 0.2, 0.1])  # of 0, 1, 2, 3, 4
    least = np.cumsum(chances[::-1])[::-1][1:].copy()
    mean, spread = expected(torch.logit(torch.tensor(least))[None])
    levels = np.arange(5)
    assert mean[0] == pytest.approx((chances * levels).sum())
    assert spread[0] == pytest.approx(np.sqrt((chances * levels**2).sum() - mean[0] ** 2))


def test_rounding_rule_is_off_by_default() -> None:
    assert [Score(v, 0).rounded() for v in (0.2, 0.5, 0.74, 1.5, 3.9)] == [0, 1, 1, 2, 4]
    assert Score(0.55, 0).rounded(near_zero=0.6) == 0
    assert Score(0.6, 0).rounded(0.6) == 0


@pytest.mark.parametrize("located", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_levels_never_cross(family: Any, located: bool) -> None:
    torch.manual_seed(0)
    model = ScoreNetworks(ScoreSpec(family=family, located=located)).eval()
    with torch.inference_mode():
        found = model(torch.randn(3, 1, 224, 224))
    assert {name: logits.shape[1] for name, logits in found.items()} == {
        "narrowing": 4, "erosion": 10 if family == "forefoot" else 5,
    }  # fmt: skip
    for logits in found.values():
        assert (logits.diff(dim=1) < 0).all()


def test_networks_learn_where_a_picture_is_changed() -> None:
    torch.manual_seed(0)
    network = LocatedLevels(8, 4)
    planes, traces = torch.randn(6, 1, 64, 64) * 0.1, torch.zeros(6, 8, 8)
    for number in range(6):  # a bright square at another place each time
        row, column = 1 + number % 3 * 2, 1 + number // 3 * 4
        traces[number, row : row + 2, column : column + 2] = 1
        planes[number, 0, 8 * row : 8 * row + 16, 8 * column : 8 * column + 16] += 2
    grades = torch.arange(6) % 5
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(network.losses(planes, grades, traces)).sum().backward()
        optimizer.step()
    network.requires_grad_(False)
    logits, where = network.located(planes)
    assert torch.equal(logits, network(planes))
    assert where[traces > 0].mean() > 0 > where[traces == 0].mean()
    graded, placed = network.losses(planes, grades, traces)
    assert float(graded) == pytest.approx(float(level_loss(logits, grades)), rel=1e-5)
    assert float(placed) < 6 * 5 * 0.15
    assert not OrderedLevels(8, 4).losses(planes, grades, traces)[1].any()


def test_every_column_of_a_hand_is_scored_once() -> None:
    hand = simulate.hand(2, size=(256, 213))
    runners = {
        family: TorchRunner(
            ScoreNetworks(ScoreSpec(family=family, width=8)).eval(), device=torch.device("cpu"), dtype=torch.float32
        )
        for family in FAMILIES
    }
    pixels = hand.film.to_radiograph().pixels
    found = score_joints(runners, pixels, hand.points, "hand")
    assert list(found) == [column.name for column in columns_of("hand")]
    assert points_of("wrist", "erosion") == {"mc1", "mul", "nav", "lunate", "radius", "ulna"}
    assert points_of("wrist", "narrowing") == {"cmc3", "cmc4", "cmc5", "mna", "capnlun", "radcar"}
    assert points_of("wrist") == points_of("wrist", "erosion", "narrowing")
    maximum = {column.name: column.maximum for column in columns_of("hand")}
    assert all(0 <= score.value <= maximum[name] and score.spread >= 0 for name, score in found.items())
    only = score_joints({"finger": runners["finger"]}, pixels, hand.points, "hand")
    assert {c.family for c in columns_of("hand") if c.name in only} == {"finger"}
    assert all(only[name].value == pytest.approx(found[name].value, abs=1e-5) for name in only)
    few = {name: point for name, point in hand.points.items() if name != "pip4"}
    assert "pip_J__4" not in score_joints(runners, pixels, few, "hand")


def test_change_is_told_beyond_repeatability_alone() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(2, 1, 400)
    limit = repeatability(first, first + rng.normal(0, 0.2, 400))
    assert limit == pytest.approx(1.96 * 0.2, rel=0.1)
    limits: Any = {"narrowing": 0.4, "erosion": 0.6}
    before = {"LH_mcp_J__2": 1.0, "LH_mcp_E__2": 1.0, "LF_mtp_E__1": 2.0, "LH_pip_J__3": 2.0}
    after = {"LH_mcp_J__2": 2.5, "LH_mcp_E__2": 1.5, "LF_mtp_E__1": 3.1, "LH_pip_J__4": 1.0}
    found = change(before, after, limits)
    assert found.progressed == ("LH_mcp_J__2",)
    assert {one.column: one.verdict for one in found.joints} == {
        "LH_mcp_J__2": "progressed", "LF_mtp_E__1": "within repeatability", "LH_mcp_E__2": "within repeatability",
    }  # fmt: skip
    assert found.missing == ("LH_pip_J__3", "LH_pip_J__4")
    total = found.sums[0]
    assert (total.before, total.after) == pytest.approx((4.0, 7.1))
    assert total.limit == pytest.approx(np.sqrt(0.4**2 + 0.6**2 + 1.2**2))
    assert found.lines()[-1] == CLAIM
    for one, other, allowed in (
        (before, {"LH_pip_J__4": 1.0}, limits), (before, after, {"erosion": 1}), ({"x": 1.0}, after, limits),
    ):  # fmt: skip
        with pytest.raises(EvaluationError):
            change(one, other, allowed)


@dataclass
class _Limb:
    kind: Any
    points: Any
    scores: Any


def test_the_drawing_shows_film_and_scores_at_the_same_places() -> None:
    hand = simulate.hand(2, size=(256, 213))
    scores = {c.name: Score(c.maximum * 0.8 if c.point == "mcp2" else 0.0, 0.1) for c in columns_of("hand")}
    figure = draw_damage(hand.film.to_radiograph().pixels, _Limb("hand", hand.points, scores))
    film, drawing, _ = figure.axes
    assert film.get_xlim() == drawing.get_xlim()
    assert film.get_ylim() == drawing.get_ylim()
    assert {text.get_text() for text in drawing.texts} == {"3.2", "4.0"}  # the two scores of mcp2
    assert CLAIM in figure.get_suptitle()
