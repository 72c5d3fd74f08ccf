"""The pyramid's heads: what its cells promise, and what no network has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fracture.errors import ModelError
from fracture.models import ModelSpec, build_model, fuse_for_inference
from fracture.models.inference import in_precision

from .model_contract import films, with_statistics

PLAIN = ModelSpec(
    backbone="resnet18",
    stages=3,
    output_stride=16,
    pyramid=True,
    stem_rgb=True,
    pooling="attention",
    regions=("hand", "leg"),
)
DILATED = PLAIN.replace(output_stride=8)
DENSE = PLAIN.replace(backbone="densenet121", output_stride=8)


@pytest.mark.parametrize("spec", [PLAIN, DILATED, DENSE], ids=["strided", "dilated", "dilated DenseNet"])
def test_cells_of_three_levels_tell_boxes_around_themselves(spec: ModelSpec) -> None:
    planes, mask = films(spec, 2, 64, 96)
    with torch.no_grad():
        out = with_statistics(build_model(spec, seed=3)).eval()(planes, mask)
    cells = out.cells
    assert cells is not None
    count = 8 * 12 + 4 * 6 + 2 * 3
    assert cells.quality.shape == (2, count)
    assert cells.boxes.shape == (2, count, 4)
    assert cells.places.shape == (count, 3)
    assert cells.places[0].tolist() == [4.0, 4.0, 8.0]  # x, y and stride of the first cell's middle
    assert cells.places[1].tolist() == [12.0, 4.0, 8.0]
    assert cells.places[-1].tolist() == [80.0, 48.0, 32.0]
    middle = cells.places[None, :, :2]
    assert (cells.boxes[..., :2] < middle).all()
    assert (cells.boxes[..., 2:] > middle).all()
    assert cells.quality.sigmoid().median() < 0.05  # training starts from a rare fracture
    assert out.map_logits is not None
    assert out.map_logits.shape == (2, 1, 8, 12)
    assert out.region_logits is not None
    assert out.region_logits.shape == (2, 2)


def test_every_part_learns() -> None:
    model = with_statistics(build_model(PLAIN, seed=1)).train()
    out = model(*films(PLAIN, 2, 64, 64))
    assert out.cells is not None
    assert out.map_logits is not None
    assert out.region_logits is not None
    total = out.score_logit.sum() + out.map_logits.sum() + out.region_logits.sum()
    (total + out.cells.quality.sum() + out.cells.boxes.sum()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not silent


def test_a_film_does_not_depend_on_its_company() -> None:
    planes, mask = films(PLAIN, 3, 64, 96)
    model = with_statistics(build_model(PLAIN, seed=3)).eval()
    with torch.no_grad():
        together, alone = model(planes, mask), model(planes[1:2], mask[1:2])
    assert together.cells is not None
    assert alone.cells is not None
    torch.testing.assert_close(together.cells.boxes[1], alone.cells.boxes[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.score_logit[1], alone.score_logit[0], rtol=1e-4, atol=1e-5)


def test_folding_keeps_the_function_and_bfloat16_moves_it_little() -> None:
    planes, mask = films(PLAIN, 1, 64, 96)
    model = with_statistics(build_model(PLAIN, seed=3)).eval()
    with torch.no_grad():
        plain = model(planes, mask)
        folded_model = fuse_for_inference(model)
        folded = folded_model(planes, mask)
        rough = in_precision(folded_model, torch.bfloat16)(planes.bfloat16(), mask)
    assert plain.cells is not None
    assert folded.cells is not None
    assert rough.cells is not None
    torch.testing.assert_close(folded.cells.boxes, plain.cells.boxes, rtol=1e-3, atol=1e-3)
    assert rough.cells.quality.dtype == torch.float32
    assert (rough.cells.boxes - plain.cells.boxes).abs().max() < 4.0


def test_attention_is_a_distribution_at_the_deep_stride() -> None:
    model = with_statistics(build_model(PLAIN, seed=3)).eval()
    with torch.no_grad():
        weights = model.attention(model.features(*films(PLAIN, 2, 64, 96)))
    assert weights.shape == (2, 1, 4, 6)
    torch.testing.assert_close(weights.sum(dim=(1, 2, 3)), torch.ones(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"map": False},
        {"map_skip": True},
        {"backbone": "resnet18", "stages": 4, "output_stride": 32},
        {"pyramid": 1},
    ],
)
def test_what_no_pyramid_has_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="pyramid"):
        PLAIN.replace(**changes)


def test_films_are_padded_to_the_coarsest_level() -> None:
    assert PLAIN.size_multiple == 32
    with pytest.raises(ModelError, match="multiples of 32"):
        build_model(PLAIN, seed=0)(*films(PLAIN, 1, 48, 64))
