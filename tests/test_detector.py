"""The detector from source to prediction, with small random weights."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fracture
from fracture.errors import (
    ConfigurationError,
    InputError,
    OperatingPointError,
    PixelValueError,
    RegionError,
    UnreadableFileError,
)
from fracture.io.radiograph import Radiograph
from fracture.limb.card import Calibration
from tests.weights import write_weights


def film(seed: int = 0, shape: tuple[int, int] = (220, 160)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    bone = np.exp(-(((x - shape[1] / 2) / 25) ** 2)) * (1 + 0.2 * np.sin(y / 9 + seed))
    return np.clip(20 + 170 * bone + rng.normal(0, 4, shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def detector(tiny_weights: Path) -> fracture.Detector:
    return fracture.load(tiny_weights, device="cpu", precision="float32")


def test_a_prediction_is_complete(detector: fracture.Detector) -> None:
    p = detector.predict(film())
    assert 0 <= p.probability <= 1
    assert p.fractured == (p.probability >= p.threshold)
    assert (p.width, p.height) == (160, 220)
    assert p.probability == pytest.approx(np.mean(list(p.member_scores.values())))
    assert set(p.member_scores) == {"member_0", "member_1"}
    assert p.model == "tiny"
    assert p.seconds > 0
    assert p.radiograph is not None
    assert p.probability_map is not None
    assert p.to_dict()["error"] is None


def test_the_region_comes_from_the_caller_then_the_model(detector: fracture.Detector) -> None:
    told = detector.predict(film(), region="wrist")
    assert (told.regions, told.region_source) == (("wrist",), "caller")
    assert told.operating_node == "fracatlas_hand"
    assert told.threshold == 0.01
    guessed = detector.predict(film())
    assert guessed.region_source == "model"
    assert guessed.regions
    assert all(name.startswith("fracatlas_") for name in guessed.regions)


def test_an_unknown_region_or_point_is_the_caller_s_error(detector: fracture.Detector) -> None:
    with pytest.raises(RegionError, match="wristt"):
        detector.predict(film(), region="wristt")
    with pytest.raises(RegionError, match="point"):
        detector.predict(film(), operating_point="balanced")
    with pytest.raises(OperatingPointError, match="did you mean 'high_sensitivity'"):
        detector.predict(film(), operating_point="High-Sensitivity")
    with pytest.raises(RegionError):
        detector.predict_many([film()], region="nowhere")  # at the call, not at the first result
    with pytest.raises(ConfigurationError):
        detector.predict_many([film()], batch_size=0)


def test_a_malformed_request_is_refused_at_the_call(detector: fracture.Detector) -> None:
    with pytest.raises(ConfigurationError, match="windw"):
        detector.predict_many([film()], windw=3)
    with pytest.raises(ConfigurationError, match="windw"):
        detector.predict(film(), windw=3)
    with pytest.raises(ConfigurationError, match="several sources"):
        detector.predict_many("film.png")


def test_below_the_threshold_there_are_no_boxes_but_candidates(tmp_path: Path) -> None:
    write_weights(tmp_path, thresholds={"any": (0.999, 0.9999)})
    strict = fracture.load(tmp_path, device="cpu", precision="float32")
    p = strict.predict(film(), candidates=True)
    assert not p.fractured
    assert p.boxes == ()
    assert p.candidates is not None
    assert len(p.candidates) > 0
    for box in p.candidates:
        assert 0 <= box.x0 < box.x1 <= p.width
        assert 0 <= box.y0 < box.y1 <= p.height
    assert strict.predict(film()).candidates is None


def test_boxes_are_among_the_candidates(tmp_path: Path) -> None:
    write_weights(tmp_path, thresholds={"any": (0.0, 0.9)})
    p = fracture.load(tmp_path, device="cpu", precision="float32").predict(film(3), candidates=True)
    assert p.fractured
    assert p.candidates is not None
    assert set(p.boxes) <= set(p.candidates)


def test_calibration_is_applied_before_the_average(tmp_path: Path) -> None:
    write_weights(tmp_path / "plain")
    write_weights(tmp_path / "calibrated", calibration=Calibration(slope=2.0, intercept=-1.0))
    plain = fracture.load(tmp_path / "plain", device="cpu", precision="float32").predict(film())
    p = fracture.load(tmp_path / "calibrated", device="cpu", precision="float32").predict(film())
    assert p.raw_probability == pytest.approx(plain.probability, abs=1e-6)
    for name, score in plain.member_scores.items():
        logit = np.log(score / (1 - score))
        assert p.member_scores[name] == pytest.approx(1 / (1 + np.exp(-(2 * logit - 1))), abs=1e-6)


def test_members_of_other_sizes_and_without_map_join_in(tmp_path: Path) -> None:
    write_weights(
        tmp_path,
        sizes=(128, 192, 128),
        channels=(("raw",), ("lcn",), ("raw",)),
        maps=(True, True, False),
    )
    d = fracture.load(tmp_path, device="cpu", precision="float32")
    assert len(d.ensemble.specs) == 2  # the first and the third share one
    p = d.predict(film())
    assert len(p.member_scores) == 3
    assert p.probability_map is not None
    assert p.map_to_source is not None
    assert p.map_to_source.scale_x < 10  # the finer grid


def test_without_maps_there_are_no_boxes(tmp_path: Path) -> None:
    write_weights(tmp_path, maps=(False, False))
    p = fracture.load(tmp_path, device="cpu", precision="float32").predict(film(), candidates=True)
    assert p.probability_map is None
    assert p.boxes == ()
    assert p.candidates == ()


def test_many_gives_what_one_gives_in_order(detector: fracture.Detector) -> None:
    films = [film(k, (220, 160) if k % 3 else (160, 220)) for k in range(7)]
    alone = [detector.predict(f) for f in films]
    for workers in (0, 2):
        together = list(detector.predict_many(films, batch_size=3, workers=workers))
        assert [p.ok for p in together] == [True] * 7
        for one, many in zip(alone, together, strict=True):
            assert isinstance(many, fracture.Prediction)
            assert many.probability == pytest.approx(one.probability, abs=1e-5)
            assert (many.width, many.height) == (one.width, one.height)
            assert many.radiograph is None
            assert many.probability_map is None


def test_a_bad_film_fails_alone(detector: fracture.Detector, tmp_path: Path) -> None:
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.png").write_text("no picture")
    nan = np.full((64, 64), np.nan, np.float32)
    sources = [film(), tmp_path / "empty.dcm", tmp_path / "text.png", nan, np.zeros((90, 90), np.uint8), film(1)]
    results = list(detector.predict_many(sources, batch_size=4))
    assert [r.ok for r in results] == [True, False, False, False, False, True]
    failures = [r for r in results if isinstance(r, fracture.Failure)]
    assert failures[0].source == str(tmp_path / "empty.dcm")
    assert isinstance(failures[0].error, UnreadableFileError)
    assert isinstance(failures[2].error, PixelValueError)
    for failure in failures:
        assert isinstance(failure.error, InputError)
        line = failure.to_dict()
        assert line["probability"] is None
        assert line["error"]["message"]
    with pytest.raises(InputError):
        detector.predict(tmp_path / "empty.dcm")


def test_sources_are_consumed_lazily(detector: fracture.Detector) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield film(taken)

    results = detector.predict_many(endless(), batch_size=2, workers=1)
    assert next(results).ok
    assert next(results).ok
    assert taken <= 8
    results.close()  # type: ignore[attr-defined]


def test_results_do_not_hold_films(detector: fracture.Detector) -> None:
    def alive() -> int:
        gc.collect()
        return sum(type(o) is Radiograph for o in gc.get_objects())

    before = alive()
    kept = list(detector.predict_many([film(k) for k in range(12)], batch_size=2))
    assert alive() <= before
    assert len(kept) == 12


def test_a_radiograph_is_taken_as_it_is(detector: fracture.Detector) -> None:
    pixels = film().astype(np.float32) / 255
    p = detector.predict(Radiograph(pixels, source="mine", regions=("wrist",), region_source="caller"))
    assert p.source == "mine"
    assert p.regions == ("wrist",)


def test_bfloat16_agrees_on_drawn_films(tiny_weights: Path, detector: fracture.Detector) -> None:
    half = fracture.load(tiny_weights, device="cpu", precision="bfloat16")
    for seed in range(3):
        assert half.predict(film(seed)).probability == pytest.approx(detector.predict(film(seed)).probability, abs=0.02)


def test_unknown_devices_and_precisions(tiny_weights: Path) -> None:
    with pytest.raises(ConfigurationError, match="device"):
        fracture.load(tiny_weights, device="abacus")
    with pytest.raises(ConfigurationError, match="precision"):
        fracture.load(tiny_weights, precision="int3")  # type: ignore[arg-type]


def test_plot_and_overlay(detector: fracture.Detector, tmp_path: Path) -> None:
    p = detector.predict(film(), candidates=True)
    assert p.plot(show_map=True).get_xlim() is not None
    p.save_overlay(tmp_path / "o.png")
    assert (tmp_path / "o.png").stat().st_size > 1000
