"""Networks as files for other programs: all of them, with what feeds them, and a test that others can run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.errors import ConfigurationError, DataError, ModelError
from fracture.spine.cervical.networks import build_fractures
from fracture.spine.cervical.spec import FractureSpec
from fracture.wing.contract import find_wing
from fracture.wing.engine_choice import PACKAGES
from fracture.wing.engine_formats import FORMATS, Call, Flat, Format
from fracture.wing.export import check_export, export
from tests.weights import write_cervical, write_weights


class _Saved:
    """A format that any installation has: torch's own archive of a traced network, kept in memory by its number."""

    def __init__(self) -> None:
        self.networks: list[Any] = []

    def write(self, network: Flat, arrays: Sequence[NDArray[Any]], folder: Path) -> None:
        self.networks.append(network)
        (folder / "network.onnx").write_text(str(len(self.networks) - 1))

    def open(self, folder: Path, dtype: torch.dtype) -> Call:
        number, *off = (folder / "network.onnx").read_text().split()
        network = self.networks[int(number)]

        def call(given: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            with torch.inference_mode():
                return [one.numpy() + len(off) for one in network(*map(torch.from_numpy, given))]

        return call


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> _Saved:
    form = _Saved()
    monkeypatch.setitem(PACKAGES, "onnx", ("numpy",))
    monkeypatch.setitem(FORMATS, "onnx", Format(("network.onnx",), form.write, form.open))
    return form


def _export(weights: str | Path, out: Path, to: str = "onnx") -> dict[str, Any]:
    wing, folder = find_wing(str(weights))
    list(export(wing, wing.store.open(folder), to, out))
    document: dict[str, Any] = json.loads((out / "export.json").read_text())
    return document


def test_every_network_of_a_wing_is_written_with_its_contract_card_and_test(saved: _Saved, tmp_path: Path) -> None:
    write_weights(tmp_path / "w", sizes=(64, 96), channels=(("raw",), ("raw", "lcn")), maps=(True, False))
    out = tmp_path / "out"
    told = _export(tmp_path / "w", out)
    assert told["wing"] == "limb"
    assert (out / told["card"]).is_file()
    assert len(told["networks"]) == 2
    for name, network in told["networks"].items():
        assert set(network["inputs"]) == {"planes", "mask"}
        assert network["inputs"]["planes"]["shape"][2:] == ["height", "width"]
        assert network["contract"]["preprocess"]["channels"]
        tensors = load((out / f"{name}.test.safetensors").read_bytes())
        assert len([key for key in tensors if key.startswith("out.")]) == len(network["outputs"])
        assert network["outputs"][0] == "score_logit"
    assert [len(line) > 0 for line in check_export(out)] == [True, True]


@pytest.mark.parametrize("weights", ["hip-small", "joints-small", "lumbar-small", "cervical-small"])
def test_the_other_wings_are_exported_whole(saved: _Saved, tmp_path: Path, weights: str) -> None:
    wing, folder = find_wing(weights)
    told = _export(weights, tmp_path / "out")
    assert {*told["networks"]} == {Path(part.file).stem for part in wing.store.card.read(folder).files}
    assert len(list(check_export(tmp_path / "out"))) == len(told["networks"])


def test_the_shapes_of_the_judge_of_necks_follow_from_its_inputs_alone() -> None:
    judge = build_fractures(FractureSpec(widths=(4, 4, 4), hidden=4), seed=0).eval()
    draw = torch.Generator().manual_seed(0)
    x, mask = torch.rand((2, 2, 7, 33, 32, 32), generator=draw)
    seen = torch.tensor([[1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1]]).bool()
    slot = torch.tensor([[1, 0, 2, 0, 0, 3, 0], [0, 0, 0, 0, 0, 0, 4]])
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's
        whole = judge(x, mask, seen)
        call = Flat(judge.packed, ("x", "mask", "slot"))
        traced = torch.jit.trace(call, (x[0], mask[0], torch.arange(1, 8)[None]), check_trace=False)  # type: ignore[no-untyped-call]
        for given, right in zip(traced(x[seen], mask[seen], slot), whole.values(), strict=True):
            torch.testing.assert_close(given, right, atol=1e-5, rtol=1e-5)


@pytest.mark.release  # minutes: torch's exporter takes 10 s for a network
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("weights", ["fracatlas-small", "hip-small", "joints-small", "lumbar-small", "cervical-small"])
def test_every_wing_that_ships_is_exported_for_every_engine(tmp_path: Path, weights: str, engine: str) -> None:
    for package in PACKAGES[engine]:
        pytest.importorskip(package, reason=f"the extra [{engine}] is not installed")
    told = _export(weights, tmp_path / "out", engine)
    assert max(network["off"] for network in told["networks"].values()) < 1e-4
    assert len(list(check_export(tmp_path / "out"))) == len(told["networks"])


def test_a_network_that_cannot_be_exported_says_why(
    saved: _Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(network: Flat, arrays: Sequence[NDArray[Any]], folder: Path) -> None:
        raise RuntimeError("\nCould not guard on data-dependent expression u0\nand a long story")

    monkeypatch.setitem(FORMATS, "onnx", Format(("network.onnx",), fails, saved.open))
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    with pytest.raises(ModelError, match="cannot be exported") as caught:
        _export(tmp_path / "w", tmp_path / "out")
    assert caught.value.got == "RuntimeError: Could not guard on data-dependent expression u0"
    assert caught.value.hint


def test_weights_without_a_self_test_are_not_exported_as_nothing(saved: _Saved, tmp_path: Path) -> None:
    write_cervical(tmp_path / "w")
    with pytest.raises(ConfigurationError, match="no self-test"):
        _export(tmp_path / "w", tmp_path / "out")


def test_a_file_that_was_changed_or_says_something_else_is_noticed(saved: _Saved, tmp_path: Path) -> None:
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    out = tmp_path / "out"
    document = _export(tmp_path / "w", out)
    ((name, network),) = document["networks"].items()
    file = out / f"{name}.onnx"
    before = file.read_text()
    file.write_text(before + " off")
    with pytest.raises(DataError, match="not the file"):
        list(check_export(out))
    from fracture.regular import sha256_of

    network["files"][file.name] = sha256_of(file)
    (out / "export.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="differently here"):
        list(check_export(out))
    (out / "export.json").write_text("[]")
    with pytest.raises(DataError, match="no export"):
        list(check_export(out))


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    saved: _Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wing, folder = find_wing("hip-small")
    opened = wing.store.open(folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(ConfigurationError, match="holds something"):
        export(wing, opened, "onnx", tmp_path / "full")
    with pytest.raises(ConfigurationError, match="unknown format"):
        export(wing, opened, "tflite", tmp_path / "out")
    monkeypatch.setitem(PACKAGES, "openvino", ("no_such_package",))
    with pytest.raises(ConfigurationError, match=r"fracture-radiographs\[openvino\]"):
        export(wing, opened, "openvino", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_checks(saved: _Saved, tmp_path: Path) -> None:
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    runner, out = CliRunner(), str(tmp_path / "out")
    assert runner.invoke(app, ["export", str(tmp_path / "w"), "--to", "onnx", "--out", out]).exit_code == 0
    done = runner.invoke(app, ["export", out, "--check"])
    assert done.exit_code == 0, done.output
    assert "from torch's answers" in done.output
    assert isinstance(runner.invoke(app, ["export", out]).exception, ConfigurationError)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_installed_engine_runs_what_was_exported(tmp_path: Path, engine: str) -> None:
    for package in PACKAGES[engine]:
        pytest.importorskip(package, reason=f"the extra [{engine}] is not installed")
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    told = _export(tmp_path / "w", tmp_path / "out", engine)
    assert all(network["off"] < 1e-3 for network in told["networks"].values())
    assert np.isfinite([float(line.split()[3]) for line in check_export(tmp_path / "out")]).all()
