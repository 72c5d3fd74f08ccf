"""Checkpoints of several files: each small enough to travel, together one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fracture.errors import OutputError, WeightsIntegrityError
from fracture.models import ModelSpec, build_model
from fracture.training import checkpoint
from fracture.training.checkpoint import gather, read_checkpoint, write_checkpoint
from fracture.training.optim import Ema


def tensors(value: float = 0.0) -> dict[str, Tensor]:
    """Five of 400 bytes, and one of 4,000 among them."""
    found = {f"model.{name}": torch.full((100,), value + number) for number, name in enumerate("abcde")}
    return {**dict(list(found.items())[:2]), "model.large": torch.full((1000,), value), **found}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parts(path: Path) -> list[str]:
    with safe_open(str(path), framework="pt") as file:
        return list(json.loads((file.metadata() or {}).get("parts", "[]")))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_several_files_come_back_as_one(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    write_checkpoint(path, tensors(), {"steps": 3}, part_bytes=1000)
    assert len(parts(path)) == 3  # two, the large one alone, two, one
    assert names(tmp_path) == sorted(["latest.safetensors", *parts(path)])
    found, state = read_checkpoint(path)
    assert same(found, tensors())
    assert state == {"steps": 3}


def test_the_files_of_the_checkpoint_before_go_and_those_of_others_stay(tmp_path: Path) -> None:
    path, other = tmp_path / "latest.safetensors", tmp_path / "best.safetensors"
    write_checkpoint(other, tensors(7.0), {}, part_bytes=1000)
    write_checkpoint(path, tensors(), {}, part_bytes=1000)
    (tmp_path / "latest.0123abcd.9.safetensors").touch()  # of one that was killed before it was whole
    (tmp_path / "latest.notes.safetensors").touch()  # nothing of ours
    write_checkpoint(path, tensors(1.0), {}, part_bytes=1000)
    expected = ["latest.safetensors", "best.safetensors", "latest.notes.safetensors", *parts(path), *parts(other)]
    assert names(tmp_path) == sorted(expected)
    assert same(read_checkpoint(path)[0], tensors(1.0))
    assert same(read_checkpoint(other)[0], tensors(7.0))
    write_checkpoint(path, {"model.a": torch.zeros(1)}, {})
    assert not [name for name in names(tmp_path) if checkpoint._is_beside(path, name)]


@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_a_write_that_fails_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    path = tmp_path / "latest.safetensors"
    write_checkpoint(path, tensors(), {"steps": 1}, part_bytes=1000)
    before = names(tmp_path)
    written = 0

    def full(content: dict[str, Tensor], target: str, metadata: dict[str, str]) -> None:
        nonlocal written
        written += 1
        if written == fails:
            raise OSError(28, "No space left on device")
        save_file(content, target, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OutputError, match="disk"):
        write_checkpoint(path, tensors(1.0), {"steps": 2}, part_bytes=1000)
    assert names(tmp_path) == before
    found, state = read_checkpoint(path)
    assert same(found, tensors())
    assert state == {"steps": 1}


def test_what_cannot_be_read_now_is_not_taken_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that fails for a moment costs no file of the checkpoint in it."""
    path = tmp_path / "latest.safetensors"
    write_checkpoint(path, tensors(), {"steps": 1}, part_bytes=1000)

    def failing(*given: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", failing)
        patch.setattr("fracture.training.checkpoint.safetensors.safe_open", failing)
        with pytest.raises(OutputError):
            write_checkpoint(path, tensors(1.0), {"steps": 2}, part_bytes=1000)
    assert same(read_checkpoint(path)[0], tensors())


def test_a_missing_or_foreign_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    write_checkpoint(path, tensors(), {}, part_bytes=1000)
    first, second, _ = (tmp_path / name for name in parts(path))
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(WeightsIntegrityError, match=f"{second.name}: no checkpoint there"):
        read_checkpoint(path)
    second.write_bytes(first.read_bytes())
    with pytest.raises(WeightsIntegrityError, match="a file of another checkpoint"):
        read_checkpoint(path)
    second.write_bytes(content[:-1])
    with pytest.raises(WeightsIntegrityError, match="cannot be read"):
        read_checkpoint(path)
    second.write_bytes(content)
    assert same(read_checkpoint(path)[0], tensors())


@pytest.mark.parametrize("found", ["1", '["../latest.0123abcd.2.safetensors"]', "[1]", "[", '["split.json"]'])
def test_only_files_of_its_own_are_read(tmp_path: Path, found: str) -> None:
    path = tmp_path / "latest.safetensors"
    save_file(tensors(), path, metadata={"format": checkpoint.FORMAT, "state": "{}", "parts": found})
    with pytest.raises(WeightsIntegrityError, match="cannot be read"):
        read_checkpoint(path)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_no_file_of_a_shipped_network_is_larger_than_16_mb(tmp_path: Path, backbone: str) -> None:
    model = build_model(ModelSpec(backbone=backbone, stages=3, output_stride=16, pyramid=True, map_skip=False))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    ema = Ema(model, 0.99)
    path = tmp_path / "latest.safetensors"
    whole = gather(model, optimizer, ema)
    write_checkpoint(path, whole, {"steps": 1})
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) > 4
    assert max(sizes) < 16_000_000
    assert same(read_checkpoint(path)[0], whole)
