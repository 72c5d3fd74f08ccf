"""Another engine in torch's place: the same answers, or a refusal; and what it compiled is kept."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fracture
from fracture.errors import ConfigurationError, ModelError
from fracture.wing import engines
from fracture.wing.engine_choice import PACKAGES
from fracture.wing.engine_formats import FORMATS, Call, Flat, Format
from fracture.wing.engines import EngineRunner, make_runner
from fracture.wing.runner import TorchRunner
from tests.test_detector import film
from tests.weights import write_weights

Arrays = Sequence[NDArray[Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.mark.parametrize("engine", list(FORMATS))
def test_an_engine_says_what_torch_says_at_any_size(tmp_path: Path, engine: Any) -> None:
    for package in PACKAGES[engine]:
        pytest.importorskip(package, reason=f"the extra [{engine}] is not installed")
    write_weights(tmp_path, sizes=(128, 128), channels=(("raw",),) * 2, maps=(True, False))
    ours, theirs = (
        fracture.load(tmp_path, device="cpu", precision="float32", engine=name) for name in ("torch", engine)
    )
    for pixels in (film(0), film(1), film(2)[:, :90]):
        expected, found = ours.predict(pixels, candidates=True), theirs.predict(pixels, candidates=True)
        assert found.probability == pytest.approx(expected.probability, abs=1e-4)
        assert found.probability_map is not None
        assert expected.probability_map is not None
        np.testing.assert_allclose(found.probability_map, expected.probability_map, atol=1e-4)


def test_openvino_in_bfloat16_says_nearly_what_torch_says(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    write_weights(tmp_path, sizes=(128,), channels=(("raw",),), maps=(True,))
    ours, theirs = (
        fracture.load(tmp_path, device="cpu", precision=precision, engine=engine)  # type: ignore[arg-type]
        for precision, engine in (("float32", "torch"), ("bfloat16", "openvino"))
    )
    for pixels in (film(0), film(2)[:, :90]):
        expected, found = ours.predict(pixels, candidates=True), theirs.predict(pixels, candidates=True)
        assert found.probability == pytest.approx(expected.probability, abs=0.03)
        assert found.probability_map is not None
        assert expected.probability_map is not None
        np.testing.assert_allclose(found.probability_map, expected.probability_map, atol=0.05)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"engine": "tensorflow"}, "unknown engine"),
        ({"engine": "onnx", "precision": "bfloat16"}, "float32"),
        ({"engine": "onnx", "device": "meta"}, "CPU"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], what: str
) -> None:
    write_weights(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ConfigurationError, match=what):
        fracture.load(tmp_path, **{"device": "cpu", **options})


@pytest.mark.parametrize("engine", list(FORMATS))
def test_an_engine_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any
) -> None:
    write_weights(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=rf"fracture-radiographs\[{engine}\]"):
        fracture.load(tmp_path, device="cpu", engine=engine)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0), requires_grad=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": x * self.factor}


class _Invented:
    """An engine of two lines: its file holds the number that it multiplies by."""

    def __init__(self, off: float = 0.0) -> None:
        self.off, self.written, self.opened, self.sizes = off, 0, 0, set[int]()
        self.dtypes: list[torch.dtype] = []
        self.form = Format(("network.txt",), self.write, self.open)

    def write(self, network: Flat, arrays: Arrays, folder: Path) -> None:
        self.written += 1
        (folder / "network.txt").write_text(str(float(network.state_dict()["owner.factor"])))

    def open(self, folder: Path, dtype: torch.dtype) -> Call:
        self.dtypes.append(dtype)
        self.opened += 1
        factor = np.float32((folder / "network.txt").read_text())
        return lambda given: [given[0] * factor + np.float32(self.off * (given[0].shape[-1] not in self.sizes))]


def _runner(monkeypatch: pytest.MonkeyPatch, invented: _Invented, network: nn.Module | None = None) -> EngineRunner:
    monkeypatch.setitem(engines.FORMATS, "openvino", invented.form)
    reference = TorchRunner(network or _Twice(), device=torch.device("cpu"), dtype=torch.float32)
    return EngineRunner(reference, "openvino")


def test_an_engine_in_bfloat16_is_held_to_what_eight_digits_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    for off, same in ((0.02, True), (0.5, False)):  # of 2
        invented = _Invented(off)
        monkeypatch.setitem(engines.FORMATS, "openvino", invented.form)
        network = _Twice().to(torch.bfloat16)
        runner = make_runner(network, device=torch.device("cpu"), dtype=torch.bfloat16, engine="openvino")
        given = {"x": torch.ones(1, 1, 4, 4, dtype=torch.bfloat16)}
        if same:
            assert runner.run(given)["y"].dtype == torch.float32
        else:
            with pytest.raises(ModelError, match=r"off by 0\.25; allowed: 0\.1"):
                runner.run(given)
        assert set(invented.dtypes) == {torch.bfloat16}
        assert network.factor.dtype == torch.float32  # what the engine's answers are held against


def test_what_was_made_for_one_precision_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    invented = _Invented()
    monkeypatch.setitem(engines.FORMATS, "openvino", invented.form)
    for dtype in (torch.float32, torch.bfloat16):
        make_runner(_Twice(), device=torch.device("cpu"), dtype=dtype, engine="openvino").run(_ones())
    assert invented.written == 2
    assert len(list(cache.glob("*/*"))) == 2


def _ones(width: int = 4) -> dict[str, NDArray[np.float32]]:
    return {"x": np.ones((1, 1, 4, width), np.float32)}


@pytest.mark.parametrize("off", [0.0, 0.01, float("nan")])
def test_answers_that_differ_from_torchs_are_refused(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    runner = _runner(monkeypatch, _Invented(off))
    if off == 0:
        assert torch.equal(runner.run(_ones())["y"], torch.full((1, 1, 4, 4), 2.0))
    else:
        with pytest.raises(ModelError, match="differently from torch"):
            runner.run(_ones())


def test_each_new_shape_is_compared_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    invented = _Invented(off=1.0)
    invented.sizes = {4}  # right at a width of 4 alone, as a network is that was traced with its sizes as constants
    runner = _runner(monkeypatch, invented)
    runner.run(_ones())
    with pytest.raises(ModelError, match="differently from torch"):
        runner.run(_ones(6))
    assert float(runner.run(_ones())["y"].max()) == 2.0


def test_a_second_process_finds_what_the_first_one_made(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    invented = _Invented()
    _runner(monkeypatch, invented).run(_ones())
    again = _runner(monkeypatch, invented)
    again.run(_ones())
    again.run(_ones(6))
    assert (invented.written, invented.opened) == (1, 2)
    other = _Twice()
    other.factor.fill_(3.0)
    assert float(_runner(monkeypatch, invented, other).run(_ones())["y"].max()) == 3.0
    assert invented.written == 2
    assert len(list(cache.glob("*/*"))) == 2


@pytest.mark.parametrize("fault", ["other bytes", "no record", "no file", "an answer that was right once", "version"])
def test_a_broken_entry_is_made_anew(monkeypatch: pytest.MonkeyPatch, cache: Path, fault: str) -> None:
    invented = _Invented()
    _runner(monkeypatch, invented).run(_ones())
    (folder,) = cache.glob("*/*")
    if fault == "other bytes":
        (folder / "network.txt").write_text("7")
    elif fault == "no record":
        (folder / "entry.json").write_text("{")
    elif fault == "no file":
        (folder / "network.txt").unlink()
    elif fault == "version":
        monkeypatch.setattr("fracture.wing.engine_choice.metadata.version", lambda name: "0")
    else:
        from fracture.regular import sha256_of

        before = sha256_of(folder / "network.txt")
        (folder / "network.txt").write_text("7")
        record = (folder / "entry.json").read_text().replace(before, sha256_of(folder / "network.txt"))
        (folder / "entry.json").write_text(record)
    for written in (2, 2):
        assert float(_runner(monkeypatch, invented).run(_ones())["y"].max()) == 2.0
        assert invented.written == written


def test_without_a_place_for_the_cache_the_engine_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "file"))
    invented = _Invented()
    for _ in range(2):
        assert float(_runner(monkeypatch, invented).run(_ones())["y"].max()) == 2.0
    assert invented.written == 2
