"""The arithmetic of prediction in half precision."""

from __future__ import annotations

import copy

import torch
from torch import nn

from fracture.models import ModelSpec, build_model, fuse_for_inference
from fracture.models.inference import _rounded, in_precision

SPEC = ModelSpec(backbone="resnet18", stages=2, output_stride=8, inputs=("raw",), regions=("wrist", "ankle"))


def test_float32_stays_as_it_is() -> None:
    model = fuse_for_inference(build_model(SPEC, seed=1))
    before = copy.deepcopy(model.state_dict())
    after = in_precision(model, torch.float32).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_errors_of_neighboring_taps_cancel() -> None:
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    rounded = _rounded(weight, torch.bfloat16)
    assert torch.equal(rounded, rounded.bfloat16().float())
    step = weight.abs().amax(dim=(2, 3)) * 2.0**-7  # the widest gap between two bfloat16 near the filter's values
    carried = (rounded - weight).sum(dim=(2, 3)).abs()
    assert bool((carried <= step).all())
    plain = (weight.bfloat16().float() - weight).sum(dim=(2, 3)).abs()
    assert carried.mean() < 0.7 * plain.mean()


def test_heads_that_make_numbers_stay_in_float32() -> None:
    model = in_precision(fuse_for_inference(build_model(SPEC, seed=1)), torch.bfloat16)
    assert model.heads.score.weight.dtype == torch.float32
    assert model.heads.region is not None
    assert model.heads.region.weight.dtype == torch.float32
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions
    assert {m.weight.dtype for m in convolutions} == {torch.bfloat16}
    planes = torch.zeros(1, 1, 64, 64, dtype=torch.bfloat16)
    output = model(planes, torch.ones(1, 1, 64, 64, dtype=torch.bool))
    assert output.score_logit.dtype == torch.float32
    assert output.map_logits is not None


def test_a_model_without_regions_and_maps() -> None:
    model = in_precision(fuse_for_inference(build_model(SPEC.replace(regions=(), map=False), seed=1)), torch.bfloat16)
    output = model(torch.zeros(1, 1, 64, 64, dtype=torch.bfloat16), torch.ones(1, 1, 64, 64, dtype=torch.bool))
    assert output.region_logits is None
    assert output.map_logits is None


def test_features_come_out_closer_than_by_plain_rounding() -> None:
    """On smooth pictures, where neighboring taps see nearly the same; averaged over models, as single ones scatter."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 96), torch.linspace(0, 2, 96), indexing="ij")
    planes = (torch.sin(2 * x) * torch.cos(y))[None, None]
    mask = torch.ones(1, 1, 96, 96, dtype=torch.bool)
    errors = {"plain": 0.0, "feedback": 0.0}
    with torch.inference_mode():
        for seed in range(4):
            exact = fuse_for_inference(build_model(SPEC, seed=seed))
            expected = exact.features(planes, mask).deep
            ways = {"plain": copy.deepcopy(exact), "feedback": copy.deepcopy(exact)}
            for module in ways["plain"].modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(module.weight.bfloat16().float())
            for module in ways["feedback"].modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(_rounded(module.weight, torch.bfloat16))
            for name, model in ways.items():
                errors[name] += float((model.features(planes, mask).deep - expected).square().mean())
    assert errors["feedback"] < 0.5 * errors["plain"]
