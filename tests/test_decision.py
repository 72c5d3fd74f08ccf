"""Decisions without the members that cannot change them: the same as predictions, with fewer networks run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import fracture
from fracture.errors import ConfigurationError, OperatingPointError, RegionError
from fracture.limb.card import Calibration
from fracture.limb.decision import Decision, bounds, is_open
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import OperatingPoints
from tests.test_detector import film
from tests.weights import REGIONS, operating_points, write_weights

FILMS = [film(seed) for seed in range(3)]
SURE = Calibration(slope=1.0, intercept=20.0)  # scores of random networks are all near a half; these are near 1


def detector_of(folder: Path, low: float, high: float, **weights: Any) -> fracture.Detector:
    settings: dict[str, Any] = {
        "sizes": (128,) * 5,
        "channels": (("raw",), ("raw", "lcn"), ("lcn",), ("raw",), ("raw", "lcn")),
        "maps": (True,) * 5,
        "regions": (),
        "thresholds": {"any": (low, high)},
        **weights,
    }
    write_weights(folder, **settings)
    return fracture.load(folder, device="cpu", precision="float32")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Which members each call of the ensemble asked, times the films that they were asked about."""
    calls: list[tuple[str, ...]] = []
    run: Callable[..., Any] = Ensemble.run

    def counted(self: Ensemble, films: Any, *, members: Any = None) -> Any:
        calls.extend([tuple(members or ())] * len(films))
        return run(self, films, members=members)

    monkeypatch.setattr(Ensemble, "run", counted)
    return calls


def test_decisions_are_those_of_predictions(tmp_path: Path) -> None:
    """At thresholds on, just above and just below what predictions say, and far from it."""
    detector = detector_of(tmp_path, 0.0, 1.0)
    said = [p for p in detector.predict_many(FILMS) if p.ok]
    scores = [p.probability for p in said]
    assert len(set(scores)) == len(FILMS)
    above, below = float(np.nextafter(scores[0], 1)), float(np.nextafter(scores[1], 0))
    for low, high in ((scores[0], scores[2]), (above, below), (below, 0.93), (0.0, 1.0), (0.01, min(scores))):
        detector.operating_points = operating_points({"any": (low, high)})
        points = detector.operating_points.lookup()
        for point in ("high_sensitivity", "high_specificity"):
            found = list(detector.decide_many(FILMS, operating_point=point))
            for probability, decision in zip(scores, found, strict=True):
                assert isinstance(decision, Decision)
                assert decision.fractured == points[point].point.reached(probability)
                assert decision.reached == points.reached(probability)
                assert decision.thresholds == points.thresholds
                least, greatest = decision.between
                assert least - 1e-12 <= probability <= greatest + 1e-12
                if len(decision.members) == decision.of == 5:
                    assert least == greatest == probability


@pytest.mark.parametrize("sign", [1, -1])
def test_members_are_left_out_where_they_cannot_matter(tmp_path: Path, asked: list[tuple[str, ...]], sign: int) -> None:
    """Scores near 1, or near 0: thresholds of a half are decided by the third of five that agree."""
    calibration = Calibration(slope=1.0, intercept=sign * 20.0)
    detector = detector_of(tmp_path, 0.5, 0.5, calibration=calibration)
    found = [one for one in detector.decide_many(FILMS) if isinstance(one, Decision)]
    assert [one.members for one in found] == [("member_0", "member_1", "member_2")] * len(FILMS)
    assert [one.fractured for one in found] == [sign > 0] * len(FILMS)
    assert len(asked) == 3 * len(FILMS)


def test_none_is_left_out_as_long_as_one_could_decide(tmp_path: Path) -> None:
    """Four scores near 0 leave a mean of up to 0.2 open."""
    detector = detector_of(tmp_path, 0.1, 0.99, calibration=Calibration(slope=1.0, intercept=-20.0))
    (found,) = detector.decide_many(FILMS[:1])
    assert isinstance(found, Decision)
    assert (len(found.members), found.reached) == (5, ())


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    data=st.data(),
)
def test_whatever_the_others_say_the_decision_stands(
    scores: list[float], thresholds: tuple[float, float], data: st.DataObject
) -> None:
    """Also where the others say all or nothing, and with a mean that is summed in another order."""
    film = operating_points({"any": thresholds}).lookup()
    known = data.draw(st.integers(0, len(scores)))
    if is_open(scores[:known], len(scores), list(thresholds)):
        assert known < len(scores)
        low, high = bounds(scores[:known], len(scores))
        assert any(low - 1e-8 <= t <= high + 1e-8 for t in thresholds)
        return
    said = film.reached(float(np.mean(scores)))
    for rest in (0.0, 1.0):
        others = [*[rest] * (len(scores) - known), *scores[:known][::-1]]
        if known < len(scores):
            assert film.reached(float(np.mean(others))) == said


def test_regions_decide_the_thresholds(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    """Who is not told what a film shows asks all who tell regions, and then goes by the same thresholds."""
    thresholds = {"any": (0.2, 0.9), "fracatlas_hand": (0.0, 0.1), "fracatlas_leg": (0.3, 0.95)}
    detector = detector_of(tmp_path, 0, 1, regions=REGIONS, thresholds=thresholds, calibration=SURE)
    for prediction, decision in zip(detector.predict_many(FILMS), detector.decide_many(FILMS), strict=True):
        assert prediction.ok
        assert isinstance(decision, Decision)
        assert (decision.regions, decision.region_source) == (prediction.regions, "model")
        assert (decision.reached, decision.thresholds) == (prediction.reached, prediction.thresholds)
        assert len(decision.members) == 5
    asked.clear()
    told = list(detector.decide_many(FILMS, region="fracatlas_hand"))
    assert all(isinstance(one, Decision) and len(one.reached) == 2 for one in told)
    assert len(asked) == len(FILMS)


def test_a_bad_film_is_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    detector = detector_of(tmp_path / "weights", 0.4, 0.6)
    (tmp_path / "no.jpg").write_bytes(b"no film")
    first, bad, last = detector.decide_many([FILMS[0], tmp_path / "no.jpg", FILMS[1]])
    assert first.ok
    assert last.ok
    assert not bad.ok
    assert json.loads(json.dumps(first.to_dict()))["of"] == 5
    assert first.seconds > 0


def test_a_request_is_refused_at_the_call(tmp_path: Path) -> None:
    detector = detector_of(tmp_path, 0.4, 0.6)
    with pytest.raises(RegionError):
        detector.decide_many(FILMS, region="elbo")
    with pytest.raises(OperatingPointError):
        detector.decide_many(FILMS, operating_point="fast")
    with pytest.raises(ConfigurationError, match="several sources"):
        detector.decide_many(FILMS[0])
    with pytest.raises(ConfigurationError, match="no such member"):
        detector.ensemble.run([], members=["member_9"])


def test_uncalibrated_weights_say_so(tmp_path: Path) -> None:
    detector = detector_of(tmp_path, 0.4, 0.6)
    nodes = detector.operating_points.to_dict()
    point = nodes["nodes"]["any"]["high_sensitivity"] if "nodes" in nodes else nodes["any"]["high_sensitivity"]
    point.update(n_positive=0, n_negative=0)
    detector.operating_points = OperatingPoints.from_dict(nodes)
    (decision,) = detector.decide_many(FILMS[:1])
    assert any("never calibrated" in warning for warning in decision.warnings)
