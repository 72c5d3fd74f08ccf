"""Robustness: the clean side is the film as it is, differences are paired, and rows tell what they measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fracture
from fracture.data.records import AnnotatedSet
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.scores import auc
from fracture.reporting import measure_robustness, sample_films
from fracture.reporting.corruptions import CORRUPTIONS, Corruption
from fracture.reporting.result_sections import section

RESAMPLES = 100


@pytest.fixture(scope="module")
def detector(tiny_weights: Path) -> fracture.Detector:
    return fracture.load(tiny_weights, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def unannotated(two_sites: AnnotatedSet) -> AnnotatedSet:
    return two_sites.select(lambda film: film.source < "12")


@pytest.fixture(scope="module")
def result(detector: fracture.Detector, unannotated: AnnotatedSet) -> dict[str, Any]:
    same = Corruption("same", "nothing at all", lambda pixels, _: pixels)
    blank = Corruption("blank", "everything but a line", _blank)
    chosen = (same, blank, *(c for c in CORRUPTIONS if c.name == "cropped"))
    return measure_robustness(detector, unannotated, corruptions=chosen, resamples=RESAMPLES, workers=0)


def _blank(pixels: Any, _: np.random.Generator) -> Any:
    made = np.full_like(pixels, 30)
    made[10:20] = 200
    return made


def test_nothing_done_changes_nothing(result: dict[str, Any]) -> None:
    same = result["rows"][0]
    assert same["auc"] == {**result["clean"]["auc"], "method": same["auc"]["method"]}
    assert same["difference"]["value"] == 0.0
    assert (same["sensitivity"], same["specificity"]) == (
        result["clean"]["sensitivity"],
        result["clean"]["specificity"],
    )


def test_the_clean_row_is_what_predict_says(
    result: dict[str, Any], detector: fracture.Detector, unannotated: AnnotatedSet
) -> None:
    found = [
        detector.predict(unannotated.image_path(film), region=film.regions, operating_point="high_sensitivity")
        for film in unannotated
    ]
    area = auc([film.fractured for film in unannotated], [p.probability for p in found], resamples=RESAMPLES)
    assert result["clean"]["auc"]["value"] == pytest.approx(area.value, abs=1e-12)
    calls = [p.fractured for p, film in zip(found, unannotated, strict=True) if film.fractured]
    assert result["clean"]["sensitivity"]["count"] == sum(calls)
    assert (result["films"], result["fractured"]) == (12, 6)


def test_films_without_content_are_told_apart_by_nothing(result: dict[str, Any]) -> None:
    blank = result["rows"][1]
    assert blank["auc"]["value"] == pytest.approx(0.5)  # two shapes, each with as many fractured as normal films
    lost = result["clean"]["auc"]["value"] - 0.5
    assert blank["difference"]["value"] == pytest.approx(-lost)


def test_json_and_section(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    text = section(result)
    assert "border cut, 10% on each side" in text
    assert text.count("\n| ") == 5  # header, clean, three rows


def test_sample(two_sites: AnnotatedSet) -> None:
    some = sample_films(two_sites, 10, seed=1)
    assert (len(some), some.positives) == (10, 5)
    assert [f.source for f in some] == [f.source for f in sample_films(two_sites, 10, seed=1)]
    assert {f.source for f in some} != {f.source for f in sample_films(two_sites, 10, seed=2)}
    rare = two_sites.select(lambda film: not film.fractured or film.source < "06")
    assert (len(sample_films(rare, 20)), sample_films(rare, 20).positives) == (20, rare.positives)
    assert sample_films(two_sites, 0) is two_sites
    assert sample_films(two_sites, 1000) is two_sites
    with pytest.raises(DataError, match="fractured and normal"):
        sample_films(two_sites.select(lambda film: not film.fractured), 5)
    with pytest.raises(ConfigurationError, match="sample"):
        sample_films(two_sites, 1)


def test_unreadable_films_are_named(detector: fracture.Detector, unannotated: AnnotatedSet, tmp_path: Path) -> None:
    shutil.copytree(unannotated.root, tmp_path / "films")
    (tmp_path / "films" / "03.png").write_bytes(b"damaged")
    (tmp_path / "films" / "07.png").unlink()
    with pytest.raises(DataError, match=r"2 films cannot be read as they are.*03\.png.*07\.png"):
        measure_robustness(detector, replace(unannotated, root=tmp_path / "films"), resamples=RESAMPLES)
