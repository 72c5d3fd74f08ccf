"""The wing of the guide (docs/extending.md) works as it stands there, and a broken one beside it does no harm."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.errors import ConfigurationError, UnreadableFileError, WeightsNotFoundError
from fracture.wing.contract import BUILT_IN, BrokenWingWarning, Result, Wing, find_wing, load_reader, registered
from fracture.wing.overlay import draw_scene
from fracture.wing.reader import ReaderBase

AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])


def install(site: Path, name: str, entry: str) -> None:
    """What pip leaves of a package that registers one wing."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fracture.wings]\n{entry}\n")


@pytest.fixture
def toy(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    site = tmp_path / "site"
    install(site, "toy-knee", "knee-series = knee_series:WING")
    for name in ("knee_series.py", "knee_training.py"):
        shutil.copy(repository / "docs" / "toy_wing" / name, site)
    monkeypatch.syspath_prepend(str(site))
    yield importlib.import_module("knee_series")
    sys.modules.pop("knee_series")
    sys.modules.pop("knee_training", None)


@pytest.fixture
def weights(toy: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    network = toy.KneeNetwork()
    with torch.no_grad():
        network.head.weight.fill_(8.0)
        network.head.bias.fill_(-4.0)
    save_file(network.state_dict(), folder / "network.safetensors")
    sha = hashlib.sha256((folder / "network.safetensors").read_bytes()).hexdigest()
    text = dict.fromkeys(("description", "license", "intended_use"), "toy")
    card = toy.KneeCard(
        **text,
        name="toy-knee",
        version="1",
        created="2026-01-01",
        attribution=(),
        limitations=(),
        threshold=0.5,
        network={"file": "network.safetensors", "sha256": sha},
    )
    found = toy.KneeReader(network, card).predict(toy.self_test_series()).probability
    toy.KneeCard(**{**card.model_dump(), "self_test": {"probability": found}}).write(folder)
    return folder


def series(path: Path, level: float, slices: int = 2) -> Path:
    np.savez(path, voxels=np.full((slices, 20, 24), level, np.float32), affine=AFFINE)
    return path


def test_it_is_under_200_lines(repository: Path) -> None:
    assert len((repository / "docs" / "toy_wing" / "knee_series.py").read_text().splitlines()) < 200


def test_it_trains_two_steps_that_lower_the_loss(toy: Any, weights: Path, tmp_path: Path) -> None:
    from fracture.data.records import AnnotatedSet, Film
    from fracture.training.config import StageConfig

    training = importlib.import_module("knee_training")
    films = []
    for k in range(8):
        series(tmp_path / f"{k}.npz", 0.9 if k % 2 else 0.2)
        films.append(Film(f"{k}.npz", 24, 20, k % 2))
    annotated = AnnotatedSet(tuple(films), "toy", tmp_path, attribution="made by the tests")
    config = StageConfig.from_dict(
        {
            "split": {"shares": {"train": 1.0}},
            "optimizer": {"lr": 0.5},
            "loop": {"epochs": 2, "batch": 8, "patience": None, "workers": 0},
        }
    )
    facts = training.train(annotated, load_reader(weights, device="cpu"), tmp_path / "run", config)
    first, second = facts["training"]["history"]
    assert (first["steps"], second["steps"]) == (1, 1)
    assert second["loss"] < first["loss"]
    trained = toy.KneeNetwork()
    trained.load_state_dict({k: v.float() for k, v in load_file(tmp_path / "run" / "knee.safetensors").items()})
    assert facts == training.train(annotated, load_reader(weights), tmp_path / "run", config)  # finished: as it is


def test_it_reads_series(toy: Any, weights: Path, tmp_path: Path) -> None:
    reader = load_reader(weights, device="cpu")
    assert isinstance(reader, ReaderBase)
    one = reader.predict(series(tmp_path / "a.npz", 0.9))
    assert isinstance(one, Result)
    assert one.probability == pytest.approx(1 / (1 + np.exp(-(8 * 0.9 - 4))), abs=1e-6)
    assert one.spacing == (3.0, 0.5, 0.5)
    assert one.to_dict()["slices"] == list(one.slice_probabilities)
    pages = one.scene().pages
    assert [page.verdict for page in pages] == ["Slice 1", "Slice 2"]
    picture = draw_scene(one.scene())
    Image.fromarray(picture).save(tmp_path / "sheet.png")
    assert picture.shape[1] >= 2 * 900
    assert len(reader.predict(tmp_path / "a.npz", most_slices=1).slice_probabilities) == 1


def test_many_series_and_one_that_cannot_be_read(toy: Any, weights: Path, tmp_path: Path) -> None:
    reader = load_reader(weights)
    (tmp_path / "b.npz").write_bytes(b"no series")
    sources = [series(tmp_path / "a.npz", 0.9), tmp_path / "b.npz", series(tmp_path / "c.npz", 0.1, slices=3)]
    for workers in (0, 2):
        found = list(reader.predict_many(sources, workers=workers))
        assert [one.ok for one in found] == [True, False, True]
        assert isinstance(found[1].error, UnreadableFileError)
        assert [one.source for one in found] == [str(one) for one in sources]
        with pytest.raises(ConfigurationError, match="keep=True"):
            found[0].scene()
    with pytest.raises(ConfigurationError, match="did you mean 'most_slices'"):
        reader.predict_many(sources, most_slides=3)
    with pytest.raises(ConfigurationError, match="several sources"):
        reader.predict_many(np.zeros((2, 20, 24), np.float32))


def test_verify_and_info_know_it(toy: Any, weights: Path) -> None:
    told = CliRunner().invoke(app, ["verify", str(weights)])
    assert told.exit_code == 0, told.output
    assert "self-test: " in told.output
    assert "knee-series: no weights shipped" in CliRunner().invoke(app, ["info"]).output
    card = weights / "knee_card.json"
    card.write_text(card.read_text().replace('"threshold"', '"treshold"'))
    told = CliRunner().invoke(app, ["verify", str(weights)])
    assert told.exit_code == 1
    assert "treshold: unknown key" in told.output


@pytest.mark.parametrize(
    ("name", "entry", "code", "reason"),
    [
        ("absent", "absent = no_such_module:WING", "", "ModuleNotFoundError"),
        ("raises", "raises = bad_wing:WING", "raise RuntimeError('no license')", "no license"),
        ("leaves", "leaves = bad_wing:WING", "raise SystemExit(3)", "SystemExit"),
        ("other", "other = bad_wing:WING", "WING = 3", "does not name a Wing"),
        ("hips", "hips = fracture.hip.wing:WING", "", "another name"),
        ("limb", "limb = bad_wing:WING", "from fracture.limb.wing import WING", "taken by 'limb'"),
    ],
)
def test_a_broken_wing_is_named_and_the_others_go_on(
    toy: Any,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    entry: str,
    code: str,
    reason: str,
) -> None:
    site = tmp_path / "bad"
    install(site, "bad-wing", entry)
    (site / "bad_wing.py").write_text(code)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "bad_wing", raising=False)
    wings, broken = registered()
    assert [wing.name for wing in wings] == [*BUILT_IN, "knee-series"]
    assert [one.name for one in broken] == [name]
    assert reason in str(broken[0])
    told = CliRunner().invoke(app, ["verify", str(weights)])
    assert told.exit_code == 0
    assert f"the wing {name!r}" in told.output
    assert f"the wing {name!r}" in CliRunner().invoke(app, ["info"]).output
    with pytest.warns(BrokenWingWarning, match=name):
        assert load_reader(weights).predict(toy.self_test_series()).ok
    with pytest.raises(WeightsNotFoundError, match=f"the wing '{name}'"):
        find_wing("nothing-of-this-name")


def test_a_wing_must_hold_the_contract(toy: Any) -> None:
    with pytest.raises(ConfigurationError, match="self_tests=None"):
        Wing("knee", toy.STORE, toy.load, None)  # type: ignore[arg-type]
