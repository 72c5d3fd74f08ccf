"""Train on one site, test on the other: who is trained on what, and who judges whom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from studies.transfer import site_transfer

from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import DataError
from fracture.reporting.result_sections import section
from fracture.training import Recipe
from fracture.training.config import MemberConfig

FILMS = 36
RECIPE = {
    "name": "tiny",
    "model": {"backbone": "resnet18", "stages": 2, "output_stride": 8, "norm": "group"},
    "preprocess": {"size": 64, "shape": "stride"},
    "sampling": {"films_per_epoch": 4},
    "loop": {"epochs": 1, "batch": 4, "workers": 0, "overlays": 0, "maps": False, "threads": 1},
}


@pytest.fixture(scope="module")
def films(films: Path) -> AnnotatedSet:
    """Simulated films of sites A, C and C_hires; three of a group, one group with films of two sites, some hardware."""
    plain = read_annotations(films)
    changed = [
        replace(f, site="A" if k < 15 else "C_hires" if k < 18 else "C", group=f"g{k // 3}", hardware=k % 9 == 0)
        for k, f in enumerate(plain.films[:FILMS])
    ]
    changed[14] = replace(changed[14], group="g5")  # a film of A in a group of C_hires
    return replace(plain, films=tuple(changed))


@pytest.mark.slow
def test_there_and_back(films: AnnotatedSet, tmp_path: Path) -> None:
    kept = torch.get_num_threads()
    recipe = Recipe("tiny", (MemberConfig.from_dict({**RECIPE, "data": {"cache": str(tmp_path / "cache")}}),))
    options: dict[str, Any] = {"held_out": 0.25, "resamples": 100, "device": "cpu", "precision": "float32"}
    sites = {"A": ["A"], "C": ["C", "C_hires"]}
    result = site_transfer(recipe, films, sites, out=tmp_path / "run", progress=False, **options)
    torch.set_num_threads(kept)
    assert result is not None
    assert json.loads((tmp_path / "run" / "transfer.json").read_text()) == result
    assert [d["train"] for d in result["directions"]] == ["A", "C"]
    for direction, own, other in zip(result["directions"], ("A", "C"), ("C", "A"), strict=True):
        split = Split.read(tmp_path / "run" / f"on_{own}" / "run" / "tiny" / "split.json")
        learned = [films.film(source) for source in split.parts["train"]]
        assert {film.site[0] for film in learned if film.site} == {own}
        assert direction["films"]["films"] == len(learned)
        seen = {film.group for film in learned}
        fresh = [f for f in films if f.site and f.site[0] == other and f.group not in seen]
        rows = {row["words"]: row for row in direction["rows"]}
        assert rows[other]["films"] == len(fresh)
        assert direction["left_out"] == {
            other: sum(f.site is not None and f.site[0] == other for f in films) - len(fresh)
        }
        assert rows[f"{own}, held-out groups"]["films"] == len(split.parts["validation"])
        assert rows[f"{other}, without hardware"]["films"] == sum(not f.hardware for f in fresh)
    text = section(result)
    assert "Trained on one site" in text
    # The same call again trains nothing and finds the same.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fracture.training.driver.Loop", None)
        assert site_transfer(recipe, films, sites, out=tmp_path / "run", progress=False, **options) == result


def test_sites_that_are_none(films: AnnotatedSet, tmp_path: Path) -> None:
    recipe = Recipe("tiny", (MemberConfig.from_dict(RECIPE),))
    for sites, message in (
        ({"A": ["A"]}, "two sites or more"),
        ({"A": ["A"], "C": ["A"]}, "two sites or more"),
        ({"A": ["A"], "B": ["B"]}, "no film of a site; got B; allowed: A, C, C_hires"),
    ):
        with pytest.raises(DataError, match=message):
            site_transfer(recipe, films, sites, out=tmp_path)
