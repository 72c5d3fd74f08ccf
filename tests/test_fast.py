"""The fast subset: made, stored, loaded, and refused where it does not fit."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fracture
from fracture.calibration import calibrate
from fracture.calibration.fast import calibrate_fast, measure_loss, write_subset
from fracture.cli import app
from fracture.data.records import AnnotatedSet
from fracture.errors import CardError, ConfigurationError, DataError, WeightsIntegrityError
from fracture.limb.card import Calibration, Card
from fracture.limb.fast import fast_card, fast_view, with_fast
from fracture.wing.verification import verify_weights
from tests.drawn_films import annotated_films
from tests.test_detector import film
from tests.weights import operating_points, write_weights


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    return annotated_films(tmp_path_factory.mktemp("films"), 60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, annotated: AnnotatedSet) -> Path:
    """Weights of two members that were calibrated, and their second member as the fast subset; not to be changed."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    write_weights(folder)
    run = functools.partial(calibrate, annotated=annotated, precision="float32", device="cpu")
    whole = run(folder)
    calibrate_fast(folder, ["member_1"], annotated, whole.predictions, run)
    return folder


def test_the_subset_is_calibrated_on_its_own_scores(made: Path, annotated: AnnotatedSet, tmp_path: Path) -> None:
    card = Card.read(made)
    assert card.fast is not None
    assert [member.file for member in card.fast.members] == ["member_1.safetensors"]
    write_subset(made, ["member_1.safetensors"], tmp_path / "alone")
    alone = calibrate(tmp_path / "alone", annotated, precision="float32", device="cpu").card
    assert card.fast.operating_points == alone.operating_points
    assert card.fast.boxes == alone.boxes
    assert card.fast.self_test == alone.self_test
    assert card.fast.operating_points != card.operating_points
    assert card.fast.metrics["film"]["all"]["films"] == 60
    assert card.fast.metrics["film"]["all"]["auc"]["interval"]


def test_what_it_loses_is_stated_with_intervals(made: Path) -> None:
    card = Card.read(made)
    assert card.fast is not None
    assert len(card.fast.loses) == 6
    for row in card.fast.loses.values():
        assert row["value"] == pytest.approx(row["fast"] - row["whole"])
        assert ("interval" in row) != (row.get("reason", "").startswith("no interval"))
    low, high = card.fast.loses["auc"]["interval"]
    assert low <= card.fast.loses["auc"]["value"] <= high
    assert card.fast.loses["auc"]["whole"] == pytest.approx(card.metrics["film"]["all"]["auc"]["value"])
    assert card.fast.loses["auc"]["fast"] == pytest.approx(card.fast.metrics["film"]["all"]["auc"]["value"])
    froc = "froc sensitivity at 0.5 false positives per film"
    boxes = card.fast.metrics["boxes"]
    (own,) = (value for key, value in boxes.items() if key.startswith("froc"))
    assert card.fast.loses[froc]["fast"] == pytest.approx(own["value"])


def test_a_subset_that_is_as_good_loses_nothing(annotated: AnnotatedSet, made: Path) -> None:
    p = fracture.load(made, device="cpu", precision="float32")
    results = [p.predict(annotated.image_path(f), candidates=True) for f in annotated]
    from dataclasses import replace

    same = [replace(r, source=f.source) for r, f in zip(results, annotated, strict=True)]
    for row in measure_loss(annotated, same, list(reversed(same))).values():
        assert row["value"] == 0
        assert "resamples do not differ" in row["reason"]
    with pytest.raises(DataError, match="59 and 60 predictions"):
        measure_loss(annotated, same[1:], same)


def test_fast_runs_and_loads_only_the_subset(made: Path, tmp_path: Path) -> None:
    whole = fracture.load(made, device="cpu", precision="float32").predict(film())
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    (copy / "member_0.safetensors").unlink()
    quick = fracture.load(copy, device="cpu", precision="float32", fast=True)
    p = quick.predict(film())
    assert p.probability == pytest.approx(whole.member_scores["member_1"])
    assert list(p.member_scores) == ["member_1"]
    assert (p.model, whole.model) == ("tiny (fast)", "tiny")
    section = Card.read(made).fast
    assert section is not None
    node = section.operating_points["nodes"][p.operating_node]
    assert p.threshold == node["high_sensitivity"]["threshold"]
    with pytest.raises(WeightsIntegrityError, match="member_0"):
        fracture.load(copy, device="cpu")


def test_the_command_line_and_the_shorthand_take_it(made: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "0.png"), film())
    run = CliRunner().invoke(app, ["predict", str(tmp_path / "0.png"), "--weights", str(made), "--fast"])
    assert run.exit_code == 0, run.stderr
    line = json.loads(run.stdout)
    assert line["model"] == "tiny (fast)"
    assert fracture.predict(tmp_path / "0.png", weights=made, fast=True).model == "tiny (fast)"
    assert fracture.predict(tmp_path / "0.png", weights=made).model == "tiny"


def test_weights_without_a_subset_say_so(tiny_weights: Path) -> None:
    with pytest.raises(ConfigurationError, match="tiny 0 has no fast subset"):
        fracture.load(tiny_weights, fast=True)
    run = CliRunner().invoke(app, ["predict", "x.png", "--weights", str(tiny_weights), "--fast"])
    assert run.exit_code != 0
    assert isinstance(run.exception, ConfigurationError)


@pytest.mark.parametrize("members", [[], ["nobody"], ["member_0", "member_0"], ["member_0", "member_1"]])
def test_what_is_no_subset_is_refused(tiny_weights: Path, members: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="fast subset names"):
        fast_card(Card.read(tiny_weights), members)


def test_calibrators_of_the_subset_are_its_own(tmp_path: Path) -> None:
    card = write_weights(tmp_path, calibration=Calibration(slope=2.0, intercept=-1.0))
    alone = fast_card(card, ["member_0"])
    own = Calibration(slope=0.5, intercept=0.25)
    fitted = alone.model_copy(
        update={
            "members": (alone.members[0].model_copy(update={"calibration": own}),),
            "operating_points": operating_points({"any": (0.3, 0.4)}).to_dict(),
        }
    )
    with_fast(card, fitted).write(tmp_path)
    quick = fracture.load(tmp_path, device="cpu", precision="float32", fast=True)
    assert quick.ensemble.members[0].calibration == own
    assert quick.predict(film()).threshold == 0.3
    kept = fracture.load(tmp_path, device="cpu", precision="float32").ensemble.members[0].calibration
    assert kept == Calibration(slope=2.0, intercept=-1.0)


def test_a_subset_of_other_tensors_is_refused(made: Path, tmp_path: Path) -> None:
    document = json.loads((made / "card.json").read_text())
    document["members"][1]["sha256"] = "0" * 64
    (tmp_path / "card.json").write_text(json.dumps(document))
    with pytest.raises(CardError, match="fast: made for other members"):
        Card.read(tmp_path)
    changed = fast_card(Card.read(made), ["member_1"])
    other = changed.members[0].model_copy(update={"sha256": "1" * 64})
    with pytest.raises(ConfigurationError, match="other tensors"):
        with_fast(Card.read(made), changed.model_copy(update={"members": (other,)}))


def test_verify_checks_the_subset_too(made: Path, tmp_path: Path) -> None:
    lines = list(verify_weights(made))
    assert any(line.startswith("fast subset of 1, self-test: 0.") for line in lines)
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    document = json.loads((copy / "card.json").read_text())
    document["fast"]["self_test"]["probability"] += 0.1
    (copy / "card.json").write_text(json.dumps(document))
    with pytest.raises(WeightsIntegrityError, match="fast subset of 1, self-test"):
        list(verify_weights(copy))


def test_the_view_is_a_card_of_its_own(made: Path) -> None:
    view = fast_view(Card.read(made))
    assert view.fast is None
    assert len(view.members) == 1
    assert Card.model_validate(view.model_dump(mode="json")) == view


def test_calibrate_makes_the_subset_on_request(annotated: AnnotatedSet, made: Path, tmp_path: Path) -> None:
    weights = tmp_path / "tiny"
    write_weights(weights)
    rows = ["image,group,region,view,fractured,x0,y0,x1,y1"]
    for one in annotated:
        box = ",".join(f"{value:g}" for value in one.boxes[0]) if one.boxes else ",,,"
        rows.append(f"{annotated.image_path(one)},{one.group},{one.regions[0]},,{one.fractured},{box}")
    table = annotated.root / "films.csv"
    table.write_text("\n".join(rows).replace(f"{annotated.root}/", "") + "\n", encoding="utf-8")
    command = ["calibrate", str(weights), "--data", str(table), "--precision", "float32", "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, "--fast", "member_1"])
    assert result.exit_code == 0, result.output
    fast, expected = Card.read(weights).fast, Card.read(made).fast
    assert fast is not None
    assert expected is not None
    assert [member.file for member in fast.members] == ["member_1.safetensors"]
    assert fast.self_test == expected.self_test
    assert set(fast.loses) == set(expected.loses)


def test_a_region_head_that_was_left_out_tells_regions_again_where_the_better_one_is_not(tiny_weights: Path) -> None:
    card = Card.read(tiny_weights)
    first, second = card.members
    assert first.model_spec.regions
    left_out = first.model_copy(update={"regions_left_out": True})
    whole = card.model_copy(update={"members": (left_out, second.model_copy(update={"regions_only": True}))})
    alone = fast_card(whole, ["member_0"])
    assert [member.regions_left_out for member in alone.members] == [False]
    assert fast_view(with_fast(whole, alone)).members[0].regions_left_out is False
    assert whole.members[0].regions_left_out is True


def test_boxes_that_were_left_out_count_again_where_the_better_ones_are_not(tmp_path: Path) -> None:
    card = write_weights(tmp_path, sizes=(128, 160), pyramid=True)
    first, second = card.members
    silent = first.model_copy(update={"boxes_left_out": True})
    third = second.model_copy(update={"file": "member_2.safetensors"})
    whole = card.model_copy(update={"members": (silent, second, third)})
    assert [member.boxes_left_out for member in fast_card(whole, ["member_0"]).members] == [False]
    assert [member.boxes_left_out for member in fast_card(whole, ["member_0", "member_1"]).members] == [True, False]
