"""Calibration: thresholds that no film helped to set for itself, and a card that says where they come from."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
from typer.testing import CliRunner

import fracture
from fracture.calibration import assemble, calibrate
from fracture.calibration.assembly import provisional
from fracture.calibration.cases import examine_films
from fracture.calibration.folds import read_fold
from fracture.calibration.sweep import TOLD_GRID, MapRule, Sweep
from fracture.cli import app
from fracture.data.coco_writer import write_coco
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import split_folds, split_parts
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import read_reference
from fracture.limb.boxes import BoxParameters, find_boxes
from fracture.limb.card import Card
from fracture.limb.cell_boxes import CellBoxes
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import find_threshold
from fracture.wing.result import GridToSource
from fracture.wing.verification import verify_weights
from tests.test_detector import film
from tests.weights import write_weights


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    """Sixty drawn films of twenty groups, two regions; every third is called fractured and has a dark gap."""
    root = tmp_path_factory.mktemp("films")
    films = []
    for k in range(60):
        pixels = film(k, (128, 96))
        fractured = int(k % 3 == 0)
        if fractured:
            pixels[60:66, 30:66] = 20
        cv2.imwrite(str(root / f"{k:02d}.png"), pixels)
        films.append(
            Film(
                source=f"{k:02d}.png",
                width=96,
                height=128,
                fractured=fractured,
                regions=("fracatlas_hand",) if k % 2 else ("fracatlas_leg",),
                boxes=((30.0, 56.0, 66.0, 70.0),) if fractured else (),
                group=str(k // 3),
                hardware=k % 20 == 0,
            )
        )
    return AnnotatedSet(tuple(films), "drawn", root)


@pytest.fixture
def weights(tiny_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


def test_thresholds_are_those_of_the_rule_and_the_card_says_so(
    weights: Path, annotated: AnnotatedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, films = Ensemble.run, []
    monkeypatch.setattr(Ensemble, "run", lambda self, batch: (films.append(len(batch)), run(self, batch))[1])
    result = calibrate(weights, annotated, out=tmp_path / "oof", precision="float32", device="cpu")
    assert sum(films) == 60 + 1  # each film once, and the self-test
    card = Card.read(weights)
    assert card == result.card
    detector = fracture.load(weights, precision="float32", device="cpu")
    cases, _ = examine_films(detector, annotated)
    point = detector.operating_points.nodes["any"].high_sensitivity
    assert point is not None
    labels = [case.film.fractured for case in cases]
    assert point.threshold == find_threshold([case.score for case in cases], labels, target=0.925)
    assert (point.n_positive, point.n_negative) == (20, 40)
    assert "drawn" in point.data
    metrics = card.metrics["film"]
    assert metrics["all"]["films"] == 60
    assert metrics["without hardware"]["films"] == 57
    assert {"fracatlas_hand", "fracatlas_leg"} <= set(metrics)
    assert any("self-test: 0" in line for line in verify_weights(weights))
    lines = [json.loads(line) for line in (tmp_path / "oof" / "predictions.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [film.source for film in annotated]
    assert all("candidates" in line for line in lines)


def test_no_film_is_judged_by_a_threshold_it_helped_to_set(weights: Path, annotated: AnnotatedSet) -> None:
    result = calibrate(weights, annotated, precision="float32", device="cpu", folds=4, seed=3)
    by_source = {p.source: p for p in result.predictions}
    for held in split_folds(annotated, 4, seed=3).parts.values():
        inside = set(held)
        rest = [p for p in result.predictions if p.source not in inside]
        labels = [annotated.film(p.source).fractured for p in rest]
        expected = find_threshold([p.probability for p in rest], labels, target=0.925)
        for source in inside:
            p = by_source[source]
            if p.operating_node == "any":
                assert p.threshold == expected


def test_without_fractures_it_refuses(weights: Path, annotated: AnnotatedSet) -> None:
    with pytest.raises(DataError, match="no fractured film"):
        calibrate(weights, annotated.select(lambda f: not f.fractured), precision="float32", device="cpu")


def test_too_few_films_give_predictions_all_the_same(weights: Path, annotated: AnnotatedSet, tmp_path: Path) -> None:
    """An hour of the networks' work is not thrown away because the thresholds cannot be found."""
    few = AnnotatedSet(annotated.films[:36], "few", annotated.root)
    before = (weights / "card.json").read_bytes()
    with pytest.raises(DataError, match=r"12 fractured|of the 13 needed.*predictions\.jsonl"):
        calibrate(weights, few, out=tmp_path / "oof", precision="float32", device="cpu")
    assert (weights / "card.json").read_bytes() == before
    lines = [json.loads(line) for line in (tmp_path / "oof" / "predictions.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [film.source for film in few]
    exact = fracture.load(weights, precision="float32", device="cpu")
    assert lines[0]["probability"] == pytest.approx(exact.predict(few.image_path(few[0])).probability, abs=1e-5)
    with pytest.raises(DataError, match="give --out"):
        calibrate(weights, few, precision="float32", device="cpu")


def test_what_nobody_foresaw_in_one_film_names_it(
    weights: Path, annotated: AnnotatedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Ensemble.prepare

    def trouble(self: Ensemble, radiograph: fracture.Radiograph) -> object:
        if radiograph.source.endswith("05.png"):
            raise ZeroDivisionError("no spacing")
        return prepare(self, radiograph)

    monkeypatch.setattr(Ensemble, "prepare", trouble)
    (failure,) = calibrate(weights, annotated, precision="float32", device="cpu").failures
    assert failure.source == "05.png"
    assert "ZeroDivisionError" in str(failure.error)


def test_weights_that_were_never_calibrated_say_so(weights: Path, annotated: AnnotatedSet) -> None:
    card = Card.read(weights)
    card.model_copy(update={"operating_points": provisional().to_dict()}).write(weights)
    path = annotated.image_path(annotated[0])
    prediction = fracture.load(weights, precision="float32", device="cpu").predict(path)
    assert "never calibrated" in prediction.warnings[0]
    shown = CliRunner().invoke(app, ["predict", str(path), "--weights", str(weights), "--device", "cpu"])
    assert shown.exit_code == 0
    assert "never calibrated" in shown.stderr
    calibrate(weights, annotated, precision="float32", device="cpu")
    after = fracture.load(weights, precision="float32", device="cpu").predict(path)
    assert not any("never calibrated" in warning for warning in after.warnings)


def test_a_film_that_fails_ends_no_calibration(weights: Path, annotated: AnnotatedSet, tmp_path: Path) -> None:
    """Two films of sixty: the others give thresholds, and the two are told wherever the result is."""
    root = tmp_path / "films"
    shutil.copytree(annotated.root, root)
    for name in ("03.png", "07.png"):
        (root / name).write_bytes(b"damaged")
    broken = replace(annotated, root=root)
    result = calibrate(weights, broken, out=tmp_path / "oof", precision="float32", device="cpu")
    assert [failure.source for failure in result.failures] == ["03.png", "07.png"]
    assert len(result.predictions) == 58
    assert result.metrics["film"]["all"]["films"] == 58
    assert "2 of them could not be judged" in result.card.metrics["films"]
    lines = [json.loads(line) for line in (tmp_path / "oof" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 60
    assert [line["source"] for line in lines if line.get("error")] == ["03.png", "07.png"]
    write_coco(broken, tmp_path / "reference.json")
    reference = read_reference(tmp_path / "reference.json")
    told = read_predictions(tmp_path / "oof" / "predictions.jsonl", reference=reference)
    assert [name for name, _ in told.failures] == ["03.png", "07.png"]
    few = broken.subset(["03.png", "07.png", *(film.source for film in broken if film.source > "50")])
    with pytest.raises(DataError, match=r"predictions\.jsonl"):  # too few: the failures are in the lines all the same
        calibrate(weights, few, out=tmp_path / "few", precision="float32", device="cpu", folds=3)
    lines = [json.loads(line) for line in (tmp_path / "few" / "predictions.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines if line.get("error")] == ["03.png", "07.png"]
    for one in few:
        (root / one.source).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"none of the \d+ films .* can be judged"):
        calibrate(weights, few, precision="float32", device="cpu", folds=3)


def test_the_sweep_shares_its_search_and_finds_the_same_boxes(weights: Path, annotated: AnnotatedSet) -> None:
    rng = np.random.default_rng(0)
    detector = fracture.load(weights, precision="float32", device="cpu")
    cases = []
    for case in examine_films(detector, annotated.select(lambda film: film.source in ("00.png", "01.png")))[0]:
        told = []
        for _ in range(2):  # two networks
            corners = rng.uniform(0, 60, (40, 2))
            quality = np.sort(rng.uniform(0, 0.8, 40))[::-1]
            told.append(CellBoxes(np.concatenate([corners, corners + rng.uniform(5, 35, (40, 2))], axis=1), quality))
        output = replace(case.examined.output, told=tuple(told))
        cases.append(replace(case, examined=replace(case.examined, output=output)))
    sweep = Sweep.over(cases)
    assert sweep.grid == TOLD_GRID
    for k, parameters in enumerate(TOLD_GRID):
        for i, case in enumerate(cases):
            output = case.examined.output
            assert output.map is not None
            assert output.grid_to_source is not None
            expected = find_boxes(
                output.map, parameters, to_source=GridToSource(*output.grid_to_source), size=(96, 128), told=output.told
            )
            assert sweep.boxes[k][i] == expected


def test_the_sweep_prefers_rules_that_find_the_fracture(weights: Path, annotated: AnnotatedSet) -> None:
    """With maps that are drawn from the annotations, a threshold above their peak finds nothing."""
    detector = fracture.load(weights, precision="float32", device="cpu")
    cases = []
    for case in examine_films(detector, annotated)[0]:
        output = case.examined.output
        assert output.map is not None
        assert output.grid_to_source is not None
        drawn = np.zeros_like(output.map)
        sx, sy, ox, oy = output.grid_to_source
        for x0, y0, x1, y1 in case.film.boxes:
            rows = slice(int((y0 - oy) / sy), int(np.ceil((y1 - oy) / sy)))
            columns = slice(int((x0 - ox) / sx), int(np.ceil((x1 - ox) / sx)))
            drawn[rows, columns] = 0.4
        score = 0.9 if case.film.fractured else 0.1
        cases.append(replace(case, examined=replace(case.examined, output=replace(output, map=drawn, score=score))))
    low, high = (BoxParameters(threshold=t, min_area_px=0.0, hysteresis=0.7) for t in (0.38, 0.45))
    sweep = Sweep.over(cases, (high, low))
    everything = range(len(cases))
    assert sweep.value(1, everything) > 0.4
    assert sweep.value(0, everything) == 0.0
    assert sweep.best(everything) == low
    # The paper's rule: the highest threshold that finds enough; where none does, the one that finds most.
    lower = replace(low, threshold=0.2)
    sweep = Sweep.over(cases, (lower, high, low))
    assert sweep.found(1, everything) == 0.0
    assert sweep.found(0, everything) == sweep.found(2, everything) > 0.9
    assert MapRule("sensitivity", 0.9).choose(sweep, everything, high) == low
    assert MapRule("sensitivity", 1e-9).choose(sweep, everything, high) == low
    assert MapRule("sensitivity", 0.9).choose(Sweep.thresholds(cases, high), everything, high).threshold == 0.4
    nothing = Sweep.over(cases, (replace(high, threshold=0.6), high))
    assert MapRule("sensitivity", 0.9).choose(nothing, everything, high).threshold == 0.6
    assert MapRule("balance").choose(sweep, everything, high) == lower
    with pytest.raises(ConfigurationError, match="MapRule"):
        MapRule("sensitivity", 1.5)


def test_assemble_then_calibrate(tmp_path: Path, annotated: AnnotatedSet) -> None:
    made = write_weights(tmp_path / "made")
    run = tmp_path / "run"
    run.mkdir()
    for member in made.members:
        name = Path(member.file).stem
        shutil.copyfile(tmp_path / "made" / member.file, run / member.file)
        facts = {
            "sha256": member.sha256,
            "model": member.model,
            "preprocess": member.preprocess,
            "training": {
                "seed": 1,
                "history": [1, 2],
                "attribution": "Somebody 2026",
                "start": {"loaded": ["a", "b"]},
                "config": {"init": "/home/me/start.safetensors", "data": {"path": "/films", "cache": "/tmp/cache"}},
            },
        }
        (run / f"{name}.json").write_text(json.dumps(facts))
    made_by_command = CliRunner().invoke(app, ["assemble", str(run), str(tmp_path / "mine"), "--description", "d"])
    assert made_by_command.exit_code == 0, made_by_command.output
    card = assemble(run, tmp_path / "out", name="mine", version="1", description="d")
    assert Card.read(tmp_path / "mine") == card
    assert [m.file for m in card.members] == ["member_0.safetensors", "member_1.safetensors"]
    assert card.attribution == ("Somebody 2026",)
    assert "history" not in card.members[0].training
    assert card.members[0].training["start"] == {"loaded": 2}
    assert card.members[0].training["config"] == {
        "init": "start.safetensors",
        "data": {"path": None, "cache": None},
    }
    p = fracture.load(tmp_path / "out", device="cpu").predict(film())
    assert p.threshold == 0.5
    calibrate(tmp_path / "out", annotated, precision="float32", device="cpu")
    assert fracture.load(tmp_path / "out", device="cpu").predict(film()).threshold != 0.5


def test_assemble_brings_the_split_that_all_members_share(tmp_path: Path, annotated: AnnotatedSet) -> None:
    card = write_weights(tmp_path / "made")
    first, second = (split_parts(annotated, {"train": 0.8, "validation": 0.2}, seed=seed) for seed in (0, 1))
    run, out = tmp_path / "run", tmp_path / "out"
    for member in card.members:
        name = Path(member.file).stem
        first.write(run / name / "split.json")
        shutil.copyfile(tmp_path / "made" / member.file, run / member.file)
        facts = {"sha256": member.sha256, "model": member.model, "preprocess": member.preprocess}
        facts["training"] = {"split": {"sha256": first.checksum}}
        (run / f"{name}.json").write_text(json.dumps(facts))
    assemble(run, out, name="mine", version="1", description="d")
    fold = read_fold(out)
    assert fold.split == first
    assert fold.held["validation"] == set(first.parts["validation"])
    regions_by = CliRunner().invoke(app, ["assemble", str(run), str(tmp_path / "by"), "--regions-by", "member_1"])
    assert regions_by.exit_code == 0, regions_by.output
    assert [member.regions_left_out for member in Card.read(tmp_path / "by").members] == [True, False]
    none = CliRunner().invoke(app, ["assemble", str(run), str(tmp_path / "none"), "--boxes-left-out", "member_0"])
    assert isinstance(none.exception, ValueError), none.output  # it has no pyramid
    assert "boxes_left_out: the network must have a pyramid" in str(none.exception)
    only = CliRunner().invoke(app, ["assemble", str(run), str(tmp_path / "only"), "--regions-only", "member_0"])
    assert only.exit_code == 0, only.output
    assert [member.has_opinion for member in Card.read(tmp_path / "only").members] == [False, True]
    twice = CliRunner().invoke(app, ["assemble", str(run), str(tmp_path / "twice"), "--mirrored", "member_0"])
    assert twice.exit_code == 0, twice.output
    assert [[v.mirrored for v in member.views] for member in Card.read(tmp_path / "twice").members] == [[True], []]
    with pytest.raises(ConfigurationError, match="regions_by names no member"):
        assemble(run, out, name="mine", version="1", description="d", regions_by=["member_7"])
    second.write(run / "member_1" / "split.json")  # no common split: nothing that could be mistaken for one
    assemble(run, out, name="mine", version="1", description="d")
    assert not (out / "split.json").exists()


def test_assemble_refuses_a_file_that_changed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    safetensors.torch.save_file({}, run / "a.safetensors")
    (run / "a.json").write_text(json.dumps({"sha256": hashlib.sha256(b"other").hexdigest(), "training": {}}))
    with pytest.raises(DataError, match="not the file"):
        assemble(run, tmp_path / "out", name="mine", version="1", description="d")
    with pytest.raises(DataError, match="no finished member"):
        assemble(tmp_path, tmp_path / "out", name="mine", version="1", description="d")
