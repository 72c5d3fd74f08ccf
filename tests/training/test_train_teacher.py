"""A network learns what others say: the loss by hand and at its least, and a training that follows its teacher."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, WeightsIntegrityError
from fracture.models import ModelOutput, ModelSpec
from fracture.regular import sha256_of
from fracture.training import train
from fracture.training.config import LossConfig, MemberConfig
from fracture.training.finished import for_card
from fracture.training.loss import Counts, JointLoss
from fracture.training.teacher import Teachers, Told, teacher_loss
from tests.training.test_train_cell_loss import PLACES, cells
from tests.training.test_train_loss import two_films
from tests.training.test_train_region_head import PYRAMID

Build = Callable[..., MemberConfig]
LOSS = JointLoss.for_model(ModelSpec(), LossConfig(localization=1.0, classification=1.0, box=2.0))


def entropy(target: float, logit: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_score_and_map_by_hand() -> None:
    """The mean over films of each film's score, and of the mean over its cells that are image."""
    output, targets = two_films()
    told = Told(torch.tensor([0.8, 0.1]), torch.full((2, 1, 2, 2), 0.25), None, None)
    found = teacher_loss(LOSS, output, told, targets, Counts.of([targets]))
    score = (entropy(0.8, 1.0) + entropy(0.1, -2.0)) / 2
    first = sum(entropy(0.25, logit) for logit in (0.5, -1.0, 2.0)) / 3  # the fourth cell is padding
    assert found.item() == pytest.approx(0.5 * score + 0.5 * (first + entropy(0.25, 1.0)) / 2)


def test_cells_by_hand() -> None:
    """Two cells: one that the teacher is sure of, one below the least quality, whose box teaches nothing."""
    _, targets = two_films()
    one = targets._replace(**{name: getattr(targets, name)[:1] for name in targets._fields if name != "cells"})
    boxes = torch.tensor([[0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    output = ModelOutput(torch.zeros(1), None, None, cells(torch.tensor([0.0, -3.0]), boxes))
    wanted = torch.tensor([[0.6, 0.05]])
    told = Told(torch.tensor([0.5]), None, wanted, torch.tensor([[[0.0, 0.0, 10.0, 10.0], [90.0, 90.0, 99.0, 99.0]]]))
    found = teacher_loss(LOSS, output, told, one, Counts.of([one]))
    p = 1 / (1 + math.exp(3))
    quality = entropy(0.6, 0.0) * 0.1**2 + entropy(0.05, -3.0) * (0.05 - p) ** 2
    box = 0.6 * (1 - 0.5)  # half of the box is the teacher's, and the hull is the box
    assert found.item() == pytest.approx(0.5 * math.log(2) + 2.0 * (box + 0.5 * quality), rel=1e-4)


def test_the_loss_is_least_where_the_teacher_is_met() -> None:
    """No gradient reaches a network that says what its teacher says."""
    _, targets = two_films()
    generator = torch.Generator().manual_seed(0)
    logits, quality = torch.randn(2, generator=generator), torch.randn(2, len(PLACES), generator=generator) - 2
    where = torch.randn(2, 1, 2, 2, generator=generator)
    corners = PLACES[:, :2] - 20 * torch.rand(2, len(PLACES), 2, generator=generator) - 4
    boxes = torch.cat([corners, corners + 60], dim=-1)
    told = Told(logits.sigmoid(), where.sigmoid(), quality.sigmoid(), boxes)
    for moved in (0.0, 0.3):
        score, spots, cell = ((t + moved).requires_grad_() for t in (logits, where, quality))
        output = ModelOutput(score, spots, None, cells(cell[0], boxes[0])._replace(quality=cell, boxes=boxes))
        teacher_loss(LOSS, output, told, targets, Counts.of([targets])).backward()
        steepest = max(float(t.grad.abs().max()) for t in (score, spots, cell) if t.grad is not None)
        assert (steepest < 1e-6) == (moved == 0.0)


def test_a_small_network_follows_its_teacher(drawn: AnnotatedSet, small: Build, tmp_path: Path) -> None:
    """The teacher calls every film fractured, and the labels half of them."""
    run = tmp_path / "run"
    base = small(**PYRAMID).replace({"loop": {"workers": 0}, "optimizer": {"lr": 3e-3}})
    train(base.replace({"name": "teacher"}), drawn, out=run, progress=False)
    tensors = load_file(run / "teacher.safetensors")
    tensors["heads.score.bias"] += 4.0
    save_file(tensors, run / "teacher.safetensors")
    facts = json.loads((run / "teacher.json").read_text())
    (run / "teacher.json").write_text(json.dumps({**facts, "sha256": sha256_of(run / "teacher.safetensors")}))
    learner = base.replace({"seed": 9, "loop": {"epochs": 3}, "optimizer": {"head_lr": 3e-2}})
    told = {"networks": [str(run / "teacher.safetensors")], "weight": 20.0}
    said = {}
    for name, teacher in (("alone", {}), ("taught", told)):
        train(learner.replace({"name": name, "teacher": teacher}), drawn, out=run, progress=False)
        lines = (run / name / "predictions_validation.jsonl").read_text().splitlines()
        said[name] = sum(json.loads(line)["probability"] for line in lines) / len(lines)
    assert said["taught"] > 0.8
    assert said["alone"] < 0.7
    facts = json.loads((run / "taught.json").read_text())["training"]
    assert set(facts["teachers"]) == {"teacher.safetensors"}
    assert "teacher" in facts["history"][0]
    assert for_card(facts)["config"]["teacher"]["networks"] == ["teacher.safetensors"]
    assert "teachers" not in json.loads((run / "alone.json").read_text())["training"]


def test_a_teacher_sees_its_own_planes(tmp_path: Path, drawn: AnnotatedSet, small: Build) -> None:
    """A learner of both planes is told by a network of one of them what that says of this plane alone."""
    base = small(**PYRAMID).replace({"loop": {"epochs": 1, "workers": 0}})
    train(base, drawn, out=tmp_path / "run", progress=False)
    file, cpu = str(tmp_path / "run" / "small.safetensors"), torch.device("cpu")
    assert base.model.inputs == ("raw",)
    planes = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 1, 64, 64)
    both = Teachers.read([file], base.model.replace(inputs=("raw", "lcn")), cpu)
    assert both.planes == ((0,),)
    assert torch.equal(both(planes, mask).score, Teachers.read([file], base.model, cpu)(planes[:, :1], mask).score)
    other = replace(both, planes=((1,),))
    assert not torch.equal(other(planes, mask).score, both(planes, mask).score)


def test_who_cannot_teach_is_told(tmp_path: Path, drawn: AnnotatedSet, small: Build) -> None:
    base = small(**PYRAMID).replace({"loop": {"epochs": 1, "workers": 0}})
    train(base, drawn, out=tmp_path / "run", progress=False)
    file, cpu = tmp_path / "run" / "small.safetensors", torch.device("cpu")
    spec = base.model
    (teacher,) = Teachers.read([str(file)], spec, cpu).models
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(ConfigurationError, match="sees planes that the learner does not"):
        Teachers.read([str(file)], spec.replace(inputs=("lcn",)), cpu)
    lonely = tmp_path / "elsewhere" / "small.safetensors"
    lonely.parent.mkdir()
    shutil.copyfile(file, lonely)
    with pytest.raises(ConfigurationError, match="nothing says what network it is"):
        Teachers.read([str(lonely)], spec, cpu)
    facts = json.loads(file.with_suffix(".json").read_text())
    entry = {"file": lonely.name, "sha256": facts["sha256"], "model": facts["model"]}
    (lonely.parent / "card.json").write_text(json.dumps({"members": [entry]}))
    again = Teachers.read([str(lonely)], spec, cpu).models[0]
    assert all(
        torch.equal(tensor, again.state_dict()[name].to(tensor.dtype)) for name, tensor in load_file(file).items()
    )
    (lonely.parent / "card.json").write_text(json.dumps({"members": [{**entry, "sha256": "0" * 64}]}))
    with pytest.raises(WeightsIntegrityError, match="not the file that its description names"):
        Teachers.read([str(lonely)], spec, cpu)
