from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from fracture.errors import ModelError, WeightsIntegrityError
from fracture.models import ModelSpec, build_model, fuse_for_inference, load_state, state_for_saving
from fracture.models.persistence import filled

SPEC = ModelSpec(width=0.125)


def test_weights_are_half_precision_and_statistics_are_not() -> None:
    model = build_model(SPEC, seed=1).to(memory_format=torch.channels_last)
    saved = state_for_saving(model)
    for name, tensor in saved.items():
        assert "num_batches_tracked" not in name
        assert tensor.dtype == (torch.float32 if "running" in name else torch.float16)
        assert tensor.is_contiguous()
    again = load(save(saved))
    assert all(torch.equal(again[k], v) for k, v in saved.items())


def test_what_half_precision_cannot_hold_stays_single() -> None:
    model = build_model(SPEC, seed=1)
    with torch.no_grad():
        model.heads.score.weight[0, 0] = 1e5
    saved = state_for_saving(model)
    assert saved["heads.score.weight"].dtype == torch.float32
    assert saved["heads.score.weight"][0, 0] == 1e5


def test_saving_copies() -> None:
    model = build_model(SPEC, seed=1)
    saved = state_for_saving(model)
    name = next(n for n in saved if "running_mean" in n)
    model.state_dict()[name].add_(1.0)
    assert (saved[name] == 0).all()


def test_a_diverged_model_is_not_saved_and_not_loaded() -> None:
    model = build_model(SPEC, seed=1)
    saved = state_for_saving(model)
    saved["heads.score.bias"] = torch.tensor([float("nan")])
    with pytest.raises(WeightsIntegrityError, match=r"heads\.score\.bias is not finite"):
        load_state(model, saved)
    with torch.no_grad():
        model.heads.score.bias.fill_(float("inf"))
    with pytest.raises(ModelError, match=r"heads\.score\.bias is not finite"):
        state_for_saving(model)


def test_faults_are_told_together_and_nothing_is_changed() -> None:
    model = build_model(SPEC, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    saved = state_for_saving(build_model(SPEC, seed=2))
    del saved["heads.score.bias"]
    saved["extra"] = torch.zeros(1)
    saved["heads.map.logit.weight"] = torch.zeros(2, 2)
    with pytest.raises(WeightsIntegrityError) as caught:
        load_state(model, saved, "m.safetensors")
    text = str(caught.value)
    assert text.startswith("m.safetensors does not fit the model: heads.score.bias is missing; extra is unknown; ")
    assert "heads.map.logit.weight has shape (2, 2) instead of (1, 64, 1, 1)" in text
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(WeightsIntegrityError, match=r"; .* and \d+ more; the specification"):
        load_state(model, {})


def test_folding_removes_every_batch_norm_that_can_go() -> None:
    def norms(spec: ModelSpec) -> tuple[int, int]:
        model = build_model(spec, seed=1)
        fused = fuse_for_inference(model)
        assert not fused.training
        assert not any(p.requires_grad for p in fused.parameters())
        return tuple(sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (model, fused))  # type: ignore[return-value]

    assert norms(SPEC)[1] == 0
    assert norms(ModelSpec(backbone="resnet18", stages=3))[1] == 0
    assert norms(ModelSpec(backbone="resnet50", stages=2, norm="frozen"))[1] == 0
    before, after = norms(ModelSpec(backbone="densenet121", stages=2))
    assert (before, after) == (1 + 18 * 2 + 2, 18 + 2)


def test_a_network_that_is_filled_draws_no_numbers_and_is_the_same() -> None:
    saved = state_for_saving(build_model(SPEC, seed=1))
    expected = build_model(SPEC, seed=2)
    load_state(expected, saved)
    before = torch.get_rng_state()
    model = filled(lambda: build_model(SPEC), saved)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_finite_numbers_whose_sum_is_not_are_taken() -> None:
    model = build_model(SPEC, seed=1)
    saved = state_for_saving(model)
    saved["heads.score.weight"] = torch.full_like(model.heads.score.weight, 3e38)
    load_state(model, saved)
    assert (model.heads.score.weight == 3e38).all()
