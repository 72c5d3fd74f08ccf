"""``engine="auto"``: the fastest engine that was measured here, and why; and what every wing makes of it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

import fracture
from fracture.cli.main import app
from fracture.errors import ConfigurationError
from fracture.wing.contract import Wing, load_reader, registered
from fracture.wing.engine_choice import PACKAGES, Measured, choose, keep_measured
from fracture.wing.engine_formats import FORMATS, Call, Flat, Format
from fracture.wing.engine_measure import largest_difference
from fracture.wing.engines import EngineRunner, resolve_engine
from tests.test_detector import film
from tests.weights import write_weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both engines count as installed."""
    for name in PACKAGES:
        monkeypatch.setitem(PACKAGES, name, ("numpy",))
    # Of torch and engines alone: packages that are imported for the first time here ask for their own, and parse it.
    told = metadata.version
    monkeypatch.setattr(
        "fracture.wing.engine_choice.metadata.version",
        lambda name: told(name) if name == "pydicom" else "1",
    )


def _measured(engine: str, ratio: float, *, same: bool = True) -> Measured:
    return Measured.now(engine, ratio=ratio, difference=1e-7, same=same, films=9)


@pytest.mark.parametrize(
    ("openvino", "onnx", "expected", "why"),
    [
        (0.8, 0.7, "onnx", "0.70 of torch's time on 9 films"),
        (0.8, 0.9, "openvino", "0.80"),
        (0.99, 1.2, "torch", "openvino 0.99; onnx 1.20"),
    ],
)
def test_the_fastest_measured_engine_is_taken(
    both: None, openvino: float, onnx: float, expected: str, why: str
) -> None:
    keep_measured("a" * 64, {"openvino": _measured("openvino", openvino), "onnx": _measured("onnx", onnx)})
    choice = choose("a" * 64)
    assert choice.engine == expected
    assert why in choice.why
    assert choose("b" * 64).engine == "torch"  # other weights were not measured
    assert resolve_engine("auto", checksum="a" * 64, device=CPU, precision="auto")[0] == expected
    assert resolve_engine("auto", checksum="a" * 64, device=torch.device("meta"), precision="auto")[0] == "torch"


@pytest.mark.parametrize("processor", [False, True])
def test_each_precision_has_a_record_and_an_engine_of_its_own(
    both: None, monkeypatch: pytest.MonkeyPatch, processor: bool
) -> None:
    monkeypatch.setattr("fracture.models.devices._cpu_has_bfloat16", lambda: processor)
    default, other = ("bfloat16", "float32") if processor else ("float32", "bfloat16")
    keep_measured("a" * 64, {"openvino": _measured("openvino", 0.6), "onnx": _measured("onnx", 0.5)})

    def resolved(precision: Any, **options: Any) -> tuple[str, torch.dtype]:
        return resolve_engine("auto", checksum="a" * 64, device=CPU, precision=precision, **options)

    assert resolved("auto") == ("onnx", torch.float32)
    assert resolved("auto", float32=True) == ("onnx", torch.float32)
    assert resolved(default) == (("openvino", torch.bfloat16) if processor else ("onnx", torch.float32))
    assert resolved(other) == ("torch", getattr(torch, other))  # not measured
    keep_measured("a" * 64, {"openvino": _measured("openvino", 0.6)}, other)
    assert resolved(other) == ("openvino", getattr(torch, other))
    keep_measured("a" * 64, {"openvino": _measured("openvino", 0.6), "onnx": _measured("onnx", 0.7)})
    assert resolved("auto") == ("openvino", getattr(torch, default))
    assert resolved("auto", float32=True) == ("openvino", torch.float32)


def test_an_engine_that_says_something_else_is_not_taken(both: None) -> None:
    keep_measured("a" * 64, {name: _measured(name, 0.3, same=False) for name in PACKAGES})
    assert choose("a" * 64).engine == "torch"
    assert "differs" in choose("a" * 64).why


def test_what_was_measured_with_other_versions_or_on_another_machine_is_not_believed(
    both: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep_measured("a" * 64, {"openvino": _measured("openvino", 0.5)})
    assert choose("a" * 64).engine == "openvino"
    record = json.loads(path.read_text())
    for broken in ("{", json.dumps({**record, "machine": {}}), json.dumps({**record, "engines": {"openvino": 3}})):
        path.write_text(broken)
        assert "not measured" in choose("a" * 64).why
    path.write_text(json.dumps(record))
    monkeypatch.setattr("fracture.wing.engine_choice.metadata.version", lambda name: "2")
    assert "fracture engines" in choose("a" * 64).why


def test_without_another_engine_auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose("a" * 64).why == "no other engine is installed"


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ({"p": 0.5, "seconds": 1.0}, {"p": 0.5, "seconds": 2.0}, 0.0),
        ({"p": 0.5, "box": [100, 2]}, {"p": 0.25, "box": [100.0, 2]}, 0.25),
        ({"box": [100.0]}, {"box": [101.0]}, 0.01),
        ({"boxes": [[1.0]]}, {"boxes": []}, float("inf")),
        ({"fractured": True}, {"fractured": False}, float("inf")),
        ({"region": "hand"}, {"region": "foot"}, float("inf")),
        ({"p": 0.5}, {"p": float("nan")}, float("inf")),
        ({"p": 0.5}, {"p": None}, float("inf")),
    ],
)
def test_results_are_compared_number_by_number(one: Any, two: Any, expected: float) -> None:
    assert largest_difference(one, two) == pytest.approx(expected)


class _Torch:
    """An engine whose file is not needed: it runs the network by torch, off by a little."""

    def __init__(self, off: float) -> None:
        self.off = off

    def form(self) -> Format:
        def write(network: Flat, arrays: Sequence[NDArray[Any]], folder: Path) -> None:
            (folder / "network.txt").write_text("")
            self.network = network

        return Format(("network.txt",), write, self.open)

    def open(self, folder: Path, dtype: torch.dtype) -> Call:
        network = self.network  # of the runner that wrote last: each opens what it has just written

        def call(given: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            with torch.inference_mode():
                return [one.numpy() * (1 + self.off) for one in network(*map(torch.from_numpy, given))]

        return call


@pytest.mark.parametrize("bfloat16", [False, True])  # torch's default where the processor multiplies in it
def test_engines_are_measured_by_the_command_and_then_taken(
    both: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bfloat16: bool
) -> None:
    monkeypatch.setattr("fracture.models.devices._cpu_has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr("fracture.wing.engine_choice.WORTH", 1e9)  # whatever the clock says here
    monkeypatch.setattr("fracture.wing.engine_cache.kept", lambda key, form: None)
    monkeypatch.setattr("fracture.wing.engines.kept", lambda key, form: None)
    monkeypatch.setitem(FORMATS, "openvino", _Torch(1e-5).form())
    monkeypatch.setitem(FORMATS, "onnx", _Torch(0.1).form())
    weights, films = tmp_path / "weights", tmp_path / "films"
    write_weights(weights, sizes=(64,), channels=(("raw",),), maps=(True,))
    films.mkdir()
    for number in range(2):
        _png(films / f"{number}.png", film(number))
    (films / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = CliRunner().invoke(app, ["engines", str(films), "--weights", str(weights)])
    assert done.exit_code == 0, done.output
    off = re.search(r"openvino: \S+ of torch's time, largest difference (\S+) ", done.output)
    assert off is not None
    assert float(off[1]) < (0.05 if bfloat16 else 1e-4)
    assert "onnx: " in done.output
    assert "onnx 'answers" not in done.output
    assert "auto: openvino" in done.output
    detector = fracture.load(weights, device="cpu")
    assert isinstance(detector.ensemble._runners[0], EngineRunner)
    assert not isinstance(fracture.load(weights, device="cpu", engine="torch").ensemble._runners[0], EngineRunner)


def _png(path: Path, pixels: NDArray[Any]) -> None:
    from PIL import Image

    Image.fromarray((np.asarray(pixels, np.float64) / max(1.0, float(pixels.max())) * 255).astype(np.uint8)).save(path)


def test_every_wing_of_ours_has_engines_and_another_says_that_it_has_none(both: None) -> None:
    for wing in (one for one in registered()[0] if one.store.default in one.store.available()):
        with pytest.raises(ConfigurationError, match="unknown engine"):
            load_reader(wing.store.default, device="cpu", engine="tensorflow")

    def reader(weights: Any, *, device: str, precision: str) -> Any:
        return device, precision

    ours = registered()[0][0]
    theirs = Wing("knee", ours.store, reader, ours.self_tests)
    opened = ours.store.open()
    assert theirs.open(opened, device="cpu") == ("cpu", "auto")
    with pytest.raises(ConfigurationError, match="torch only"):
        theirs.open(opened, engine="onnx")


def test_info_says_which_engine_and_why() -> None:
    facts = json.loads(CliRunner().invoke(app, ["info", "--json"]).output)
    assert set(facts["engines"]) >= {"fracatlas-small", "hip-small"}
    for chosen in facts["engines"].values():
        assert chosen["engine"] in ("torch", *PACKAGES)
        assert chosen["why"]


def test_a_method_of_a_network_is_known_by_its_networks_numbers() -> None:
    from fracture.wing.engine_cache import key_of
    from fracture.wing.engine_formats import network_of

    network = nn.Conv2d(1, 1, 1)
    assert network_of(network.forward) is network
    assert network_of(lambda x: x) is None
    key = key_of(network, "forward(x)", "onnx")
    assert key is not None
    assert key == key_of(network, "forward(x)", "onnx")
    assert key != key_of(network, "features(x)", "onnx")
    assert key != key_of(nn.Conv2d(1, 1, 1), "forward(x)", "onnx")
