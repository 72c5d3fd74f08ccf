"""Sites and hardware: what is a shortcut shows as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies.sites import merge_sites, site_analysis

from fracture.data.records import AnnotatedSet
from fracture.errors import DataError
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.reporting.result_sections import section

RESAMPLES = 200


@pytest.fixture(scope="module")
def result(two_sites: AnnotatedSet, predictions: Path) -> dict[str, Any]:
    return site_analysis(predictions, two_sites.root / "annotations.json", merge={"C_hires": "C"}, resamples=RESAMPLES)


def row(result: dict[str, Any], field: str, name: str) -> dict[str, Any]:
    (found,) = [r for r in result["rows"] if (r["field"], r["name"]) == (field, name)]
    return found


def test_within_sites_and_hardware(result: dict[str, Any], two_sites: AnnotatedSet, predictions: Path) -> None:
    scores = {line["source"]: line["probability"] for line in map(json.loads, predictions.read_text().splitlines())}
    for name, keep in (("A", lambda f: f.site == "A"), ("C", lambda f: f.site != "A")):
        films = [film for film in two_sites if keep(film)]
        expected = auc(
            [f.fractured for f in films], [scores[f.source] for f in films], bootstrap=Bootstrap(resamples=10)
        ).value
        assert row(result, "site", name)["auc"]["value"] == pytest.approx(expected)
        assert row(result, "site", name)["films"] == len(films)
    assert row(result, "site", "A")["auc"]["value"] == 1.0
    with_hardware = row(result, "hardware", "with hardware")
    assert with_hardware["auc"]["value"] is None
    assert with_hardware["remark"] == "all 6 films are fractured"
    assert row(result, "site and hardware", "A, without hardware")["fractured"] == sum(
        film.fractured for film in two_sites if film.site == "A" and not film.hardware
    )


def test_balancing_takes_the_shortcut_away(result: dict[str, Any]) -> None:
    balanced = {tuple(r["confounders"]): r for r in result["balanced"]}
    assert set(balanced) == {("site",), ("hardware",), ("site", "hardware"), ("site", "hardware", "region")}
    overall = balanced["site",]["unbalanced_auc"]["value"]
    assert balanced["hardware",]["auc"]["value"] < overall  # films with hardware, all fractured, are left out
    assert balanced["hardware",]["left_out"] == 6


def test_cells_count_every_film_once(result: dict[str, Any]) -> None:
    assert sum(cell["films"] for cell in result["cells"]) == result["films"] == 48
    assert sum(cell["fractured"] for cell in result["cells"]) == result["fractured"] == 24
    text = section(json.loads(json.dumps(result, allow_nan=False)))
    assert "| site | A | 18 | 9 | 1.000" in text
    assert "all 6 films are fractured" in text


def test_merging() -> None:
    assert merge_sites(["C=C+C_hires", "A=A_prime"]) == {"C": "C", "C_hires": "C", "A_prime": "A"}
    for wrong in ("C", "=C", "C=", "C=a+"):
        with pytest.raises(DataError, match="NAME=SITE"):
            merge_sites([wrong])
    with pytest.raises(DataError, match="put into two"):
        merge_sites(["C=x", "A=x"])


def test_without_site_and_hardware(two_sites: AnnotatedSet, predictions: Path, tmp_path: Path) -> None:
    content = json.loads((two_sites.root / "annotations.json").read_text())
    for image in content["images"]:
        del image["site"], image["hardware"]
    (tmp_path / "plain.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="where it was taken"):
        site_analysis(predictions, tmp_path / "plain.json", resamples=RESAMPLES)
