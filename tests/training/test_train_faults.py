"""Training under faults: what a killed, doubled, corrupted or starved run leaves, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fracture.atomic import hold
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.errors import (
    ConfigurationError,
    FractureError,
    InputError,
    ModelError,
    OutputError,
    TrainingError,
    WeightsIntegrityError,
)
from fracture.preprocess import PreprocessSpec
from fracture.training import train
from fracture.training.cache import FilmCache
from fracture.training.checkpoint import read_checkpoint, write_checkpoint
from fracture.training.config import MemberConfig, load_recipe
from fracture.training.finished import for_card
from fracture.training.loop import LATEST, Loop
from fracture.training.member import MemberStage
from tests import warm

Build = Callable[..., MemberConfig]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

# Half of the second checkpoint is on the disk when the process is killed.
_KILLED = """
import os, signal, sys
from pathlib import Path
from fracture.data.readers import read_annotations
from fracture.training import checkpoint, train
from fracture.training.config import MemberConfig
import json

writes, original = 0, checkpoint.save_file

def dying(tensors, path, metadata=None):
    global writes
    writes += metadata["format"].startswith("fracture-checkpoint") and "latest" in path
    original(tensors, path, metadata=metadata)
    if writes == 3:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = dying
config = MemberConfig.from_dict(json.loads(Path(sys.argv[1]).read_text()))
train(config, read_annotations(sys.argv[2]), out=sys.argv[3], progress=False)
"""


@posix
def test_killed_inside_a_checkpoint_write(small: Build, drawn_file: Path, tmp_path: Path) -> None:
    """The checkpoint before stays whole, the half one goes, and the run ends with the same weights bit for bit."""
    config = small(loop={"checkpoint_minutes": 1e-9, "overlays": 0, "maps": False})
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    arguments = [str(tmp_path / "config.json"), str(drawn_file), str(tmp_path / "run")]
    code, _, said = warm.run("-c", _KILLED, *arguments)
    assert code == -signal.SIGKILL, said
    folder = tmp_path / "run" / "small"
    assert [path.name for path in folder.glob(".*.part")] != []
    assert read_checkpoint(folder / LATEST)[1]["steps"] == 2
    resumed = train(config, read_annotations(drawn_file), out=tmp_path / "run", progress=False)
    whole = train(config, read_annotations(drawn_file), out=tmp_path / "whole", progress=False)
    assert list((tmp_path / "run").rglob("*.part")) == []
    one, other = (load_file(run.members[0].weights) for run in (resumed, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)
    ends = [read_checkpoint(tmp_path / run / "small" / LATEST)[0] for run in ("run", "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_two_trainers_in_one_folder(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    with hold(tmp_path / "run" / ".lock", "it"):
        with pytest.raises(OutputError, match=rf"the run folder .*run is in use; got process {os.getpid()}; wait"):
            train(small(), drawn, out=tmp_path / "run", progress=False)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_random_start_that_cannot_be_is_told_before_anything_is_read(tmp_path: Path) -> None:
    config = load_recipe("small_public").replace({"init": "random"})
    with pytest.raises(ModelError, match=r"--set model\.norm=group --set optimizer\.freeze_stages=0"):
        train(config, tmp_path / "no such set", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    told = config.replace({"model": {"norm": "group"}, "optimizer": {"freeze_stages": 0}})
    with pytest.raises(FractureError, match="no such set"):  # as told, it goes on to the films
        train(told, tmp_path / "no such set", out=tmp_path / "run", progress=False)


@pytest.fixture
def cached(drawn: AnnotatedSet, tmp_path: Path) -> tuple[FilmCache, Path, Path]:
    """A cache with one film, the film's file and its cached file."""
    cache = FilmCache(tmp_path / "cache", PreprocessSpec(size=96, shape="stride", enlarge=False))
    film = drawn.image_path(drawn[0])
    cache.load(film)
    (stored,) = cache.folder.glob("*.safetensors")
    return cache, film, stored


@pytest.mark.parametrize("place", [-1, -200, 60, 4, 0])
def test_a_cached_film_with_one_changed_byte_is_made_anew(
    cached: tuple[FilmCache, Path, Path], place: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache, film, stored = cached
    before = cache.load(film)
    content = bytearray(stored.read_bytes())
    content[place] ^= 0x10
    stored.write_bytes(content)
    assert cache.shape(film) == before.pixels.shape
    after = cache.load(film)
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert after.geometry == before.geometry
    assert "is damaged and is made anew" in caplog.text


@pytest.mark.parametrize("index", ["[]", "{", '{"a": 3}', '{"FILM": [1, 2, "../../x"]}', "[" * 100_000])
def test_an_index_of_the_cache_is_not_believed(cached: tuple[FilmCache, Path, Path], index: str) -> None:
    cache, film, stored = cached
    (cache.folder.parent / "files.json").write_text(index.replace("FILM", str(film.resolve())))
    again = FilmCache(cache.folder.parent, cache.spec)
    assert again.prepare([("film", film)]) == []
    assert list(again.folder.glob("*.safetensors")) == [stored]


STATE = {"epoch": 1, "step": 0, "steps": 3, "identity": {}, "threads": 1}


@pytest.mark.parametrize(
    "state",
    [
        {**STATE, "epoch": -1},
        {**STATE, "epoch": 10**9},
        {**STATE, "step": 10**9},
        {**STATE, "epoch": "1"},
        {**STATE, "history": {"a": 1}},
        {**STATE, "best_auc": [0.5]},
        {**STATE, "skipped": [1]},
        {"epoch": 1},
        {**STATE, "identity": [["set", "x"]]},
        [1, 2],
    ],
)
def test_a_hostile_state_is_refused(small: Build, films_of: Callable[..., Any], tmp_path: Path, state: Any) -> None:
    loop = _loop(small(), films_of, tmp_path)
    write_checkpoint(tmp_path / LATEST, {"model.a": torch.zeros(1)}, state)
    with pytest.raises(WeightsIntegrityError):
        loop.run()


@pytest.mark.parametrize("kind", ["names", "shape", "dtype", "no state", "pipe", "folder", "empty", "deep"])
def test_a_hostile_checkpoint_is_refused(small: Build, films_of: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    loop = _loop(small(), films_of, tmp_path)
    loop.save()
    path = tmp_path / LATEST
    tensors, state = read_checkpoint(path)
    name = next(name for name in tensors if name.startswith("model."))
    path.unlink()
    if kind == "names":
        write_checkpoint(path, {**tensors, "model.other": torch.zeros(1), "optimizer.x": torch.zeros(1)}, state)
    elif kind == "shape":
        write_checkpoint(path, {**tensors, name: torch.zeros(3, 3)}, state)
    elif kind == "dtype":
        write_checkpoint(path, {"model.a": torch.zeros(3, dtype=torch.bool)}, state)
    elif kind == "no state":
        save_file(tensors, path, metadata={"format": "fracture-checkpoint/1"})
    elif kind == "deep":
        deep = "[" * 100_000
        save_file(tensors, path, metadata={"format": "fracture-checkpoint/1", "state": deep})
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    else:
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    with pytest.raises(WeightsIntegrityError):
        _loop(small(), films_of, tmp_path).run()


def _loop(config: MemberConfig, films_of: Callable[..., Any], folder: Path) -> Loop:
    from fracture.models import build_model

    films = films_of(config)
    model = build_model(config.model.replace(regions=films.regions), seed=config.seed)
    return Loop(MemberStage(model, config, {"train": films}, torch.device("cpu")), folder)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"loop": 3}'])
def test_a_run_folder_with_a_hostile_record(small: Build, drawn: AnnotatedSet, tmp_path: Path, content: str) -> None:
    (tmp_path / "run" / "small").mkdir(parents=True)
    (tmp_path / "run" / "small" / "config.json").write_text(content)
    with pytest.raises(ConfigurationError):
        train(small(), drawn, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "model = 3",
        'model = { backbone = ["resnet18"] }',
        "member = 3",
        "[[member]]\nname = '../out'",
        "[optimizer]\nlr = nan",
        "[loop]\nepochs = 99999999999999999999999",
        "[split]\nshares = { train = 'all' }",
        "\x00",
        "x" * (2**20 + 1),
    ],
)
@pytest.mark.parametrize("hips", [False, True])
def test_a_hostile_recipe_is_refused(tmp_path: Path, text: str, hips: bool) -> None:
    from fracture.hip.training_config import load_hip_recipe

    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(FractureError):
        (load_hip_recipe if hips else load_recipe)(path)


@contextlib.contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the kernel refuses the rest, as it does on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@posix
def test_a_disk_that_fills_up_in_training(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    """It says so, leaves no half file, and the same call goes on once there is room."""
    config = small(data={"cache": str(tmp_path / "cache")}, loop={"epochs": 1, "overlays": 0, "maps": False})
    with full_disk(40_000), pytest.raises(OutputError, match=r"the disk is full.*free at least \d+ MiB.*same command"):
        train(config, drawn, out=tmp_path / "run", progress=False)
    assert list((tmp_path / "run").rglob("*.part")) == []
    assert train(config, drawn, out=tmp_path / "run", progress=False).finished


def test_films_that_are_never_drawn_do_not_teach(small: Build, drawn: AnnotatedSet, tmp_path: Path) -> None:
    """Without the films that a file of draws names, a run is another; the record counts them and names no folder."""
    config = small()
    plain = train(config, drawn, out=tmp_path / "plain", progress=False).members[0]
    normal = [film.source for film in drawn if not film.fractured]
    (tmp_path / "draws.csv").write_text("source,draws\n" + "".join(f"{source},0\n" for source in normal[:-1]))
    config = small(data={"draws": str(tmp_path / "draws.csv")})
    without = train(config, drawn, out=tmp_path / "without", progress=False).members[0]
    told = without.facts["training"]["draws"]
    assert 0 < told["never"] < len(normal)
    assert told["often"] == 0
    assert len(told["sha256"]) == 64
    assert without.facts["sha256"] != plain.facts["sha256"]
    assert str(tmp_path) not in json.dumps(for_card(without.facts["training"]))


def test_a_run_goes_on_with_the_draws_it_was_begun_with(
    small: Build, drawn: AnnotatedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of draws that was written anew is another run, as another set is; the one of before goes on."""
    file = tmp_path / "draws.csv"
    begun = "source,draws\n" + "".join(f"{film.source},1\n" for film in drawn)
    file.write_text(begun)
    config, step = small(data={"draws": str(file)}), Loop._step

    def stopping(self: Loop, made: Any) -> None:
        if self.state.steps:
            raise InputError("the folder is gone")
        step(self, made)

    monkeypatch.setattr(Loop, "_step", stopping)
    with pytest.raises(TrainingError, match="everything up to this step is saved"):
        train(config, drawn, out=tmp_path / "run", progress=False)
    monkeypatch.setattr(Loop, "_step", step)
    file.write_text(begun.replace(",1", ",2"))
    with pytest.raises(ConfigurationError, match="got a different file of draws"):
        train(config, drawn, out=tmp_path / "run", progress=False)
    file.write_text(begun)
    assert train(config, drawn, out=tmp_path / "run", progress=False).finished
