"""The hip networks that ship: they are there, small enough, whole, and their card and the documentation agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fracture.cli.hip import hip as app
from fracture.cli.info import collect
from fracture.hip import CLASSES, load, predict
from fracture.hip.card import HipCard
from fracture.hip.store import DEFAULT_HIP_WEIGHTS, available, find
from fracture.iou import iou
from fracture.simulate import pelvis

LARGEST = 45 * 10**6  # bytes of both networks


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "weights" / DEFAULT_HIP_WEIGHTS


@pytest.fixture(scope="module")
def card(folder: Path) -> HipCard:
    return HipCard.read(folder)


def test_they_are_found_by_name_and_small_enough(folder: Path) -> None:
    assert DEFAULT_HIP_WEIGHTS in available()
    assert find().name == folder.name
    assert 0 < sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= LARGEST
    assert {path.name for path in folder.glob("*.safetensors")} == {"localizer.safetensors", "classifier.safetensors"}


def test_info_lists_them(card: HipCard) -> None:
    entry = next(one for one in collect()["hip_weights"] if one["name"] == DEFAULT_HIP_WEIGHTS)
    assert entry["default"]
    assert entry["version"] == card.version
    assert 0 < entry["megabytes"] <= LARGEST / 1e6


def test_they_compute_what_they_computed() -> None:
    done = CliRunner().invoke(app, ["verify", DEFAULT_HIP_WEIGHTS])
    assert done.exit_code == 0, done.output
    assert "self-test: 0." in done.output


def test_the_card_says_for_each_class_on_what_it_was_trained_and_measured(card: HipCard) -> None:
    assert tuple(card.classes) == CLASSES
    for facts in card.classes.values():
        assert "simulated" in facts.trained_on
        assert "simulated" in facts.measured_on
    for name in ("internal_fixation", "arthroplasty"):
        assert "no real" in card.classes[name].trained_on
        assert "no real" in card.classes[name].measured_on
    assert "real" in card.classes["normal"].measured_on


def test_the_card_names_its_data_and_where_its_thresholds_are_from(card: HipCard, folder: Path) -> None:
    for source in ("Proximal Femur Fracture", "FracAtlas", "ResNet-18"):
        assert any(source in text for text in card.attribution)
    assert card.advise_imaging is not None
    for threshold in (card.fracture, card.advise_imaging):
        assert threshold.positives >= 10
        assert threshold.negatives >= 10
        assert threshold.data
        assert threshold.date
    assert '"/' not in (folder / "hip_card.json").read_text()  # no path of the machine that trained them
    assert len(card.limitations) >= 4


def test_the_card_holds_what_was_written_and_measured_for_it(card: HipCard, folder: Path) -> None:
    facts = tomllib.loads((folder / "card.toml").read_text("utf-8"))
    written = card.model_dump(mode="json")
    for name in ("name", "version", "description", "license", "attribution", "limitations", "metrics"):
        assert written[name] == facts[name], name
    for name in ("fracture", "advise_imaging"):
        assert facts[name].items() <= written[name].items()


def test_the_documentation_quotes_the_card(card: HipCard, repository: Path) -> None:
    text = (repository / "docs" / "hip.md").read_text()
    aims = card.metrics["aims"]
    assert len(aims) >= 7
    for aim in aims:
        row = f"| {aim['aim']} | {aim['target']} | {aim['value']} | {'yes' if aim['met'] else 'no'} |"
        assert row in text, row


def test_a_simulated_film_is_read(card: HipCard) -> None:
    """An AP film of an unseen seed: both hips found on their sides, the implant and the normal hip named."""
    film = pelvis(12, left="normal", right="arthroplasty", size=(480, 480))
    hips = {hip.side: hip for hip in predict(film.to_radiograph(), device="cpu", precision="float32")}
    assert set(hips) == {"left", "right"}
    for truth in film.hips:
        box = hips[truth.side].box
        assert iou(truth.box, (box.x0, box.y0, box.x1, box.y1)) >= 0.5
        assert hips[truth.side].label == truth.label
        assert not hips[truth.side].fractured


def test_bfloat16_agrees_with_float32() -> None:
    film = pelvis(12, left="normal", right="intertrochanteric", size=(480, 480)).to_radiograph()
    exact = load(device="cpu", precision="float32").predict(film)
    half = load(device="cpu", precision="bfloat16").predict(film)
    assert [hip.side for hip in half] == [hip.side for hip in exact]
    for one, other in zip(exact, half, strict=True):
        assert other.fracture_probability == pytest.approx(one.fracture_probability, abs=0.05)
