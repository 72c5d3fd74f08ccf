"""Which cells answer for a fracture, and what they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from fracture.models.pyramid import STRIDES, Cells
from fracture.training.cell_loss import BoxTargets, assign, cell_loss, generalized_iou

SIDE = 256


def places() -> torch.Tensor:
    rows = []
    for stride in STRIDES:
        middles = (np.arange(SIDE // stride) + 0.5) * stride
        rows += [(x, y, stride) for y in middles for x in middles]
    return torch.tensor(rows, dtype=torch.float32)


PLACES = places()
NONE = torch.zeros(0, 4)


def cells(quality: torch.Tensor, boxes: torch.Tensor) -> Cells:
    return Cells(quality[None], boxes[None], PLACES)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 250), st.floats(0, 250), st.floats(2, 200), st.floats(2, 200)), min_size=1, max_size=4
    )
)
def test_every_fracture_has_cells_and_they_lie_in_it(drawn: list[tuple[float, float, float, float]]) -> None:
    boxes = torch.tensor([(x, y, min(x + w, SIDE), min(y + h, SIDE)) for x, y, w, h in drawn], dtype=torch.float32)
    index = assign(PLACES, boxes)
    assert index.shape == (len(PLACES),)
    assert int(index.min()) >= -1
    assert int(index.max()) < len(boxes)
    for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        mine = PLACES[index == k]
        # A cell in two boxes answers for the one it fits better, so that equal boxes share their cells.
        larger = [j for j in range(len(boxes)) if j != k]
        if not larger:
            assert len(mine)
        if min(x1 - x0, y1 - y0) > 2 * STRIDES[0] and len(mine):
            assert (mine[:, 0] > x0).all()
            assert (mine[:, 0] < x1).all()
            assert (mine[:, 1] > y0).all()
            assert (mine[:, 1] < y1).all()


@pytest.mark.parametrize(("side", "stride"), [(36.0, 8.0), (80.0, 16.0), (160.0, 32.0)])
def test_a_fracture_goes_to_the_level_of_its_size(side: float, stride: float) -> None:
    box = torch.tensor([[128 - side / 2, 128 - side / 2, 128 + side / 2, 128 + side / 2]])
    strides = PLACES[assign(PLACES, box) == 0, 2]
    assert (strides == stride).float().mean() > 0.5


def test_a_fracture_smaller_than_a_cell_keeps_one() -> None:
    index = assign(PLACES, torch.tensor([[100.5, 60.5, 102.0, 62.0]]))
    assert int((index == 0).sum()) == 1


def test_generalized_iou_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 3, 1]])
    iou, giou = generalized_iou(a, b)
    torch.testing.assert_close(iou, torch.tensor([1.0, 1 / 3, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(giou, torch.tensor([1.0, 1 / 3, -1 / 3]), atol=1e-5, rtol=0)  # hulls 4, 6 and 3


def test_right_boxes_of_sure_cells_cost_least() -> None:
    box = torch.tensor([[60.0, 60.0, 100.0, 110.0]])
    index = assign(PLACES, box)
    target = BoxTargets((box,), (NONE,))
    right = box.expand(len(PLACES), 4)
    sure = torch.where(index >= 0, 8.0, -8.0)
    best = cell_loss(cells(sure, right), target)
    assert float(best.quality) < 0.05
    assert float(best.box) == pytest.approx(0.0, abs=1e-3)
    assert float(best.weight) == pytest.approx(float((index >= 0).sum()))
    shifted = cell_loss(cells(sure, right + 20.0), target)
    assert float(shifted.box) > 0.5
    assert float(shifted.quality) > 1.0  # they claim a quality that their boxes do not have
    assert float(cell_loss(cells(-sure, right), target).quality) > 10.0


def test_fractures_cut_by_the_window_count_neither_way() -> None:
    cut = torch.tensor([[200.0, 0.0, 256.0, 256.0]])
    inside = (PLACES[:, 0] >= 200) & (PLACES[:, 0] <= 256)
    shouting = torch.where(inside, 5.0, -20.0)
    boxes = torch.zeros(len(PLACES), 4)
    ignored = cell_loss(cells(shouting, boxes), BoxTargets((NONE,), (cut,)))
    counted = cell_loss(cells(shouting, boxes), BoxTargets((NONE,), (NONE,)))
    assert float(ignored.quality) == pytest.approx(0.0, abs=1e-6)
    assert float(counted.quality) > 100.0
    assert float(ignored.weight) == 0.0


def test_the_quality_s_target_has_no_gradient_into_the_boxes() -> None:
    box = torch.tensor([[60.0, 60.0, 100.0, 110.0]])
    told = (box.expand(len(PLACES), 4) + 5.0).clone().requires_grad_()
    quality = torch.zeros(len(PLACES), requires_grad=True)
    cell_loss(cells(quality, told), BoxTargets((box,), (NONE,))).quality.backward()
    assert told.grad is None or not bool(told.grad.any())
    assert quality.grad is not None
