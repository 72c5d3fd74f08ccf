"""Another engine in torch's place: the same answers, or a refusal."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fracture
from fracture.errors import ConfigurationError, ModelError
from fracture.wing.engines import OpenVinoRunner
from fracture.wing.runner import TorchRunner
from tests.test_detector import film
from tests.weights import write_weights

Arrays = list[NDArray[Any]]


def test_openvino_says_what_torch_says_at_any_size(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    write_weights(tmp_path, sizes=(128, 128), channels=(("raw",),) * 2, maps=(True, False))
    ours, theirs = (
        fracture.load(tmp_path, device="cpu", precision="float32", engine=engine) for engine in ("torch", "openvino")
    )
    for pixels in (film(0), film(1), film(2)[:, :90]):
        expected, found = ours.predict(pixels, candidates=True), theirs.predict(pixels, candidates=True)
        assert found.probability == pytest.approx(expected.probability, abs=1e-4)
        assert found.probability_map is not None
        assert expected.probability_map is not None
        np.testing.assert_allclose(found.probability_map, expected.probability_map, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"engine": "tensorflow"}, "unknown engine"),
        ({"engine": "openvino", "precision": "bfloat16"}, "float32"),
        ({"engine": "openvino", "device": "meta"}, "CPU"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], what: str
) -> None:
    write_weights(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ConfigurationError, match=what):
        fracture.load(tmp_path, **{"device": "cpu", **options})


def test_an_engine_that_is_not_installed_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"fracture-radiographs\[openvino\]"):
        fracture.load(tmp_path, device="cpu", engine="openvino")


@pytest.mark.parametrize("off", [0.0, 0.01, float("nan")])
def test_answers_that_differ_from_torchs_are_refused(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    def compiled(reference: TorchRunner, names: tuple[str, ...], arrays: Arrays) -> Callable[[Arrays], Arrays]:
        return lambda given: [given[0] * 2 + np.float32(off)]

    monkeypatch.setattr("fracture.wing.engines._compiled", compiled)
    runner = OpenVinoRunner(TorchRunner(lambda x: {"y": x * 2}, device=torch.device("cpu"), dtype=torch.float32))
    ones = np.ones((1, 1, 4, 4), np.float32)
    if off == 0:
        assert torch.equal(runner.run({"x": ones})["y"], torch.full((1, 1, 4, 4), 2.0))
    else:
        with pytest.raises(ModelError, match="differently from torch"):
            runner.run({"x": ones})
