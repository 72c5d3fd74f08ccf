"""What every model must do, as an inherited test class: ``class TestMine(ModelContract): spec = ModelSpec(...)``."""

# ruff: noqa: F722 - jaxtyping writes shapes as strings
from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from beartype import beartype
from jaxtyping import Bool, Float32, jaxtyped
from torch import Tensor, nn

from fracture.errors import ModelError, WeightsIntegrityError
from fracture.models import (
    FractureModel,
    ModelOutput,
    ModelSpec,
    build_model,
    fuse_for_inference,
    load_state,
    state_for_saving,
)

GOLDEN = Path(__file__).parent / "golden.json"
GOLDEN_RTOL = 1e-3  # of a value; one thread against two differs by up to 6e-6, other processors were not tried
GOLDEN_ATOL = 1e-5
SEED = 20


@jaxtyped(typechecker=beartype)
def run(
    model: FractureModel, planes: Float32[Tensor, "b c h w"], mask: Bool[Tensor, "b 1 h w"]
) -> tuple[
    Float32[Tensor, " b"],
    Float32[Tensor, "b 1 h//8 w//8"] | None,
    Float32[Tensor, "b r"] | None,
]:
    """The forward pass with its promised shapes and dtypes checked."""
    out = model(planes, mask)
    return out.score_logit, out.map_logits, out.region_logits


def films(spec: ModelSpec, batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random planes and masks as preprocessing gives them: 0 in padding, each film padded differently."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    for i in range(batch):
        bottom = height - (i % 3) * height // 5
        left = (i % 2) * width // 6
        mask[i, :, :bottom, left:] = True
    planes = torch.rand(batch, spec.planes, height, width, generator=generator) * 2 - 1
    return planes * mask, mask


def with_statistics(model: FractureModel, seed: int = 1) -> FractureModel:
    """Give batch norms statistics and scales as after training; fresh ones (0 and 1) would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.running_mean = torch.randn(n, generator=generator) * 0.1
            module.running_var = torch.rand(n, generator=generator) + 0.5
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.weight.data = torch.rand(module.weight.shape, generator=generator) * 0.5 + 0.75
            module.bias.data = torch.randn(module.bias.shape, generator=generator) * 0.1
    return model


def fingerprint(spec: ModelSpec) -> dict[str, list[float]]:
    """Numbers that change when the function that a seeded model computes changes."""
    model = with_statistics(build_model(spec, seed=SEED)).eval()
    planes, mask = films(spec, 2, 64, 96)
    with torch.no_grad():
        features = model.features(planes, mask)
        out = model.decide(features)
    deep = features.deep
    result = {
        "deep": [deep.mean().item(), deep.std().item(), deep.max().item(), deep[0, 0, 0, 0].item()],
        "score": out.score_logit.tolist(),
    }
    if out.map_logits is not None:
        result["map"] = [*out.map_logits[0, 0, ::3, ::5].flatten().tolist(), out.map_logits.std().item()]
    if out.region_logits is not None:
        result["regions"] = out.region_logits.flatten().tolist()
    return result


def grads(model: FractureModel, planes: Tensor, mask: Tensor) -> dict[str, Tensor | None]:
    """Gradients by name of a loss that reaches every output."""
    out = model(planes, mask)
    generator = torch.Generator().manual_seed(5)
    parts = [(o * torch.randn(o.shape, generator=generator)).sum() for o in out if o is not None]
    torch.stack(parts).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@functools.lru_cache(maxsize=1)
def _built(spec: ModelSpec) -> FractureModel:
    return with_statistics(build_model(spec, seed=SEED)).eval()


class ModelContract:
    """Inherit, set ``spec``, and regenerate the golden file with ``make_golden.py``."""

    spec: ClassVar[ModelSpec]

    @pytest.fixture
    def model(self) -> FractureModel:
        return _built(self.spec)

    def test_forward_gives_what_the_specification_says(self, model: FractureModel) -> None:
        planes, mask = films(self.spec, 2, 64, 96)
        with torch.no_grad():
            score, map_logits, regions = run(model, planes, mask)
        assert (map_logits is not None) == self.spec.map
        assert (regions is not None) == bool(self.spec.regions)
        if regions is not None:
            assert regions.shape[1] == len(self.spec.regions)
        for out in (score, map_logits, regions):
            assert out is None or torch.isfinite(out).all()

    def test_every_parameter_has_a_gradient(self) -> None:
        model = with_statistics(build_model(self.spec, seed=SEED)).train()
        planes, mask = films(self.spec, 3, 64, 96)
        dead = [n for n, g in grads(model, planes, mask).items() if g is None or not (g != 0).any()]
        assert not dead

    def test_any_size_that_is_a_multiple(self, model: FractureModel) -> None:
        n = self.spec.size_multiple
        for height, width in ((n, n), (n * 3, n * 2), (n * 2, n * 5)):
            with torch.no_grad():
                run(model, *films(self.spec, 1, height, width))

    def test_other_sizes_are_refused_with_the_size_to_pad_to(self, model: FractureModel) -> None:
        n = self.spec.size_multiple
        planes, mask = films(self.spec, 1, 3 * n - 1, 2 * n + 1)
        with pytest.raises(ModelError, match=rf"pad planes and mask with zeros to \({3 * n}, {3 * n}\)"):
            model(planes, mask)

    def test_a_score_does_not_depend_on_the_batch(self, model: FractureModel) -> None:
        planes, mask = films(self.spec, 4, 64, 96)
        with torch.no_grad():
            together: ModelOutput = model(planes, mask)
            for i in range(4):
                alone: ModelOutput = model(planes[i : i + 1], mask[i : i + 1])
                for one, many in zip(alone, together, strict=True):
                    assert (one is None) == (many is None)
                    if one is not None:
                        torch.testing.assert_close(one[0], many[i], rtol=1e-4, atol=1e-4)  # kernels differ by batch

    def test_evaluation_changes_nothing_in_the_model(self, model: FractureModel) -> None:
        before = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            model(*films(self.spec, 2, 64, 64))
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_saving_and_loading_give_the_same_function(self, model: FractureModel) -> None:
        saved = state_for_saving(model)
        again = build_model(ModelSpec.from_dict(json.loads(json.dumps(self.spec.to_dict()))), seed=99)
        load_state(again, saved)
        for name, value in state_for_saving(again).items():
            assert torch.equal(value, saved[name]), name
        planes, mask = films(self.spec, 2, 64, 96)
        with torch.no_grad():
            old, new = model(planes, mask), again.eval()(planes, mask)
        for a, b in zip(old, new, strict=True):
            if a is not None:
                scale = max(1.0, a.abs().max().item())
                assert (a - b).abs().max() < 5e-3 * scale  # what half precision costs an untrained network

    def test_weights_of_another_model_are_refused(self, model: FractureModel) -> None:
        saved = state_for_saving(model)
        saved.pop("heads.score.weight")
        with pytest.raises(WeightsIntegrityError, match=r"heads\.score\.weight is missing"):
            load_state(build_model(self.spec), saved)

    def test_parameter_groups_hold_each_parameter_once(self, model: FractureModel) -> None:
        groups = model.parameter_groups()
        assert list(groups) == [*model.backbone.stage_names, "heads"]
        ids = [id(p) for group in groups.values() for p in group]
        assert len(ids) == len(set(ids))
        assert set(ids) == {id(p) for p in model.parameters()}

    def test_checkpointing_changes_neither_gradients_nor_statistics(self) -> None:
        planes, mask = films(self.spec, 2, 64, 64)
        plain = with_statistics(build_model(self.spec.replace(dropout=0.0), seed=SEED)).train()
        saving = copy.deepcopy(plain)
        saving.backbone.set_checkpointing(True)
        expected, got = grads(plain, planes, mask), grads(saving, planes, mask)
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-5, msg=name)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(saving.state_dict()[name], value, msg=name)

    def test_folding_for_inference_keeps_the_function(self, model: FractureModel) -> None:
        planes, mask = films(self.spec, 2, 64, 96)
        before = copy.deepcopy(model.state_dict())
        fused = fuse_for_inference(model)
        with torch.no_grad():
            expected, got = model(planes, mask), fused(planes, mask)
        for a, b in zip(expected, got, strict=True):
            if a is not None:
                torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5 * max(1.0, a.abs().max().item()))
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    def test_bfloat16_outputs_are_float32_and_stay_close(self, model: FractureModel) -> None:
        planes, mask = films(self.spec, 2, 64, 96)
        with torch.no_grad():
            exact = model(planes, mask)
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(planes, mask)
        for a, b in zip(exact, rough, strict=True):
            if a is not None:
                assert b.dtype == torch.float32
                assert (a - b).abs().max() < 0.1 * max(1.0, a.abs().max().item())

    def test_golden(self) -> None:
        golden: dict[str, Any] = json.loads(GOLDEN.read_text())[type(self).__name__]
        assert ModelSpec.from_dict(golden["spec"]) == self.spec, "run tests/models/make_golden.py"
        got = fingerprint(self.spec)
        assert set(got) == set(golden["values"])
        for key, values in golden["values"].items():
            assert got[key] == pytest.approx(values, rel=GOLDEN_RTOL, abs=GOLDEN_ATOL), key
