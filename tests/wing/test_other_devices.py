"""What networks say lies on their device: every wing copies it to the host before numpy sees it.

No GPU is at hand where these tests run. Outputs of networks are made such that what CUDA refuses is refused here too:
a direct way into numpy, and arithmetic with a tensor of the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import fracture
from fracture.wing.contract import find_wing
from fracture.wing.engine_formats import leaves
from fracture.wing.engines import rebuilt
from fracture.wing.runner import TorchRunner, Values
from fracture.wing.verification import self_test_film

_GPU = torch.device("cuda", 0)
_INTO_NUMPY = (torch.Tensor.numpy, torch.Tensor.__array__)
_WHERE = torch.Tensor.device.__get__  # type: ignore[attr-defined]


class _Elsewhere(torch.Tensor):
    """A tensor that behaves as one on a GPU would."""

    alone: ClassVar[bool] = True
    """Arithmetic with a tensor of the host is refused."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _WHERE:
            return _GPU
        if func in _INTO_NUMPY:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        found = super().__torch_function__(func, types, args, kwargs or {})
        mixed = any(type(one) is torch.Tensor and one.ndim for one in args)
        if cls.alone and mixed and func is not torch.Tensor.__getitem__:
            raise RuntimeError("expected all tensors to be on the same device, cuda:0 and cpu")
        return found


class _Made(TorchFunctionMode):
    """A tensor that is made on the GPU, or moved there, is elsewhere too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if given.get("device") != _GPU and not any(isinstance(one, torch.device) and one == _GPU for one in args):
            return func(*args, **given)
        given.pop("device", None)
        return func(*("cpu" if isinstance(one, torch.device) else one for one in args), **given).as_subclass(_Elsewhere)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Networks' outputs are elsewhere; the names of those that ran."""
    run, ran = TorchRunner.run, list[str]()

    def moved(self: TorchRunner, inputs: Mapping[str, Values]) -> Mapping[str, Any]:
        ran.append(self.name)
        found = run(self, inputs)
        outputs: Mapping[str, Any] = rebuilt(found, iter([one.as_subclass(_Elsewhere) for one in leaves(found)]))
        return outputs

    monkeypatch.setattr(TorchRunner, "run", moved)
    with _Made():
        yield ran


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    there, here = torch.ones(2).as_subclass(_Elsewhere), torch.ones(2)
    for wrong in (there.numpy, lambda: np.asarray(there), lambda: there * here, lambda: torch.maximum(here, there)):
        with pytest.raises((TypeError, RuntimeError), match="cuda"):
            wrong()
    np.testing.assert_array_equal((there * 2).cpu().numpy(), [2, 2])


@pytest.mark.parametrize("weights", ["fracatlas-small", "hip-small", "joints-small", "lumbar-small", "cervical-small"])
def test_no_wing_takes_a_gpus_tensor_for_the_hosts(
    elsewhere: list[str], monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    # Hips' heads run once more, on what they derive from their own numbers, which lie on the host here.
    monkeypatch.setattr(_Elsewhere, "alone", weights != "hip-small")
    wing, folder = find_wing(weights)
    opened = wing.store.open(folder)
    assert list(wing.self_tests(opened))
    assert {name for name in elsewhere if name}


def test_the_detector_tells_boxes_of_a_gpus_tensors(elsewhere: list[str]) -> None:
    detector = fracture.load("fracatlas-small", device="cpu", engine="torch")
    found = detector.predict(self_test_film(), candidates=True)
    assert found.candidates
    assert found.probability_map is not None
    assert len(elsewhere) == len(detector.card.members)
