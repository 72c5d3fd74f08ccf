"""The readers of all wings: one film's trouble is its own, and the request is checked at the call."""

from __future__ import annotations

import gc
import inspect
import io
import os
import pickle
import textwrap
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fracture
import fracture.hip
from fracture.errors import (
    ConfigurationError,
    FractureError,
    InputError,
    OperatingPointError,
    RegionError,
    UnexpectedError,
    unforeseen,
)
from fracture.wing.reader import ReaderBase
from tests import warm
from tests.hip.weights import write_hip_weights
from tests.not_radiographs import page

Reader = Any  # a Detector or a HipReader; both are ReaderBase


def film(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((150, 200)).astype(np.float32)


@pytest.fixture(scope="module", params=["limb", "hip"])
def reader(request: pytest.FixtureRequest, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    if request.param == "limb":
        return fracture.load(tiny_weights, device="cpu", precision="float32")
    folder = tmp_path_factory.mktemp("wing") / "hips"
    write_hip_weights(folder)
    return fracture.hip.load(folder, device="cpu", precision="float32")


def failing(function: Callable[..., Any], at: int, error: BaseException) -> Callable[..., Any]:
    """The function, but for its call number ``at`` (from 0), which raises."""
    calls = iter(range(10_000))

    def wrapped(*args: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise error
        return function(*args, **named)

    return wrapped


def test_both_readers_are_one(reader: Reader) -> None:
    assert isinstance(reader, ReaderBase)
    for name in ("_one", "_many", "_taken", "_results", "_check_request"):
        assert name not in vars(type(reader))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", ["prepare", "examine"])
def test_an_unforeseen_error_is_the_film_s_own(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, step: str, workers: int
) -> None:
    bad = film(2)
    inner = getattr(reader, step)

    def trouble(given: Any) -> Any:
        films = [given] if step == "prepare" else [one.record for one in given]
        if any(np.array_equal(one.pixels, bad) for one in films):
            raise ZeroDivisionError("no spacing")
        return inner(given)

    monkeypatch.setattr(reader, step, trouble)
    results = list(reader.predict_many([film(0), film(1), bad, film(3)], workers=workers))
    assert [result.ok for result in results] == [True, True, False, True]
    error = results[2].error
    assert isinstance(error, UnexpectedError)
    assert isinstance(error, InputError)
    assert "ZeroDivisionError in test_reader.py" in str(error)
    assert "no spacing" in str(error)
    assert "report" in str(error)
    assert "raise ZeroDivisionError" in error.details
    assert results[2].to_dict()["error"]["type"] == "UnexpectedError"
    with pytest.raises(UnexpectedError) as caught:
        reader.predict(bad)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert pickle.loads(pickle.dumps(error)).details == error.details


def test_an_error_while_a_file_is_parsed_is_not_quoted(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser's error may hold the patient's name."""

    def parse(*_: Any, **__: Any) -> None:
        raise ValueError("invalid literal: 'DOE^JANE'")

    monkeypatch.setattr("fracture.wing.reader.read", parse)
    error = next(reader._many(["a.dcm"], lambda found: found, batch_size=1, workers=0)).error
    assert "ValueError" in str(error)
    assert "DOE" not in str(error)
    assert "DOE" in error.details


def test_what_only_one_film_of_a_batch_does_wrong_costs_no_other(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    wanted = [detector.predict(film(k)).probability for k in range(4)]
    monkeypatch.setattr(detector.ensemble, "run", failing(detector.ensemble.run, 0, RuntimeError("four at once")))
    results = list(detector.predict_many([film(k) for k in range(4)], batch_size=4))
    assert [result.ok for result in results] == [True] * 4
    np.testing.assert_allclose([r.probability for r in results if r.ok], wanted, atol=1e-6)


def test_judging_and_dropping_are_the_film_s_own_too(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    monkeypatch.setattr(detector, "judge", failing(detector.judge, 1, ValueError("math domain error")))
    results = list(detector.predict_many([film(0), film(1), film(2)]))
    assert [result.ok for result in results] == [True, False, True]
    assert results[1].seconds > 0


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_interrupts_and_lack_of_memory_stay_what_they_are(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    for step in ("prepare", "examine"):
        with monkeypatch.context() as patch:
            patch.setattr(reader, step, failing(getattr(reader, step), 0, error))
            with pytest.raises(type(error)):
                list(reader.predict_many([film(0), film(1)]))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_caller_s_iterator_fails_after_its_films(reader: Reader, workers: int) -> None:
    def sources() -> Iterator[Any]:
        yield from (film(k) for k in range(3))
        raise OSError("the network drive is gone")

    results: list[bool] = []
    with pytest.raises(OSError, match="network drive"):
        results.extend(result.ok for result in reader.predict_many(sources(), workers=workers))
    assert results == [True] * 3


def test_odd_sources_fail_alone(reader: Reader) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError("no words")

        __str__ = __repr__

        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    class Path2(os.PathLike[str]):
        def __fspath__(self) -> str:
            raise OSError("nowhere")

        def __repr__(self) -> str:
            raise ValueError("no words")

    sources = [film(0), Odd(), Path2(), "no/such/\udcff.png", "a\0b.png", b"", None, 7, object(), [1, 2], film(1)]
    results = list(reader.predict_many(sources))
    assert [result.ok for result in results] == [True] + [False] * 9 + [True]
    assert results[3].source == "no/such/\udcff.png"
    for result in results[1:-1]:
        assert isinstance(result.error, FractureError)
        result.to_dict()


def test_a_tensor_that_requires_grad_is_read(reader: Reader) -> None:
    tensor = torch.from_numpy(film()).requires_grad_()
    (result,) = reader.predict_many([tensor])
    assert result.ok
    assert (result.width, result.height) == (200, 150)
    (failed,) = reader.predict_many([torch.zeros(20, 20, dtype=torch.bfloat16)])
    assert not failed.ok
    assert not isinstance(failed.error, UnexpectedError)


def test_failures_hold_no_films(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(radiograph: Any) -> None:
        raise ValueError(radiograph.source)

    monkeypatch.setattr(reader, "prepare", trouble)
    source = film()
    gone = weakref.ref(source)
    (failure,) = reader.predict_many([source])
    del source
    gc.collect()
    assert gone() is None
    assert not failure.ok


def test_a_page_of_text_is_told(reader: Reader) -> None:
    (result,) = reader.predict_many([page(0)])
    assert result.ok
    assert any("page of text" in warning for warning in result.warnings)


def test_requests_are_checked_at_the_call(reader: Reader, tmp_path: Path) -> None:
    for one in (
        "film.png",
        b"film",
        tmp_path,
        film(),
        fracture.read(film()),
        Image.new("L", (9, 9)),
        io.BytesIO(b"film"),
        7,
    ):
        with pytest.raises(ConfigurationError, match="several sources"):
            reader.predict_many(one)
    with pytest.raises(ConfigurationError, match="window"):
        reader.predict_many([film()], window="wide")
    with pytest.raises(ConfigurationError, match="frame"):
        reader.predict_many([film()], frame=-1)
    with pytest.raises(ConfigurationError, match="did you mean 'window'"):
        reader.predict(film(), windw=3)
    with pytest.raises(ConfigurationError, match="workers"):
        reader.predict_many([film()], workers=-1)


def test_misspelt_options_get_a_hint() -> None:
    """Before any weights are loaded."""
    wrong: dict[str, dict[str, Any]] = {
        "region": {"regions": "wrist"},
        "weights": {"weight": "x"},
        "candidates": {"candidate": True},
    }
    for meant, options in wrong.items():
        with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'"):
            fracture.predict("a.png", **options)
    with pytest.raises(ConfigurationError, match="did you mean 'device'"):
        fracture.hip.predict("a.png", devices="cpu")


def test_an_operating_point_s_error(tiny_weights: Path) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    with pytest.raises(OperatingPointError, match="balanced") as caught:
        detector.predict(film(), operating_point="balanced")
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, RegionError)  # as what it was caught as before


def test_absurd_spacing_does_not_end_a_batch(tiny_weights: Path) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    good = fracture.read(film())
    for spacing in ((0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0), (-1.0, 1.0), (1e-300, 1e300)):
        odd = fracture.read(film(1))
        object.__setattr__(odd, "spacing", spacing)
        results = list(detector.predict_many([good, odd, good], candidates=True))
        assert [results[0].ok, results[2].ok] == [True, True], spacing


def test_help_teaches() -> None:
    text = inspect.getdoc(fracture.predict) or ""
    for name in inspect.signature(fracture.predict).parameters:
        assert f"{name}:" in text
    assert ">>> p = fracture.predict(" in text
    assert "Returns:" in text
    assert "Raises:" in text


def test_an_overlay_s_error_is_the_film_s(reader: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (result,) = reader.predict_many([film()], keep=True)
    monkeypatch.setattr("PIL.ImageDraw.Draw", failing(lambda *_: None, 0, ValueError("x1 must be at least x0")))
    with pytest.raises(UnexpectedError, match="x1 must be"):
        result.save_overlay(tmp_path / "a.png")


def test_unforeseen_lets_the_library_s_own_errors_pass() -> None:
    with pytest.raises(RegionError), unforeseen("a"):
        raise RegionError("no such region")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_predicts(tiny_weights: Path) -> None:
    """torch's threads are not copied by a fork; without care the child waits for them for ever."""
    code = f"""
        import os, sys, warnings
        import numpy as np, torch, fracture
        torch.set_num_threads(2)
        film = np.random.default_rng(0).random((900, 900)).astype(np.float32)
        detector = fracture.load({str(tiny_weights)!r}, device="cpu", precision="float32")
        here = detector.predict(film).probability
        torch.ones(4000, 4000).sum()  # enough for torch to start its threads
        warnings.simplefilter("ignore")  # Python 3.12 warns of any fork with threads
        child = os.fork()
        if child == 0:
            there = [r.probability for r in detector.predict_many([film, film])]
            os._exit(0 if np.allclose(there, here, atol=1e-5) else 9)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    ended, _, said = warm.run("-c", textwrap.dedent(code))
    assert ended == 0, said
