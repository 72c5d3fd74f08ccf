"""Numbers and rules that come from the papers, each held where no radiograph is needed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fracture.data import cli as data_cli
from fracture.data.cohort import sample_test_set
from fracture.errors import TrainingError
from fracture.evaluation.findings import Settings
from fracture.evaluation.stats.reader_study import GroupReadings, margin_of
from fracture.hip import evaluation, training_data
from fracture.hip.augment import VARIANTS, FilmAugmentation, HipAugmentation, augment_film, augment_hip
from fracture.hip.classifier import allowed_mask, class_weights
from fracture.hip.crops import CropSpec, window_of
from fracture.hip.training_config import ClassifierConfig, HipSampling
from fracture.hip.training_data import HipPictures
from fracture.hip.training_stages import ClassifierStage
from fracture.training.loop import Loop
from fracture.training.presentations import Picture, presentations
from fracture.training.stage import Stage, Tuned


def _default(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def test_jones_takes_a_thousand_films_a_region_with_a_hundred_fractures_and_resamples_a_thousand_times() -> None:
    assert _default(sample_test_set, "per_region") == 1000
    assert _default(sample_test_set, "fractures_per_region") == 100
    assert _default(data_cli.sample_test, "per_region") == 1000
    assert _default(data_cli.sample_test, "fractures") == 100
    assert Settings().resamples == 1000


def test_krogue_resamples_two_thousand_times() -> None:
    assert evaluation.RESAMPLES == 2000
    assert _default(evaluation.evaluate_hips, "resamples") == 2000
    for function in (evaluation.localization, evaluation.evaluate_readings):
        assert _default(function, "bootstrap").resamples == 2000


def test_krogue_weighs_the_loss_by_class() -> None:
    classes = [("normal",)] * 8 + [("arthroplasty",)] * 2
    pictures: Any = SimpleNamespace(part=(), items=[SimpleNamespace(allowed=one) for one in classes])
    logits = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    allowed = allowed_mask(classes)

    def stage(**changes: Any) -> ClassifierStage:
        config = ClassifierConfig.from_dict(changes)
        model: Any = lambda planes: logits  # noqa: E731
        return ClassifierStage(model, config, {"train": pictures}, torch.device("cpu"))

    paper = stage()
    assert torch.equal(paper.weights, class_weights(allowed))
    batch = (torch.zeros(10, 3, 8, 8), allowed)
    loss = paper.losses(batch, [10.0])["cross_entropy"]
    labels = allowed.int().argmax(dim=1)
    each = nn.functional.cross_entropy(logits, labels, weight=class_weights(allowed), reduction="none")
    torch.testing.assert_close(loss, each.mean())
    assert torch.equal(stage(class_weighted=False).weights, torch.ones(6))
    assert torch.equal(stage(sampling={"balanced": True}).weights, torch.ones(6))


class _Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 1)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"trunk": [], "heads": list(self.parameters())}


class _Pictures:
    def order(self, epoch: int, turn: int = 0) -> list[Picture]:
        return [Picture(0, 0, 1), Picture(1, 0, 2)]

    def make(self, picture: Picture) -> torch.Tensor:
        return torch.tensor([float(picture.item), 1.0])

    def source(self, picture: Picture) -> str:
        return f"{picture.item}.png"

    def size(self, made: torch.Tensor) -> tuple[int, ...]:
        return tuple(made.shape)

    def collate(self, made: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(made))


class _Line(Stage):
    """The least that the loop trains: a line through two pictures."""

    def losses(self, batch: torch.Tensor, totals: Sequence[float]) -> dict[str, torch.Tensor]:
        return {"loss": self.model.last(batch).square().sum() / totals[0]}

    def tune(self) -> Tuned:
        return Tuned(None)

    def judge(self, folder: Path) -> dict[str, Any]:
        return {}


def _loop(config: ClassifierConfig, folder: Path) -> Loop:
    return Loop(_Line(_Toy(), config, _Pictures(), {}, torch.device("cpu")), folder)


def test_any_stage_names_the_films_that_diverged(tmp_path: Path) -> None:
    loop = _loop(ClassifierConfig.from_dict({"loop": {"epochs": 1, "batch": 2, "workers": 0}}), tmp_path)
    torch.nn.init.constant_(loop.model.last.bias, float("inf"))
    with pytest.raises(TrainingError, match=r"not finite; got loss inf, gradient norm .*; films [01]\.png, [01]\.png;"):
        loop.run()
    assert (tmp_path / "latest.safetensors").exists()


def test_krogue_lowers_the_rate_by_a_tenth_after_each_epoch(tmp_path: Path) -> None:
    config = ClassifierConfig.from_dict(
        {"optimizer": {"lr": 1e-3, "decay": 0.9}, "loop": {"epochs": 4, "batch": 1, "workers": 0}}
    )
    state = _loop(config, tmp_path).run()
    assert [row["lr"] for row in state.history] == pytest.approx([1e-3, 9e-4, 8.1e-4, 7.29e-4])


def test_krogue_shows_fourteen_images_of_a_hip_in_two_box_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    margins = HipAugmentation().margins
    assert len(set(margins)) == 2
    assert len(VARIANTS) * len(margins) == 14
    seen: list[tuple[str, int]] = []

    def drawn(*_: Any, variant: str, size: int, **__: Any) -> Any:
        seen.append((variant, size))
        return SimpleNamespace(pixels=np.zeros((4, 4), np.float32), mask=np.ones((4, 4), bool))

    monkeypatch.setattr(training_data, "augment_hip", drawn)
    pictures = object.__new__(HipPictures)
    pictures.config, pictures.forms = ClassifierConfig(), 14
    item: Any = SimpleNamespace(hip=SimpleNamespace(side="left"))
    for form in range(14):
        pictures._form(np.zeros((4, 4), np.float32), (0, 0, 4, 4), item, Picture(0, form, form), 0)
    assert set(seen) == {(variant, size) for variant in VARIANTS for size in (0, 1)}
    monkeypatch.undo()
    film, box = np.full((200, 200), 0.5, np.float32), (60.0, 60.0, 120.0, 120.0)
    for size, margin in enumerate(margins):
        crop = augment_hip(
            film, box, "right", CropSpec(), HipAugmentation(jitter=0), variant="plain", size=size, seed=1
        )
        assert crop.place.window == window_of(box, CropSpec(margin=margin))


@pytest.mark.parametrize("fresh", [False, True])
def test_fresh_draws_each_epoch_anew(fresh: bool) -> None:
    keys = [("", "normal")] * 4
    first, second = (
        {p.seed for p in presentations(keys, HipSampling(fresh=fresh), 14, seed=1, epoch=epoch)} for epoch in (0, 1)
    )
    assert (first == second) is not fresh
    assert bool(first & second) is not fresh


def test_a_random_crop_is_a_part_of_the_film() -> None:
    """With nothing else on, ``crop = 1`` always enlarges, differently each time, and ``crop = 0`` never does."""
    pixels = np.linspace(0, 1, 80 * 100, dtype=np.float32).reshape(80, 100)
    mask, boxes, sides = np.ones((80, 100), bool), np.array([[40.0, 30, 60, 50]]), np.array([0])
    off = {"flip": 0.0, "rotation": 0.0, "stretch": 1.0, "zoom": 1.0, "gamma": 1.0, "contrast": 1.0}
    areas = []
    for seed in range(12):
        made, _, found, _ = augment_film(pixels, mask, boxes, sides, FilmAugmentation(crop=1.0, **off), seed=seed)
        assert not np.allclose(made, pixels, atol=1e-3)
        areas += [float(np.prod(box[2:] - box[:2])) for box in found]
        same, _, kept, _ = augment_film(pixels, mask, boxes, sides, FilmAugmentation(crop=0.0, **off), seed=seed)
        np.testing.assert_allclose(same, pixels, atol=1e-4)
        np.testing.assert_allclose(kept, boxes, atol=1e-6)
    assert max(areas) > 450
    assert len({round(area) for area in areas}) > 3


def test_the_margin_is_of_readers_of_equal_training_alone() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 3, 3, 5, 5])
    good, fair, poor = truth.copy(), truth.copy(), np.zeros(10, np.int64)
    fair[0] = 1
    calls = np.stack([good, fair, poor])
    alike = margin_of(truth, [GroupReadings("experts", "aided", calls, ("a", "a", "b"))], evaluation.BROKEN)
    assert alike == margin_of(truth, [GroupReadings("experts", "aided", calls[:2], ("a", "a"))], evaluation.BROKEN)
    assert alike is not None
    every = margin_of(truth, [GroupReadings("experts", "aided", calls, ("a", "a", "a"))], evaluation.BROKEN)
    assert every is not None
    assert every > alike + 0.1
    assert margin_of(truth, [GroupReadings("experts", "aided", calls, ("a", "b", "c"))], evaluation.BROKEN) is None
