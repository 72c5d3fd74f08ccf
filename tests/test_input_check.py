"""What is no musculoskeletal radiograph is warned of, never refused; films are not."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fracture
from fracture import simulate
from fracture.cli import app
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_parts
from fracture.errors import CardError, ConfigurationError, DataError, WeightsIntegrityError
from fracture.input_check import FeatureDistribution, check_pixels, distance_warning, make_input_check
from fracture.input_check.cli import _thinned
from fracture.input_check.fit import FILE, _limit
from fracture.io.radiograph import Radiograph
from fracture.limb.card import Card
from fracture.limb.fast import fast_card, with_fast
from fracture.wing.rules import WARNING_START, page_strokes
from fracture.wing.verification import self_test_film, verify_weights
from tests.drawn_films import annotated_films
from tests.not_radiographs import DRAWN, blank, chest_slice, drawing, page, photograph
from tests.test_detector import film


def radiograph(pixels: np.ndarray[Any, Any]) -> Radiograph:
    return Radiograph(np.ascontiguousarray(pixels, np.float32) / 255)


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("kind", ["page", "page, scanned", "page, white on black", "drawing"])
def test_pages_and_drawings_are_seen_in_the_pixels(kind: str, k: int) -> None:
    (warning,) = check_pixels(radiograph(DRAWN[kind](k)))
    assert warning.startswith(WARNING_START)
    assert "page of text or a drawing" in warning
    assert ("bright strokes" in warning) == (kind == "page, white on black")


@pytest.mark.parametrize("k", [0, 1, 2, 4, 5])
def test_blank_films_are_seen_in_the_pixels(k: int) -> None:
    (warning,) = check_pixels(radiograph(blank(k)))
    assert "looks blank" in warning


def test_films_pass_the_pixels_rules() -> None:
    films = [simulate.radiograph(k, region=region).to_radiograph() for k, region in enumerate(("wrist", "ankle"))]
    films += [self_test_film(), *(radiograph(film(k)) for k in range(3))]
    for one in films:
        assert check_pixels(one) == ()
        assert check_pixels(replace(one, pixels=1 - one.pixels)) == (), "a film of inverted polarity is still a film"
        turned = np.ascontiguousarray(np.rot90(one.pixels))
        assert check_pixels(replace(one, pixels=turned)) == ()
        assert check_pixels(replace(one, pixels=one.pixels**2)) == ()


def test_real_films_pass_the_pixels_rules(shared_data: Path) -> None:
    sets = {"fracatlas": 24, "hip": 8, "grazpedwri_dx_sample": 2}
    for name, count in sets.items():
        files = sorted((shared_data / name / "images").iterdir())
        for k in np.linspace(0, len(files) - 1, count).astype(int):
            assert check_pixels(fracture.read(files[k])) == (), files[k].name


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_strokes_do_not_depend_on_the_picture_s_size(scale: float) -> None:
    sheet = cv2.resize(page(1), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    dark, bright = page_strokes(radiograph(sheet).pixels)
    assert dark > 0.03
    assert bright == 0


def correlated(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    scales = np.array([9.0, 4.0, 2.0, 0.3, 0.3, 0.3])
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(6, 6)))[0]
    rows: np.ndarray[Any, np.dtype[np.float64]] = rng.normal(size=(n, 6)) * scales @ turn + 5
    return rows


def test_the_distance_is_that_of_the_model_s_covariance() -> None:
    made = FeatureDistribution.fit(correlated(500, 0), directions=3)
    axes = made.axes.astype(np.float64)
    covariance = axes.T @ np.diag(made.variances - made.rest) @ axes + made.rest * np.eye(6)
    points = correlated(20, 1) * 2
    offset = points - made.mean
    expected = np.sqrt(np.einsum("ij,jk,ik->i", offset, np.linalg.inv(covariance), offset) / 6)
    np.testing.assert_allclose(made.distance(points), expected, rtol=1e-4)
    assert made.distance(correlated(2000, 2)).mean() == pytest.approx(1, abs=0.05)
    assert made.rest == pytest.approx(0.09, rel=0.1)


def test_a_step_off_the_leading_directions_counts_most() -> None:
    made = FeatureDistribution.fit(correlated(500, 0), directions=3)
    along = made.mean + made.axes[0]
    away = np.linalg.svd(made.axes)[2][-1]  # orthogonal to all axes
    near, far = made.distance(np.stack([along, made.mean + away]))
    assert far > 10 * near


def test_a_distribution_survives_its_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    made = FeatureDistribution.fit(correlated(100, 0), directions=3)
    save_file(made.tensors(), tmp_path / "d.safetensors")
    again = FeatureDistribution.from_tensors(load_file(tmp_path / "d.safetensors"), size=6, source="d")
    points = correlated(5, 3)
    np.testing.assert_allclose(again.distance(points), made.distance(points), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": np.zeros(1, np.float32)}, "other tensors"),
        ({"mean": np.zeros(5, np.float32)}, "does not fit"),
        ({"variances": np.array([1, 0, 1], np.float32)}, "variance is not above 0"),
        ({"rest": np.array([np.nan], np.float32)}, "not finite"),
    ],
)
def test_what_is_no_distribution_is_refused(change: dict[str, Any], message: str) -> None:
    tensors = FeatureDistribution.fit(correlated(100, 0), directions=3).tensors() | change
    with pytest.raises(WeightsIntegrityError, match=message):
        FeatureDistribution.from_tensors(tensors, size=6, source="d")


def test_films_that_do_not_vary_give_no_distribution() -> None:
    with pytest.raises(DataError, match="do not vary"):
        FeatureDistribution.fit(np.ones((40, 6)))
    with pytest.raises(DataError, match="finite"):
        FeatureDistribution.fit(np.full((40, 6), np.nan))


def test_the_limit_keeps_its_promise() -> None:
    """Over many draws, new films exceed it with at most the stated probability, and not with much less."""
    rng = np.random.default_rng(0)
    n, share = 199, 0.01
    exceeded = [np.mean(rng.exponential(size=400) > _limit(rng.exponential(size=n), share)) for _ in range(400)]
    expected = 1 - math.ceil((n + 1) * (1 - share)) / (n + 1)
    assert np.mean(exceeded) == pytest.approx(expected, abs=0.0015)
    assert _limit(np.arange(1.0, 100.0), 0.01) == 99


def test_a_distance_that_is_no_number_is_warned_of() -> None:
    assert distance_warning(1.0, 1.0) == ()
    assert "distance 1.26, limit 1.25" in distance_warning(1.26, 1.25)[0]
    assert len(distance_warning(math.nan, 1.0)) == 1


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    return annotated_films(tmp_path_factory.mktemp("films"), 180)


@pytest.fixture(scope="module")
def checked(tiny_weights: Path, films: AnnotatedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with an input check on their first member; not to be changed."""
    folder = tmp_path_factory.mktemp("checked") / "tiny"
    shutil.copytree(tiny_weights, folder)
    parts = split_parts(films, {"train": 0.6, "validation": 0.4}, seed=0)
    make_input_check(
        folder,
        parts.part(films, "train"),
        parts.part(films, "validation"),
        false_alarms=0.02,
        precision="float32",
        device="cpu",
        description="drawn films",
    )
    return folder


def test_pictures_are_flagged_and_films_are_not(checked: Path) -> None:
    detector = fracture.load(checked, device="cpu", precision="float32")
    for pixels in (photograph(0), photograph(1), chest_slice(0, 200)):
        (warning,) = detector.predict(pixels).warnings
        assert warning.startswith(WARNING_START)
        assert "distance" in warning
        assert "limit" in warning
    new = [film(k, (128, 96)) for k in range(500, 520)]
    assert sum(bool(detector.predict(pixels).warnings) for pixels in new) <= 1


def test_many_and_the_command_line_warn_as_one_does(checked: Path, tmp_path: Path) -> None:
    detector = fracture.load(checked, device="cpu", precision="float32")
    sources = [film(700, (128, 96)), photograph(0), drawing(0), film(701, (128, 96))]
    alone = [detector.predict(pixels).warnings for pixels in sources]
    assert [len(found) for found in alone[:3:2]] == [0, 2]  # a drawing: by the pixels and by the features
    for workers in (0, 2):
        many = [p.warnings for p in detector.predict_many(sources, workers=workers)]  # type: ignore[union-attr]
        assert many == alone
    for k, pixels in enumerate(sources):
        cv2.imwrite(str(tmp_path / f"{k}.png"), pixels)
    run = CliRunner().invoke(
        app, ["predict", str(tmp_path), "--weights", str(checked), "--precision", "float32", "--device", "cpu"]
    )
    assert run.exit_code == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [len(row["warnings"]) for row in rows] == [len(found) for found in alone]
    assert all(row["probability"] is not None for row in rows)


def test_nothing_else_changes(checked: Path, tiny_weights: Path) -> None:
    """Bit for bit: the features are halfway in the same forward pass."""
    for precision in ("float32", "bfloat16"):
        with_check = fracture.load(checked, device="cpu", precision=precision)  # type: ignore[arg-type]
        without = fracture.load(tiny_weights, device="cpu", precision=precision)  # type: ignore[arg-type]
        a, b = with_check.predict(film(1)), without.predict(film(1))
        assert a.probability == b.probability
        assert a.member_scores == b.member_scores
        assert a.region_probabilities == b.region_probabilities
        assert a.probability_map is not None
        np.testing.assert_array_equal(a.probability_map, b.probability_map)


def test_a_check_made_in_bfloat16_serves_both_precisions(
    tiny_weights: Path, films: AnnotatedSet, tmp_path: Path
) -> None:
    """Rounding is part of the features that it was made from; exact ones lie no farther out."""
    copy = Path(shutil.copytree(tiny_weights, tmp_path / "copy"))
    few = films.subset([one.source for one in films][:75])  # processors without bfloat16 emulate it
    parts = split_parts(few, {"train": 0.6, "validation": 0.4}, seed=0)
    seen, unseen = parts.part(few, "train"), parts.part(few, "validation")
    make_input_check(copy, seen, unseen, false_alarms=0.04, precision="bfloat16", device="cpu")
    for precision in ("float32", "bfloat16"):
        detector = fracture.load(copy, device="cpu", precision=precision)  # type: ignore[arg-type]
        assert not any(detector.predict(film(k, (128, 96))).warnings for k in range(900, 906))
        assert len(detector.predict(photograph(0)).warnings) == 1


def test_padding_has_no_vote(checked: Path) -> None:
    ensemble = fracture.load(checked, device="cpu", precision="float32").ensemble
    prepared = ensemble.prepare(radiograph(film(1, (120, 90))))
    planes, mask = ensemble.tensors([prepared.inputs[0]])
    with torch.inference_mode():
        features = ensemble.members[0].model.features(planes, mask).skip
    valid = torch.nn.functional.avg_pool2d(mask.float(), 8)
    assert bool((valid == 0).any()), "the film fills its canvas, and the test tests nothing"
    expected = [np.average(channel.numpy(), weights=valid[0, 0].numpy()) for channel in features[0]]
    np.testing.assert_allclose(ensemble.features([prepared], "member_0")[0], expected, rtol=1e-4, atol=1e-6)


def test_the_card_says_how_the_limit_was_found(checked: Path, films: AnnotatedSet) -> None:
    section = Card.read(checked).input_check
    assert section is not None
    assert section.member == "member_0.safetensors"
    assert "2 % of new films" in section.rule
    assert "drawn films" in section.rule
    alarms = section.false_alarms
    assert alarms["by_pixels"]["count"] == 0
    assert alarms["by_distance"]["all"]["n"] == alarms["either"]["n"] == 72
    assert alarms["by_distance"]["all"]["count"] <= 4
    assert set(alarms["by_distance"]) == {"all", "fracatlas_hand", "fracatlas_leg"}
    assert alarms["limit"] == section.limit > alarms["distances"]["50 %"]
    assert any("input check on member_0" in line for line in verify_weights(checked))


def test_a_changed_file_and_other_members_are_refused(checked: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checked, tmp_path / "copy"))
    with (copy / FILE).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(WeightsIntegrityError, match="not the file"):
        fracture.load(copy, device="cpu")
    document = json.loads((copy / "card.json").read_text())
    document["input_check"]["member_sha256"] = "0" * 64
    (copy / "card.json").write_text(json.dumps(document))
    with pytest.raises(CardError, match="input_check: made for another member"):
        Card.read(copy)


def test_the_fast_subset_is_checked_too(checked: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checked, tmp_path / "copy"))
    card = Card.read(copy)
    with pytest.raises(ConfigurationError, match="would run unchecked"):
        fast_card(card, ["member_1"])
    with_fast(card, fast_card(card, ["member_0"])).write(copy)
    quick = fracture.load(copy, device="cpu", precision="float32", fast=True)
    assert len(quick.ensemble.members) == 1
    assert len(quick.predict(photograph(0)).warnings) == 1
    document = json.loads((copy / "card.json").read_text())
    document["fast"]["members"][0] = {k: document["members"][1][k] for k in ("file", "sha256", "calibration")}
    (copy / "card.json").write_text(json.dumps(document))
    with pytest.raises(CardError, match="would run unchecked"):
        Card.read(copy)


def test_requests_that_cannot_be_met(tiny_weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_weights, tmp_path / "copy"))
    few = films.select(lambda f: f.source < "040.png")
    with pytest.raises(DataError, match="more unseen films"):
        make_input_check(copy, few, few)
    with pytest.raises(ConfigurationError, match="no such member"):
        make_input_check(copy, few, films, member="member_9", false_alarms=0.02)
    with pytest.raises(ConfigurationError, match="margin"):
        make_input_check(copy, few, films, margin=0.5)
    (tmp_path / "films").mkdir()
    broken = replace(films, root=tmp_path / "films")
    with pytest.raises(DataError, match=r"no film of .* can be read; got 000\.png: .*no such file"):
        make_input_check(copy, broken, films, false_alarms=0.02)
    assert Card.read(copy).input_check is None


def test_the_command(tiny_weights: Path, films: AnnotatedSet, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_weights, tmp_path / "copy"))
    root = Path(shutil.copytree(films.root, tmp_path / "set" / "images")).parent
    rows = ["image,fractured,group", *(f"images/{f.source},{f.fractured},{f.group}" for f in films)]
    (root / "films.csv").write_text("\n".join(rows) + "\n")
    from fracture.data.readers import read_annotations

    annotated = read_annotations(root / "films.csv")
    made = split_parts(annotated, {"train": 0.6, "validation": 0.4}, seed=0)
    made.write(tmp_path / "split.json")
    arguments = ["--split", str(tmp_path / "split.json"), "--member", "member_1", "--films", "60"]
    run = CliRunner().invoke(
        app,
        ["input-check", str(copy), "--data", str(root / "films.csv"), *arguments, "--false-alarms", "0.02"],
    )
    assert run.exit_code == 0, (run.stderr, run.exception)
    printed = json.loads(run.stdout)
    card = Card.read(copy)
    assert card.input_check is not None
    assert printed == card.input_check.model_dump(mode="json")
    assert "distribution: 60 films (train), limit: 60 films (validation)" in card.input_check.rule
    # Films that cannot be read are named, and the rest says what it says without them.
    parts = [_thinned(made.part(annotated, name), 60) for name in ("train", "validation")]
    torn = {part[0].source for part in parts}
    for name in torn:
        (root / name).write_bytes(b"damaged")
    run = CliRunner().invoke(
        app, ["input-check", str(copy), "--data", str(root / "films.csv"), *arguments, "--false-alarms", "0.02"]
    )
    assert run.exit_code == 1
    *named, last = run.stderr.splitlines()
    assert last == "2 films could not be read and have no part in the check"
    assert sum(any(name in line for name in torn) for line in named) == 2
    whole = [part.select(lambda film: film.source not in torn) for part in parts]
    alone = make_input_check(copy, *whole, member="member_1", false_alarms=0.02)
    assert alone.failures == ()
    printed = json.loads(run.stdout)
    assert printed["limit"] == alone.section.limit
    assert "; 2 more could not be read; " in printed["rule"]
    facts = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    assert {"fast", "input_check"} <= set(facts["weights"][0])


def test_weights_without_statistics_have_the_rules(tiny_weights: Path) -> None:
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    assert len(detector.predict(page(0)).warnings) == 1
    assert detector.predict(photograph(0)).warnings == ()
