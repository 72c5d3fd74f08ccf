"""Robustness: the clean side is the film as it is, differences are paired, and rows tell what they measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies.corruptions import CORRUPTIONS, Corruption
from studies.robustness import fold_judges, measure_robustness, sample_films

import fracture
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.limb.card import Card
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
    return measure_robustness([(detector, unannotated)], corruptions=chosen, resamples=RESAMPLES, workers=0)


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
    area = auc(
        [film.fractured for film in unannotated],
        [p.probability for p in found],
        bootstrap=Bootstrap(resamples=RESAMPLES),
    )
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
    assert result["clean"]["warned"]["n"] == 12
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


def test_unreadable_films_are_left_out_and_named(
    detector: fracture.Detector, unannotated: AnnotatedSet, tmp_path: Path
) -> None:
    shutil.copytree(unannotated.root, tmp_path / "films")
    (tmp_path / "films" / "03.png").write_bytes(b"damaged")
    (tmp_path / "films" / "07.png").unlink()
    torn = replace(unannotated, root=tmp_path / "films")

    last = max(unannotated, key=lambda film: (film.height, film.width, film.source)).source

    def leaves(pixels: Any, _: np.random.Generator) -> Any:
        (tmp_path / "films" / last).unlink(missing_ok=True)
        return pixels

    odd = Corruption("odd", "nothing at all, but a film goes", leaves)
    found = measure_robustness([(detector, torn)], corruptions=(odd,), resamples=RESAMPLES, workers=0)
    assert found["films"] == 9
    names = {failure["source"] for failure in found["failures"]}
    assert names == {"03.png", "07.png", last}
    kept = unannotated.select(lambda film: film.source not in names)
    same = Corruption("same", "nothing at all", lambda pixels, _: pixels)
    whole = measure_robustness([(detector, kept)], corruptions=(same,), resamples=RESAMPLES, workers=0)
    assert found["clean"] == whole["clean"]
    assert found["rows"][0]["auc"] == whole["rows"][0]["auc"]
    assert "3 films could not be judged and are left out: " in section(found)
    for film in unannotated:
        (tmp_path / "films" / film.source).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"that can be read; got 0 of 0 fractured, 12 unreadable \("):
        measure_robustness([(detector, torn)], corruptions=(), resamples=RESAMPLES)


def test_folds_judge_what_they_held_out(tiny_weights: Path, two_sites: AnnotatedSet, tmp_path: Path) -> None:
    """Two folds with a member each: a film is scored by the member that did not see it, with the whole's thresholds."""
    split = split_folds(two_sites, 3, seed=0)
    card = Card.read(tiny_weights)
    for fold, member in enumerate(card.members):
        folder = tmp_path / f"fold{fold}"
        shutil.copytree(tiny_weights, folder)
        facts = {"split": {"sha256": split.checksum}, "config": {"split": {"fold": fold, "tune_fold": False}}}
        one = member.model_copy(update={"training": facts})
        card.model_copy(update={"name": f"fold{fold}", "members": (one,)}).write(folder)
        split.write(folder / "split.json")
    folders = [tmp_path / "fold0", tmp_path / "fold1"]
    judges = fold_judges(tiny_weights, folders, two_sites, device="cpu", precision="float32")
    for fold, (detector, films) in enumerate(judges):
        assert {film.source for film in films} == set(split.parts[f"fold{fold}"])
        assert [member.name for member in detector.ensemble.members] == [f"member_{fold}"]
        assert detector.card.label == card.label
        assert detector.operating_points.to_dict() == card.operating_points
    same = Corruption("same", "nothing at all", lambda pixels, _: pixels)
    few = [(d, films.select(lambda film: film.source < "16")) for d, films in judges]
    result = measure_robustness(few, corruptions=(same,), resamples=RESAMPLES, workers=0)
    assert result["films"] == sum(len(films) for _, films in few)
    scores = [d.predict(films.image_path(f)).probability for d, films in few for f in films]
    labels = [f.fractured for _, films in few for f in films]
    assert result["clean"]["auc"]["value"] == pytest.approx(
        auc(labels, scores, bootstrap=Bootstrap(resamples=10)).value
    )
    other = card.model_copy(update={"members": (card.members[0].model_copy(update={"sha256": "0" * 64}),)})
    shutil.copytree(tiny_weights, tmp_path / "other")
    other.write(tmp_path / "other")
    with pytest.raises(DataError, match="not made of"):
        fold_judges(tmp_path / "other", folders, two_sites)
