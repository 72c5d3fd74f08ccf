from __future__ import annotations

import pytest
import torch

from fracture.errors import ConfigurationError
from fracture.models import ModelSpec, build_model
from fracture.training.config import OptimizerConfig
from fracture.training.optim import Ema, build_optimizer, freeze, rate_at

SPEC = ModelSpec(backbone="resnet18", stages=2, norm="frozen", regions=("a",))


def test_schedule() -> None:
    config = OptimizerConfig(schedule="cosine", warmup_steps=4, final_lr=0.1)
    rates = [rate_at(step, 24, config) for step in range(24)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rate_at(14, 24, config) == pytest.approx(0.55)
    assert rate_at(24, 24, config) == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert {rate_at(step, 24, OptimizerConfig()) for step in range(24)} == {1.0}


def test_groups_cover_every_parameter_once_with_their_rates() -> None:
    model = build_model(SPEC, seed=0)
    config = OptimizerConfig(lr=1e-4, head_lr=1e-3, weight_decay=0.1, name="adamw")
    optimizer = build_optimizer(model, config)
    seen = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(seen) == sorted(id(p) for p in model.parameters())
    heads = {id(p) for p in model.heads.parameters()}
    for group in optimizer.param_groups:
        for p in group["params"]:
            assert group["lr"] == (1e-3 if id(p) in heads else 1e-4)
            assert group["weight_decay"] == (0.1 if p.ndim >= 2 else 0.0)


def test_the_papers_optimizer_has_no_weight_decay() -> None:
    optimizer = build_optimizer(build_model(SPEC, seed=0), OptimizerConfig())
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0}


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_are_those_of_the_textbook(name: str) -> None:
    """Also of convolutions that lie channels last, as in training, whose gradients do not."""
    layout = torch.channels_last
    config = OptimizerConfig(name=name, lr=1e-2, weight_decay=0.1 if name == "adamw" else 0.0)
    ours, plain = (build_model(SPEC, seed=0).to(memory_format=layout) for _ in range(2))  # type: ignore[call-overload]
    optimizer = build_optimizer(ours, config)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    kept = ("lr", "weight_decay")
    named = dict(zip(ours.parameters(), plain.parameters(), strict=True))
    sets = [{"params": [named[p] for p in g["params"]], **{k: g[k] for k in kept}} for g in optimizer.param_groups]
    other = kind(sets, betas=config.betas, foreach=False, fused=False)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for one, two in named.items():
            one.grad = torch.randn(one.shape, generator=generator)
            two.grad = torch.empty_like(two).copy_(one.grad)
        optimizer.step()
        other.step()
    for one, two in named.items():
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_frozen_stages_stay() -> None:
    model = build_model(SPEC, seed=0)
    freeze(model, 2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, OptimizerConfig(lr=0.1))
    output = model(torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32))
    (output.score_logit.sum() + output.map_logits.sum()).backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not any(name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")) for name in changed)
    assert any(name.startswith("backbone.layer2") for name in changed)
    with pytest.raises(ConfigurationError, match="freeze_stages"):
        freeze(model, 9)


def test_running_mean_by_hand() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema = Ema(model, 0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, 0.0, 3.0]):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert ema.mean["weight"].item() == pytest.approx(expected)
    ema.swap(model)
    assert model.weight.item() == pytest.approx(expected)
    ema.swap(model)
    assert model.weight.item() == 3.0
