from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fracture.errors import ModelError
from fracture.models import ModelSpec, build_model
from fracture.models.pooling import AttentionPool, AveragePool, PyramidPool, cell_validity

POOLS = [AveragePool(5), PyramidPool(5, (4, 2, 1)), PyramidPool(5, (6, 3, 2, 1)), AttentionPool(5, 7)]


def grid(seed: int, height: int, width: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 5, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pool", POOLS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    top=st.integers(0, 5),
    bottom=st.integers(0, 5),
    left=st.integers(0, 5),
    right=st.integers(0, 5),
)
def test_padding_has_no_vote_whatever_stands_in_it(
    pool: AveragePool, seed: int, height: int, width: int, top: int, bottom: int, left: int, right: int
) -> None:
    film = grid(seed, height, width)
    plain = pool(film, torch.ones(1, 1, height, width))
    padding = (left, right, top, bottom)
    padded = F.pad(film, padding, value=1e3)
    validity = F.pad(torch.ones(1, 1, height, width), padding)
    torch.testing.assert_close(pool(padded, validity), plain, rtol=1e-4, atol=1e-5)


def test_average_counts_the_share_of_valid_pixels() -> None:
    features = torch.tensor([[[[1.0, 5.0], [100.0, 100.0]]]])
    validity = torch.tensor([[[[1.0, 0.25], [0.0, 0.0]]]])
    assert AveragePool(1)(features, validity).item() == pytest.approx((1 + 5 * 0.25) / 1.25)


def test_the_pyramid_is_that_of_adaptive_pooling() -> None:
    film = grid(3, 11, 7, batch=2)
    expected = torch.cat([F.adaptive_max_pool2d(film, n).flatten(1) for n in (4, 2, 1)], dim=1)
    assert torch.equal(PyramidPool(5, (4, 2, 1))(film, torch.ones(2, 1, 11, 7)), expected)


def test_pyramid_leaves_invalid_cells_out_and_empty_bins_give_zero() -> None:
    features = torch.full((1, 1, 4, 4), -2.0)
    features[0, 0, 0, 0] = -3.0
    validity = torch.zeros(1, 1, 4, 4)
    validity[0, 0, 0, 0] = validity[0, 0, 3, 3] = 1.0
    features[0, 0, 0, 3] = 50.0  # inside the bounding box, but no film
    pooled = PyramidPool(1, (2, 1))(features, validity)
    assert pooled.tolist() == [[-3.0, 0.0, 0.0, -2.0, -2.0]]


def test_attention_weights_are_a_distribution_over_valid_cells() -> None:
    pool = AttentionPool(5, 7)
    validity = (torch.rand(3, 1, 6, 4, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    weights = pool.weights(grid(1, 6, 4, batch=3) * 30, validity)
    torch.testing.assert_close(weights.sum(dim=(1, 2, 3)), torch.ones(3))
    assert (weights[validity == 0] == 0).all()
    assert (weights[validity > 0] > 0).all()


@pytest.mark.parametrize("pool", POOLS)
def test_a_film_without_a_valid_pixel_stays_finite_beside_others(pool: AveragePool) -> None:
    features = grid(2, 4, 6, batch=2).requires_grad_()
    validity = torch.ones(2, 1, 4, 6)
    validity[1] = 0
    pooled = pool(features, validity)
    assert torch.isfinite(pooled).all()
    pooled.sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_cell_validity_is_the_share_of_valid_pixels() -> None:
    mask = torch.zeros(1, 1, 16, 24, dtype=torch.bool)
    mask[:, :, :12, :8] = True
    assert cell_validity(mask, 8).tolist() == [[[[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]]]


def test_bool_and_float_masks_agree() -> None:
    model = build_model(ModelSpec(width=0.125), seed=1).eval()
    planes, mask = torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32, dtype=torch.bool)
    mask[..., :9] = False
    with torch.no_grad():
        assert torch.equal(model(planes, mask).score_logit, model(planes, mask.float()).score_logit)


@pytest.mark.parametrize(
    ("planes", "mask", "message"),
    [
        (torch.zeros(1, 2, 32, 32), torch.ones(1, 1, 32, 32), "planes must have the shape"),
        (torch.zeros(1, 32, 32), torch.ones(1, 1, 32, 32), "planes must have the shape"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.ones(1, 1, 32, 32), "floating point"),
        (torch.zeros(2, 1, 32, 32), torch.ones(1, 1, 32, 32), r"mask must have .*allowed: \(2, 1, 32, 32\)"),
        (torch.zeros(1, 1, 0, 32), torch.ones(1, 1, 0, 32), r"zeros to \(8, 32\)"),
    ],
)
def test_wrong_tensors_are_refused(planes: Tensor, mask: Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(ModelSpec(width=0.125))(planes, mask)


def test_attention_is_shown_only_where_there_is_one() -> None:
    planes, mask = torch.rand(1, 1, 32, 48), torch.ones(1, 1, 32, 48)
    model = build_model(ModelSpec(width=0.125, pooling="attention"))
    assert model.attention(model.features(planes, mask)).sum().item() == pytest.approx(1.0)
    plain = build_model(ModelSpec(width=0.125))
    with pytest.raises(ModelError, match="no attention"):
        plain.attention(plain.features(planes, mask))


def test_seeds_repeat_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = build_model(ModelSpec(width=0.125), seed=5), build_model(ModelSpec(width=0.125), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other = build_model(ModelSpec(width=0.125), seed=6)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    free = build_model(ModelSpec(width=0.125))
    assert not torch.equal(next(one.parameters()), next(free.parameters()))


def test_only_known_stages_are_checkpointed() -> None:
    backbone = build_model(ModelSpec(width=0.125)).backbone
    backbone.set_checkpointing(backbone.stage_names[:2])
    assert backbone.checkpointed == {"stem", "level1"}
    backbone.set_checkpointing(False)
    assert not backbone.checkpointed
    with pytest.raises(ModelError, match="no such stage to checkpoint; got layer9"):
        backbone.set_checkpointing(["layer9"])
