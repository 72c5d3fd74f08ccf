"""The weights that ship, on real films that they never saw (where those lie beside the project)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fracture
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.limb.card import Card
from fracture.limb.ensemble import Ensemble
from fracture.limb.store import DEFAULT_WEIGHTS, open_weights
from fracture.retraining.texts import CardTexts

FILMS = 8  # of each class
EMULATED = 8  # one film in so many also in bfloat16, which takes minutes where the processor does not have it


@pytest.fixture(scope="module")
def held_out(shared_data: Path) -> AnnotatedSet:
    """Some fractured and some normal films of the part that was not trained on."""
    annotated = read_annotations(shared_data / "fracatlas")
    part = Split.read(open_weights().folder / "split.json").part(annotated, "validation")
    fractured = [f.source for f in part if f.fractured and not f.hardware]
    normal = [f.source for f in part if not f.fractured]
    return part.subset(
        [names[k] for names in (fractured, normal) for k in np.linspace(0, len(names) - 1, FILMS).astype(int)]
    )


@pytest.mark.slow
def test_bfloat16_agrees_with_float32_and_the_score_means_something(held_out: AnnotatedSet) -> None:
    paths = [held_out.image_path(film) for film in held_out]
    exact = [p.probability for p in fracture.load(device="cpu", precision="float32").predict_many(paths) if p.ok]  # type: ignore[union-attr]
    rounded = fracture.load(device="cpu", precision="bfloat16").predict_many(paths[::EMULATED])
    half = [p.probability for p in rounded if p.ok]  # type: ignore[union-attr]
    assert len(exact) == 2 * FILMS
    # Two networks judge, so that a mean hardly evens out what rounding does to a calibrated score (0.013 with one).
    assert max(abs(a - b) for a, b in zip(exact[::EMULATED], half, strict=True)) < 0.02
    area = auc([film.fractured for film in held_out], exact, bootstrap=Bootstrap(resamples=10))
    assert area.value is not None
    assert area.value > 0.65


def test_the_card_names_its_data(repository: Path) -> None:
    card = Card.read(repository / "weights" / DEFAULT_WEIGHTS)
    assert any("FracAtlas" in text for text in card.attribution)
    assert any("ResNet" in text for text in card.attribution)  # where the starting points come from
    assert card.metrics["film"]["all"]["auc"]["interval"]
    assert "without hardware" in card.metrics["film"]
    split = Split.read(repository / "weights" / DEFAULT_WEIGHTS / "split.json")
    for member in card.members:
        assert member.training["split"]["sha256"] == split.checksum
    for node in card.operating_points["nodes"].values():
        for name in ("high_sensitivity", "high_specificity"):
            if name in node:
                assert node[name]["n_positive"] > 0
                assert node[name]["data"]


def test_the_readme_quotes_the_card(repository: Path) -> None:
    metrics = Card.read(repository / "weights" / DEFAULT_WEIGHTS).metrics
    readme = (repository / "README.md").read_text()
    for cohort in ("all", "without hardware"):
        area = metrics["film"][cohort]["auc"]
        low, high = area["interval"]
        assert f"{area['value']:.3f} ({low:.3f} to {high:.3f})" in readme.replace("95 % interval ", "")
    for share in ("sensitivity", "specificity"):
        assert f"{100 * metrics['film']['all']['high_sensitivity'][share]['value']:.1f} %" in readme
    assert f"{metrics['boxes']['ap50']:.3f}" in readme


def test_what_people_write_for_the_card_is_in_it() -> None:
    """`fracture retrain` gives each network the part that it has in the weights as they ship."""
    weights = open_weights()
    texts, card = CardTexts.read(weights.folder / "card.toml"), weights.card
    assert (texts.name, texts.version, texts.description) == (card.name, card.version, card.description)
    assert (texts.license, texts.attribution, texts.limitations) == (card.license, card.attribution, card.limitations)
    names = [Path(member.file).stem for member in card.members]
    for role in ("boxes_only", "boxes_left_out", "regions_only"):
        told = [name for name, member in zip(names, card.members, strict=True) if getattr(member, role)]
        assert sorted(getattr(texts, role)) == sorted(told), role
    telling = [name for name, member in zip(names, card.members, strict=True) if not member.regions_left_out]
    assert sorted(texts.regions_by) == sorted(telling)


def test_no_card_names_a_folder_of_the_machine_that_made_it(repository: Path) -> None:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for one in value.values() if isinstance(value, dict) else value:
                yield from texts(one)

    cards = sorted((repository / "weights").glob("*/card.json"))
    assert cards
    told = [text for card in cards for text in texts(json.loads(card.read_text()))]
    assert [text for text in told if text.startswith(("/", ".", "~", "weights/")) or ":\\" in text] == []


def test_the_shipped_weights_have_at_least_two_members() -> None:
    assert len(Ensemble.load(open_weights(), device="cpu", precision="float32").members) >= 2


def test_the_examples_are_read_and_judged(repository: Path) -> None:
    detector = fracture.load(device="cpu")
    films = sorted(p for p in (repository / "examples").iterdir() if p.suffix in (".dcm", ".png"))
    results = list(detector.predict_many(films))
    assert len(results) >= 4
    assert all(result.ok for result in results)
