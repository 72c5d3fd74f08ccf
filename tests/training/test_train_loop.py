from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, OutputError, TrainingError, WeightsIntegrityError
from fracture.models import FractureModel, build_model
from fracture.training import member
from fracture.training.cache import FilmCache
from fracture.training.checkpoint import read_checkpoint, write_checkpoint
from fracture.training.config import MemberConfig
from fracture.training.dataset import Films
from fracture.training.loop import LATEST, Interrupted, Loop, State
from fracture.training.member import MemberStage
from fracture.training.stop import StopRequest, stop_on_signals

Build = Callable[..., MemberConfig]
Part = Callable[..., Films]


@pytest.fixture
def make(films_of: Part, tmp_path: Path) -> Callable[..., Loop]:
    def build(config: MemberConfig, folder: str = "run", *, tune: bool = True, **options: Any) -> Loop:
        films = options.pop("films", None) or films_of(config)
        model = build_model(config.model.replace(regions=films.regions), seed=config.seed)
        parts = {"train": films, **({"tune": films_of(config, "tune")} if tune else {})}
        return Loop(MemberStage(model, config, parts, torch.device("cpu")), tmp_path / folder, **options)

    return build


def weights(model: FractureModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def asked_after(steps: int) -> tuple[StopRequest, Callable[[State, int], None]]:
    request = StopRequest()

    def progress(state: State, _: int) -> None:
        request.asked = state.steps == steps

    return request, progress


def test_it_learns(small: Build, make: Callable[..., Loop]) -> None:
    config = small(
        preprocess={"size": 96},
        loop={"epochs": 12, "patience": None},
        optimizer={"lr": 2e-3, "ema": None},
        augmentation={"enabled": False},
    )
    loop = make(config)
    state = loop.run()
    losses = [row["loss"] for row in state.history]
    assert losses[-1] < 0.65 * losses[0]  # a cell half covered keeps a loss
    assert state.best_auc is not None
    assert state.best_auc > 0.9


@pytest.mark.parametrize(("norm", "precision"), [("group", "float32"), ("batch", "bfloat16")])
def test_an_interrupted_run_ends_with_the_same_weights(
    small: Build, make: Callable[..., Loop], films_of: Part, norm: str, precision: str
) -> None:
    config = small(model={"norm": norm}, loop={"precision": precision})
    if precision == "bfloat16":  # a few films: processors without it emulate it
        config = config.replace({"loop": {"batch": 2, "micro_batch": 2}})
        few = films_of(config)
        few = Films(AnnotatedSet(few.part.films[:6], "few", few.part.root), few.cache, config, few.regions)
        make = partial(make, films=few, tune=False)
    whole = make(config, "whole")
    whole.run()
    # Steps per epoch: 3. Left in the middle of the first epoch, at the end of it, and in the middle of the second.
    for steps in (1, 3, 5) if norm == "group" else (4,):
        stop, progress = asked_after(steps)
        parted = make(config, f"after{steps}", stop=stop, progress=progress)
        with pytest.raises(Interrupted):
            parted.run()
        assert parted.state.steps == steps
        resumed = make(config, f"after{steps}")
        resumed.run()
        assert same(weights(whole.model), weights(resumed.model))
        rows = [
            [{k: v for k, v in row.items() if "second" not in k} for row in run.state.history]
            for run in (whole, resumed)
        ]
        assert rows[0] == rows[1]


def test_another_seed_gives_other_weights(small: Build, make: Callable[..., Loop]) -> None:
    first, second = make(small(), "a"), make(small(seed=6), "b")
    first.run()
    second.run()
    assert not same(weights(first.model), weights(second.model))


def test_the_global_generator_is_left_alone(small: Build, make: Callable[..., Loop]) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    loop = make(small(loop={"epochs": 1}))
    loop.run()
    assert torch.equal(torch.rand(1), expected)


def test_accumulation_is_one_large_batch(small: Build, make: Callable[..., Loop]) -> None:
    """Without dropout and batch statistics, cutting a step into micro-batches changes rounding only."""
    settings: dict[str, Any] = {"model": {"dropout": 0.0}, "optimizer": {"ema": None}}
    # Films of one shape: the canvas of a micro-batch then does not depend on its company.
    square = {"preprocess": {"shape": "square"}}
    found = []
    for micro in (8, 4, 1):
        loop = make(small(**settings, **square, loop={"epochs": 1, "micro_batch": micro}), f"micro{micro}")
        found.append((loop.run().history[0], weights(loop.model)))
    for row, state in found[1:]:
        for term in ("loss", "localization", "classification", "region"):
            assert row[term] == pytest.approx(found[0][0][term], rel=1e-4)
        for name, value in state.items():
            # Adam divides by a gradient's size: where that is all but zero, rounding alone moves a weight.
            assert torch.isclose(value, found[0][1][name], rtol=1e-3, atol=2e-4).double().mean() > 0.999, name
            torch.testing.assert_close(value, found[0][1][name], rtol=1e-2, atol=2e-3)


def test_stops_after_patience_and_keeps_the_best(
    small: Build, make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    aucs = iter([0.6, 0.8, 0.7, 0.8, 0.75])
    monkeypatch.setattr(member, "pooled_auc", lambda outputs: next(aucs))
    kept: list[dict[str, Tensor]] = []
    loop = make(small(loop={"epochs": 9, "patience": 3}))

    def after(state: State, _: object) -> None:
        assert loop.ema is not None
        kept.append({**weights(loop.model), **{k: v.clone() for k, v in loop.ema.mean.items()}})

    loop.after_epoch = after
    state = loop.run()
    assert state.epoch == 5  # best at 2, then three epochs without gain; an equal AUC is none
    assert (state.best_epoch, state.best_auc) == (2, 0.8)
    assert same(weights(loop.model), kept[1])
    again = make(small(loop={"epochs": 9, "patience": 3}))
    again.run()  # nothing left to do
    assert same(weights(again.model), kept[1])


def test_without_a_tuning_part_the_epochs_are_fixed(small: Build, make: Callable[..., Loop]) -> None:
    loop = make(small(loop={"epochs": 3, "patience": 1}), tune=False)
    state = loop.run()
    assert (state.epoch, state.best_auc) == (3, None)
    assert [row["tuning_auc"] for row in state.history] == [None] * 3
    assert loop.ema is not None
    assert loop.ema.updates == 9


def test_a_loss_that_is_not_finite_ends_the_run_and_loses_nothing(
    small: Build, make: Callable[..., Loop], tmp_path: Path
) -> None:
    loop = make(small())
    original, steps = loop.stage.call, 0

    def poisoned(planes: Tensor, mask: Tensor) -> Any:
        nonlocal steps
        steps += 1
        output = original(planes, mask)
        return output._replace(score_logit=output.score_logit * float("nan")) if steps == 8 else output

    loop.stage.call = poisoned  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"epoch 2, step 1.*not finite.*film\d\d\.png.*lower optimizer\.lr"):
        loop.run()
    assert loop.state.steps == 3
    assert all(torch.isfinite(p).all() for p in loop.model.parameters())
    resumed = make(small())
    resumed.run()
    whole = make(small(), "whole")
    whole.run()
    assert same(weights(resumed.model), weights(whole.model))


def test_a_film_that_vanishes_in_a_later_epoch(
    small: Build, make: Callable[..., Loop], drawn: AnnotatedSet, films_of: Part, tmp_path: Path
) -> None:
    config = small()
    for film in drawn:
        (tmp_path / film.source).write_bytes(drawn.image_path(film).read_bytes())
    part = films_of(config).part
    copied = AnnotatedSet(part.films, "copied", tmp_path)
    films = Films(copied, FilmCache(tmp_path / "cache", config.preprocess), config, drawn.regions)
    victim = copied.image_path(copied[0])
    kept = victim.read_bytes()

    def vanish(state: State, _: object) -> None:
        victim.unlink(missing_ok=True)
        for stored in films.cache.folder.glob("*.safetensors"):
            stored.unlink()
        films.cache._digests.clear()

    loop = make(config, films=films, after_epoch=vanish)
    with pytest.raises(TrainingError, match=r"epoch 2.*cannot be read any more.*skip"):
        loop.run()
    _, state = read_checkpoint(tmp_path / "run" / LATEST)
    assert state["epoch"] == 1
    # Skipped on request, and told.
    asked = config.replace({"data": {"on_unreadable": "skip"}})
    skipping = make(asked, films=Films(copied, films.cache, asked, drawn.regions))
    skipped = skipping.run()
    assert skipped.skipped == [victim.name]
    assert skipped.epoch == 2
    # Restored, the run ends as if nothing had been.
    victim.write_bytes(kept)
    (tmp_path / "run" / LATEST).unlink()
    restored = make(config, films=films)
    restored.run()
    whole = make(config, "whole")
    whole.run()
    assert same(weights(restored.model), weights(whole.model))


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(
    small: Build, make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = small(loop={"patience": None})
    loop = make(config, tune=False)
    from fracture.training import checkpoint

    original = checkpoint.save_file
    writes = 0

    def filling(tensors: object, path: str, metadata: object = None) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(tensors, path, metadata=metadata)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save_file", filling)
    with pytest.raises(OutputError, match=r"the disk is full; the one before is whole.*MiB.*same command"):
        loop.run()
    assert [p.name for p in (tmp_path / "run").iterdir()] == [LATEST]
    resumed = make(config, tune=False)
    resumed.run()
    whole = make(config, "whole", tune=False)
    whole.run()
    assert same(weights(resumed.model), weights(whole.model))


def test_a_checkpoint_of_another_split_is_refused(small: Build, make: Callable[..., Loop]) -> None:
    make(small(), identity={"split": "a"}).run()
    with pytest.raises(ConfigurationError, match="a different split"):
        make(small(), identity={"split": "b"}).run()


def test_a_checkpoint_of_another_model_is_refused(small: Build, make: Callable[..., Loop]) -> None:
    make(small()).run()
    with pytest.raises(WeightsIntegrityError, match="does not fit"):
        make(small(model={"backbone": "resnet50"})).run()


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsIntegrityError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(WeightsIntegrityError, match="cannot be read"):
        read_checkpoint(tmp_path / "broken.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_checkpoint(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)}, {})


def test_checkpoints_are_written_as_often_as_asked(
    small: Build, make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    loop = make(small(loop={"checkpoint_minutes": 1e-9}))
    monkeypatch.setattr(loop, "save", lambda **_: written.append(loop.state.steps))
    loop.saved = time.monotonic()
    loop.run()
    assert set(written) == {1, 2, 3, 4, 5, 6}


def test_sigterm_becomes_a_request() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):
            if stop.asked:
                break
            time.sleep(0.01)
        assert stop.asked
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def interrupt_twice(stop: StopRequest) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    while not stop.asked:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_a_second_interrupt_interrupts() -> None:
    with stop_on_signals() as stop, pytest.raises(KeyboardInterrupt):
        interrupt_twice(stop)
