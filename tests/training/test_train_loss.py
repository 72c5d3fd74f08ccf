from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fracture.models import ModelOutput, ModelSpec
from fracture.training.config import LossConfig
from fracture.training.loss import Counts, JointLoss, Targets


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def two_films() -> tuple[ModelOutput, Targets]:
    """A fractured film of 2 x 2 cells, one of them padding, and a normal one."""
    output = ModelOutput(
        torch.tensor([1.0, -2.0], requires_grad=True),
        torch.tensor([[[[0.5, -1.0], [2.0, 9.0]]], [[[1.0, 1.0], [1.0, 1.0]]]], requires_grad=True),
        torch.tensor([[0.3, -0.3], [4.0, 4.0]], requires_grad=True),
    )
    targets = Targets(
        fractured=torch.tensor([1.0, 0.0]),
        map=torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]]),
        valid=torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]]),
        localized=torch.tensor([1.0, 0.0]),
        regions=torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        known=torch.tensor([1.0, 0.0]),
        judged=torch.ones(2),
    )
    return output, targets


def random_films(number: int, seed: int) -> tuple[ModelOutput, Targets]:
    g = torch.Generator().manual_seed(seed)
    output = ModelOutput(
        torch.randn(number, generator=g),
        torch.randn(number, 1, 3, 4, generator=g),
        torch.randn(number, 2, generator=g),
    )
    fractured = (torch.arange(number) % 3 == 0).float()
    targets = Targets(
        fractured,
        torch.rand(number, 1, 3, 4, generator=g) * fractured.view(-1, 1, 1, 1),
        (torch.rand(number, 1, 3, 4, generator=g) > 0.2).float(),
        fractured * (torch.arange(number) % 2 == 0),
        (torch.rand(number, 2, generator=g) > 0.5).float(),
        (torch.arange(number) % 4 != 1).float(),
        torch.ones(number),
    )
    return output, targets


def some(targets: Targets, which: slice) -> Targets:
    """The targets of some of the films."""
    return Targets(*(t[which] for t in targets if isinstance(t, torch.Tensor)))


def test_by_hand() -> None:
    output, targets = two_films()
    terms = JointLoss.for_model(ModelSpec(), LossConfig(region=0.1))(output, targets, Counts.of([targets]))
    where = (softplus(-0.5) + softplus(-1.0) + 0.5 * softplus(-2.0) + 0.5 * softplus(2.0)) / 3
    whether = (softplus(-1.0) + softplus(-2.0)) / 2
    which = (softplus(-0.3) + softplus(-0.3)) / 2
    assert terms.localization.item() == pytest.approx(where, rel=1e-6)
    assert terms.classification.item() == pytest.approx(whether, rel=1e-6)
    assert terms.region.item() == pytest.approx(which, rel=1e-6)
    assert terms.total.item() == pytest.approx(0.75 * where + 0.25 * whether + 0.1 * which, rel=1e-6)


@pytest.mark.parametrize(("pooling", "ratio"), [("average", 3.0), ("spp", 3.0), ("attention", 10.0)])
def test_the_papers_ratio(pooling: str, ratio: float) -> None:
    loss = JointLoss.for_model(ModelSpec(pooling=pooling), LossConfig())  # type: ignore[arg-type]
    assert loss.localization / loss.classification == pytest.approx(ratio)
    assert loss.localization + loss.classification == pytest.approx(1.0)


def test_a_model_without_a_map_has_the_score_alone() -> None:
    output, targets = two_films()
    loss = JointLoss.for_model(ModelSpec(map=False), LossConfig())
    assert (loss.localization, loss.classification) == (0.0, 1.0)
    terms = loss(ModelOutput(output.score_logit, None, None), targets, Counts.of([targets]))
    assert terms.total.item() == pytest.approx(terms.classification.item())


def gradients(config: LossConfig) -> Tensor:
    output, targets = two_films()
    JointLoss.for_model(ModelSpec(), config)(output, targets, Counts.of([targets])).total.backward()
    assert output.map_logits is not None
    grad = output.map_logits.grad
    assert grad is not None
    return grad


def test_normal_films_and_padding_give_no_map_loss() -> None:
    grad = gradients(LossConfig())
    assert grad[1].abs().max() == 0  # a film without a fracture (the paper)
    assert grad[0, 0, 1, 1] == 0  # padding
    assert (grad[0, 0].flatten()[:3] != 0).all()


def test_normal_films_may_have_a_say() -> None:
    config = LossConfig(map_negatives=0.5)
    grad = gradients(config)
    assert (grad[1] > 0).all()  # pushed down
    output, targets = two_films()
    terms = JointLoss.for_model(ModelSpec(), config)(output, targets, Counts.of([targets]))
    alone = JointLoss.for_model(ModelSpec(), LossConfig())(output, targets, Counts.of([targets]))
    expected = (alone.localization.item() + 0.5 * softplus(1.0)) / 1.5
    assert terms.localization.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["bce", "focal", "dice", "bce_dice"])
@pytest.mark.parametrize("negatives", [0.0, 0.3])
def test_micro_batches_add_up_to_the_batch(kind: str, negatives: float) -> None:
    config = LossConfig(
        map_loss=kind,  # type: ignore[arg-type]
        map_negatives=negatives,
        label_smoothing=0.05,
        map_positive_weight=2.0,
    )
    loss = JointLoss.for_model(ModelSpec(), config)
    output, targets = random_films(9, seed=1)
    counts = Counts.of([targets])
    whole = loss(output, targets, counts)
    parts = [
        loss(
            ModelOutput(*(o[i : i + 2] for o in output if o is not None)),  # type: ignore[index]
            some(targets, slice(i, i + 2)),
            counts,
        )
        for i in range(0, 9, 2)
    ]
    for name in ("total", "localization", "classification", "region"):
        summed = sum(getattr(part, name).item() for part in parts)
        assert summed == pytest.approx(getattr(whole, name).item(), rel=1e-5)


def test_counts_add_up() -> None:
    _, targets = random_films(7, seed=2)
    halves = [some(targets, slice(3)), some(targets, slice(3, None))]
    assert Counts.of(halves) == Counts.of([targets])
    assert [a + b for a, b in zip(Counts.of(halves[:1]), Counts.of(halves[1:]), strict=True)] == list(
        Counts.of([targets])
    )


def test_a_step_without_a_fracture_is_defined() -> None:
    output, targets = random_films(3, seed=3)
    none = targets._replace(fractured=torch.zeros(3), localized=torch.zeros(3), known=torch.zeros(3))
    terms = JointLoss.for_model(ModelSpec(), LossConfig())(output, none, Counts.of([none]))
    assert terms.localization.item() == 0
    assert terms.region.item() == 0
    assert math.isfinite(terms.total.item())


def test_fractures_that_nobody_outlined_train_the_score_only() -> None:
    output, targets = two_films()
    blind = targets._replace(localized=torch.zeros(2))
    config = LossConfig(map_negatives=0.0)
    terms = JointLoss.for_model(ModelSpec(), config)(output, blind, Counts.of([blind]))
    assert terms.localization.item() == 0
    assert terms.classification.item() > 0


def test_label_smoothing_by_hand() -> None:
    output, targets = two_films()
    terms = JointLoss.for_model(ModelSpec(), LossConfig(label_smoothing=0.2))(output, targets, Counts.of([targets]))
    first = 0.9 * softplus(-1.0) + 0.1 * softplus(1.0)
    second = 0.1 * softplus(2.0) + 0.9 * softplus(-2.0)
    assert terms.classification.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_focal_and_dice_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 2.0]]]])
    targets = Targets(
        torch.ones(1), torch.tensor([[[[1.0, 1.0]]]]), torch.ones(1, 1, 1, 2), torch.ones(1), torch.zeros(1, 0),
        torch.zeros(1), torch.ones(1),
    )  # fmt: skip
    output = ModelOutput(torch.zeros(1), logits, None)
    p = [0.5, 1 / (1 + math.exp(-2.0))]

    def where(**settings: object) -> float:
        loss = JointLoss.for_model(ModelSpec(), LossConfig(**settings))  # type: ignore[arg-type]
        return loss(output, targets, Counts.of([targets])).localization.item()

    focal = sum(-((1 - q) ** 2) * math.log(q) for q in p) / 2
    assert where(map_loss="focal") == pytest.approx(focal, rel=1e-5)
    dice = 1 - (2 * sum(p) + 1) / (sum(p) + 2 + 1)
    assert where(map_loss="dice") == pytest.approx(dice, rel=1e-5)
    assert where(map_loss="bce_dice") == pytest.approx(dice + where(map_loss="bce"), rel=1e-5)


def test_a_window_that_cuts_a_fracture_away_says_nothing_of_the_score() -> None:
    output, targets = random_films(6, seed=3)
    counts = Counts.of([targets._replace(judged=torch.tensor([1.0, 1, 1, 1, 1, 0]))])
    assert counts.films == 5
    whole, without = (
        JointLoss.for_model(ModelSpec(), LossConfig())(output, t, counts).classification
        for t in (targets._replace(judged=torch.tensor([1.0, 1, 1, 1, 1, 0])), targets)
    )
    assert float(whole) < float(without)
