"""The wing of the guide (docs/extending.md) works as it stands there, and a broken one beside it does no harm."""

from __future__ import annotations

import configparser
import hashlib
import importlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import fracture
from fracture.cli.main import app
from fracture.errors import ConfigurationError, UnreadableFileError, WeightsNotFoundError
from fracture.wing.contract import (
    BUILT_IN,
    GROUP,
    BrokenWingWarning,
    Result,
    Wing,
    find_wing,
    load_reader,
    registered,
)
from fracture.wing.overlay import draw_scene
from fracture.wing.reader import ReaderBase, Taken
from fracture.wing.result import ResultBase
from fracture.wing.scene import Page, Scene, as_gray

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
    shutil.copy(repository / "docs" / "toy_wing" / "knee_series.py", site)
    monkeypatch.syspath_prepend(str(site))
    yield importlib.import_module("knee_series")
    sys.modules.pop("knee_series")


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
    files = list((repository / "docs" / "toy_wing").rglob("*.py"))
    assert sum(len(file.read_text().splitlines()) for file in files) < 200


def test_it_trains_two_steps_that_lower_the_loss(toy: Any, weights: Path, tmp_path: Path) -> None:
    from fracture.data.records import AnnotatedSet, Film
    from fracture.training.config import StageConfig

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
    facts = toy.train(annotated, load_reader(weights, device="cpu"), tmp_path / "run", config)
    first, second = facts["training"]["history"]
    assert (first["steps"], second["steps"]) == (1, 1)
    assert second["loss"] < first["loss"]
    trained = toy.KneeNetwork()
    trained.load_state_dict({k: v.float() for k, v in load_file(tmp_path / "run" / "knee.safetensors").items()})
    assert facts == toy.train(annotated, load_reader(weights), tmp_path / "run", config)  # finished: as it is


def test_it_reads_series(toy: Any, weights: Path, tmp_path: Path) -> None:
    reader = load_reader(weights, device="cpu")
    assert isinstance(reader, ReaderBase)
    one = reader.predict(series(tmp_path / "a.npz", 0.9))
    assert isinstance(one, Result)
    assert one.probability == pytest.approx(1 / (1 + np.exp(-(8 * 0.9 - 4))), abs=1e-6)
    assert one.spacing == (3.0, 0.5, 0.5)
    assert one.to_dict()["slices"] == list(one.slices)
    assert one.to_dict()["error"] is None
    assert "volume" not in one.to_dict()
    pages = one.scene().pages
    assert [page.verdict for page in pages] == ["Slice 1", "Slice 2"]
    picture = draw_scene(one.scene())
    Image.fromarray(picture).save(tmp_path / "sheet.png")
    assert picture.shape[1] >= 2 * 900
    assert len(reader.predict(tmp_path / "a.npz", most_slices=1).slices) == 1


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
        Wing("knee", toy.STORE, toy.reader_of, None)  # type: ignore[arg-type]


def test_our_entry_points_are_those_that_the_package_declares(repository: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(repository / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"][GROUP].split("\n")
    assert dict(line.split(" = ") for line in lines if line) == BUILT_IN


@dataclass(frozen=True)
class Patient:
    """Several films of one patient as one source."""

    films: tuple[fracture.Radiograph, ...]
    source: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Study(ResultBase):
    _pixels = ("patient",)

    source: str
    brightest: tuple[float, ...]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    patient: Patient | None = None

    def scene(self) -> Scene:
        films = () if self.patient is None else self.patient.films
        return Scene(tuple(Page(as_gray(film.pixels), f"View {k}") for k, film in enumerate(films, 1)))


class StudyReader(ReaderBase[Patient, "NDArray[np.float32]", Study]):
    """A source is a folder of films, or a list of them."""

    def take(self, source: Any, *, frame: int | None = None) -> Patient:
        paths = sorted(source.iterdir()) if isinstance(source, Path) else list(source)
        films = tuple(fracture.read(path, frame=frame) for path in paths)
        return Patient(films, str(source) if isinstance(source, Path) else f"{len(films)} films")

    def prepare(self, record: Patient, /) -> NDArray[np.float32]:
        return np.array([film.pixels.max() for film in record.films], np.float32)

    def examine(self, taken: Sequence[Taken[Patient, NDArray[np.float32]]], /) -> list[Study]:
        rows = np.stack([one.inputs for one in taken]).tolist()
        return [
            Study(source=one.record.source, brightest=tuple(row), patient=one.record)
            for one, row in zip(taken, rows, strict=True)
        ]


def test_a_source_may_be_several_films_of_a_patient(tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 3), ("c", 2)):
        (tmp_path / name).mkdir()
        for k in range(count):
            pixels = np.full((30, 20 + k), 60 * (k + 1), np.uint8)
            pixels[0, 0] = 0
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    (tmp_path / "c" / "1.png").write_bytes(b"not a film")
    reader = StudyReader()
    studies = [tmp_path / name for name in "abc"]
    for workers in (0, 2):
        found = list(reader.predict_many(studies, workers=workers, keep=True))
        assert [one.ok for one in found] == [True, True, False]  # one film that cannot be read fails its patient only
        assert [one.source for one in found] == list(map(str, studies))
        assert [len(one.brightest) for one in found[:2]] == [2, 3]
        assert [len(one.scene().pages) for one in found[:2]] == [2, 3]
    assert found[1].brightest == reader.predict(sorted((tmp_path / "b").iterdir())).brightest
    assert draw_scene(found[1].scene()).shape[1] >= 3 * 600
    with pytest.raises(ConfigurationError, match="several sources"):
        reader.predict_many(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="did you mean 'frame'"):
        reader.predict(tmp_path / "a", frames=1)
