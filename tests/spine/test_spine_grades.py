"""Graded studies: drawn by stated measures, written and read as the challenge's files, crops by geometry, the loss."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fracture.cli.main import app
from fracture.errors import ConfigurationError, DataError
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.simulate.lumbar import LEVELS
from fracture.simulate.lumbar_study import MEASURES, THRESHOLDS, SimulatedStudy, grade_of, lumbar_study
from fracture.spine import find_series
from fracture.spine.crops import crop, match, places_of, voxel_of
from fracture.spine.lumbar.card import LumbarCard
from fracture.spine.lumbar.evaluation import Place, completed, measure_grades
from fracture.spine.lumbar.grade_training import GradeConfig, grade_loss
from fracture.spine.lumbar.grading import KINDS, behind, grade, mirrored, stack, views_of
from fracture.spine.lumbar.metric import CONDITIONS, ROWS, row_of, score, score_estimate
from fracture.spine.lumbar.reader import LumbarReader
from fracture.spine.lumbar.result import LumbarSpine
from fracture.spine.lumbar.studies import read_studies, truth_of, write_studies
from fracture.spine.slices import build_slices
from fracture.spine.specs import SliceSpec
from fracture.wing.runner import TorchRunner
from fracture.wing.volume import Volume
from tests.spine.test_spine_lumbar import Marker, study, weights

__all__ = ["Marker", "weights"]  # fixtures
SMALL = SliceSpec(widths=(4, 4, 4, 4))


def small_study(seed: int) -> SimulatedStudy:
    return lumbar_study(seed, side=48)


@cache
def first_of(seed: int) -> SimulatedStudy:
    """The first study of a set."""
    return small_study(int(np.random.default_rng([seed, 0]).integers(2**31)))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write_studies(folder, 2, seed=3, draw=small_study)
    return folder


def test_grades_follow_from_the_measures() -> None:
    assert [grade_of("canal_mm", value) for value in (10.0, 9.9, 7.0, 6.9)] == [0, 1, 1, 2]
    assert grade_of("left_recess_mm", 1.9) == grade_of("right_recess_mm", 1.9) == 2
    assert set(THRESHOLDS) == {"canal_mm", "foramen_mm2", "recess_mm"}
    one, two = lumbar_study(5, side=32), lumbar_study(5, side=32, shares=(0, 0, 1))
    for level, measures in one.measures.items():
        assert one.grades[level] == tuple(grade_of(name, measures[name]) for name in MEASURES)
    assert {grade for grades in two.grades.values() for grade in grades} == {2}


def test_a_narrow_canal_holds_less_fluid_and_a_narrow_foramen_less_fat() -> None:
    wide = {name: 100.0 if "foramen" in name else 12.0 if name == "canal_mm" else 5.0 for name in MEASURES}
    narrow = {**wide, "canal_mm": 3.0, "left_foramen_mm2": 20.0}
    bright = []
    for measures in (wide, narrow):
        made = lumbar_study(7, side=96, measures=dict.fromkeys(LEVELS, measures))
        t2, t1 = (
            Volume(made.series[kind][0].voxels.astype(np.float32), made.series[kind][0].affine) for kind in KINDS[:2]
        )
        target = behind(made.places)["L3/L4"]
        middle = round(voxel_of(t2, made.places["L3/L4"])[0])
        shown = [(t2, middle), (t1, middle + 4), (t1, middle - 4)]  # slices of 4 mm, from right to left
        bright.append([crop(volume, target, [k], side=40, spacing=0.75).sum() for volume, k in shown])
    canal, left, right = np.divide(bright[1], bright[0])
    assert canal < 0.9
    assert left < 0.9
    assert right > 0.95


def test_axial_slices_show_a_narrow_recess_where_the_spine_is_tilted_too() -> None:
    """The fluid on the left of the middle axial slice, where the right is as it was."""
    wide = {name: 100.0 if "foramen" in name else 12.0 if name == "canal_mm" else 6.0 for name in MEASURES}
    sides = []
    for measures in (wide, {**wide, "left_recess_mm": 0.5}):
        made = lumbar_study(5, side=128, measures=dict.fromkeys(LEVELS, measures))
        for level, block in zip(LEVELS[::-1], made.series["Axial T2"], strict=True):  # blocks from the sacrum upward
            volume = Volume(block.voxels.astype(np.float32), block.affine)
            shown = crop(volume, behind(made.places)[level], [2], side=48, spacing=0.75)[0]
            sides.append((level, shown[:, 32:38].sum() / shown[:, 10:16].sum()))
    for (level, before), (_, after) in zip(sides[:5], sides[5:], strict=True):
        assert after < 0.9 * before, level


def test_studies_are_written_and_read_in_the_challenges_files(studies: Path) -> None:
    found = read_studies(studies)
    assert len(found) == 2
    film = found[0]
    series = find_series(found.image_path(film))
    assert sorted(str(one.kind.rsna) for one in series.series if one.kind) == sorted([*KINDS[:2], *[KINDS[2]] * 5])
    made = first_of(3)
    truth = truth_of(found)
    assert len(truth) == 50
    for level, grades in made.grades.items():
        for condition, one in zip(CONDITIONS, grades, strict=True):
            assert truth[f"{film.group}_{row_of(condition, level)}"][one] == 1
    extra: dict[str, dict[str, tuple[str, float, float]]] = film.extra  # type: ignore[assignment]
    for level, place in places_of(found.image_path(film), extra["points"]).items():
        assert place[1:] == pytest.approx(made.places[level][1:], abs=0.1)
        assert abs(place[0]) <= 2.1  # half a slice
    recesses = places_of(found.image_path(film), extra["recesses"])
    assert all(place[0] == pytest.approx(7, abs=0.1) for place in recesses.values())
    with pytest.raises(ConfigurationError, match="folder without train"):
        write_studies(studies, 1)


def test_a_table_says_what_series_are_where_files_do_not(studies: Path) -> None:
    found = find_series(read_studies(studies).image_path(read_studies(studies)[0]))
    other = found.of_kinds({"1": "Sagittal T1", "2": "no such kind"})
    (t2,) = [k for k, one in enumerate(found.series) if one.kind and one.kind.rsna == "Sagittal T2/STIR"]
    assert str(other.series[t2].kind) == "sagittal T1 MR"
    assert sum(one.kind is not two.kind for one, two in zip(found.series, other.series, strict=True)) == 1


def test_axial_slices_are_matched_by_geometry(studies: Path) -> None:
    found = read_studies(studies)
    views = views_of(find_series(found.image_path(found[0])))
    made = first_of(3)
    matched = match(views[KINDS[2]], made.places)
    assert set(matched) == set(LEVELS)
    for level, one in matched.items():
        volume = views[KINDS[2]][one.volume]
        assert one.distance <= 2.1
        assert one.slice == 2  # of a block of five along the disc
        assert abs(voxel_of(volume, made.places[level])[0] - 2) < 0.55
    assert match(views[KINDS[2]], {"far": (0.0, 0.0, 900.0)}) == {}
    lifted = [Volume(volume.voxels[:1], volume.affine) for volume in views[KINDS[2]]]
    assert match(lifted, made.places) == {}  # 8 mm below the discs


def test_crops_lie_where_they_should_and_mirrors_exchange_sides() -> None:
    voxels = np.zeros((14, 90, 80), np.float32)
    affine = np.array([[0, 0, 4.0, -26.0], [1.0, 0, 0, -40.0], [0, -1.0, 0, 45.0], [0, 0, 0, 1.0]])
    voxels[10, 44:47, 59:62] = 1.0  # 14 mm to the left, 20 mm behind the middle, at height 0
    volume = Volume(voxels, affine)
    places = {"L3/L4": (0.0, 0.0, 35.0), "L4/L5": (0.0, 0.0, 0.0), "L5/S1": (0.0, 0.0, -35.0)}
    target = behind(places)["L4/L5"]
    assert target == pytest.approx((0.0, 20.0, 0.0))
    planes, where, matched = stack({KINDS[1]: [volume]}, places["L4/L5"], target)
    assert list(matched) == [KINDS[1]]
    assert (where[:7] == 0).all()
    assert where[7:14, 1].all()
    bright = planes[:, 1].max(axis=(1, 2))
    assert bright.argmax() == 12  # two steps to the left
    row, column = np.unravel_index(int(planes[12, 1].argmax()), (64, 64))
    assert (row, column) == (pytest.approx(31.5, abs=2), pytest.approx(31.5, abs=2))
    other, there = mirrored(planes, where)
    assert there[12, 3] == pytest.approx(-where[12, 3])
    np.testing.assert_array_equal(other[12, 0], planes[12, 2])
    tilted = behind({"L4/L5": (0.0, 0.0, 0.0), "L5/S1": (0.0, 30.0, -30.0)})["L5/S1"]
    assert tilted == pytest.approx((0.0, 30 + 20 / 2**0.5, -30 + 20 / 2**0.5))


def test_the_loss_is_the_challenges_score() -> None:
    draw = np.random.default_rng(0)
    grades = draw.integers(0, 3, (4, len(LEVELS), len(CONDITIONS)))
    logits = draw.normal(0, 1, (4, len(LEVELS), len(CONDITIONS), 3))
    labels = np.eye(3)[grades]
    labels[1, 2, 3] = 0  # a row without a label
    chances = torch.from_numpy(logits).softmax(-1).numpy()
    truth, predicted = {}, {}
    for one, k, c in np.ndindex(labels.shape[:3]):
        key = f"{one}_{row_of(CONDITIONS[c], LEVELS[k])}"
        predicted[key] = tuple(chances[one, k, c])
        if labels[one, k, c].any():
            truth[key] = (*labels[one, k, c], float(2 ** grades[one, k, c]))
    losses = grade_loss(torch.from_numpy(logits).float(), torch.from_numpy(labels).float())
    found = score(truth, predicted)
    assert float(losses["loss"]) == pytest.approx(found.score, abs=1e-5)
    assert float(losses["any_severe"]) == pytest.approx(found.any_severe_spinal, abs=1e-5)
    estimate = score_estimate(truth, predicted, bootstrap=Bootstrap(50))
    assert estimate.value == pytest.approx(found.score, abs=1e-12)
    assert estimate.low is not None
    assert estimate.low < found.score


def test_what_is_missing_is_left_out_of_the_attention() -> None:
    network = build_slices(SMALL, seed=1).eval()
    x = torch.rand(2, 17, 3, 64, 64)
    where = torch.zeros(2, 17, 4)
    where[:, 3, 0] = where[0, 8, 1] = 1
    with torch.inference_mode():
        found = network(x, where)
        x[0, 0] = 5.0  # a picture that is not there
        again = network(x, where)
    assert found.logits.shape == (2, 5, 3)
    torch.testing.assert_close(found.logits, again.logits)
    np.testing.assert_allclose(found.attention.sum(2), 1, atol=1e-6)
    assert found.attention[1, :, 3] == pytest.approx([1.0] * 5)


def test_a_study_is_graded_where_discs_have_names(weights: Path, tmp_path: Path) -> None:
    card, network = LumbarCard.read(weights), build_slices(SMALL, seed=2)
    reader = LumbarReader(card, Marker(), network, device=torch.device("cpu"), dtype=torch.float32)
    found = reader.predict(study(tmp_path / "a"))
    assert list(found.chances) == list(ROWS)
    assert found.graded_on == ("Sagittal T2/STIR",)
    assert found.remarks[-1] == "graded without Sagittal T1 and Axial T2"
    assert (found.axial, set(found.grades)) == ({}, set(ROWS))
    assert all(sum(one) == pytest.approx(1, abs=1e-6) for one in found.chances.values())
    line = json.loads(json.dumps(found.to_dict()))
    assert line["grades"]["spinal_canal_stenosis_l4_l5"] in ("normal_mild", "moderate", "severe")
    assert "sheet" not in line
    assert LumbarSpine.from_dict(line).chances == found.chances
    _, second = found.scene().pages
    assert second.pixels.shape == (5 * 128, 512)
    assert [point.label for point in second.points] == list(LEVELS)
    assert "rows graded severe" in second.verdict
    assert "simulated studies alone" in " ".join(second.lines)
    found.save_overlay(tmp_path / "a.png")
    objects = reader.predict(study(tmp_path / "d", StudyInstanceUID="1.2.3.4")).to_dicom(["sr", "sc"])
    assert [made.Modality for made in objects] == ["SR", "OT"], "the page of the levels is no slice of the series"
    plain = LumbarReader(card, Marker(), device=torch.device("cpu"), dtype=torch.float32)
    assert plain.predict(study(tmp_path / "b")).chances == {}
    named = study(tmp_path / "c", SeriesDescription="loc")
    unknown = reader.predict(named)
    assert "nothing is graded" in unknown.remarks[-1]
    assert not unknown.chances


def test_measures_of_grades(studies: Path) -> None:
    found = read_studies(studies)
    truth = truth_of(found)
    sure = {key: tuple(0.98 if one else 0.01 for one in row[:3]) for key, row in truth.items()}
    places = [Place("a", "L1/L2", 2.0, 0.3), Place("a", "L2/L3", 30.0, float("nan"))]
    measures = measure_grades(found, sure, places, resamples=20)
    assert measures.facts["score"].score == pytest.approx(-np.log(0.98), abs=0.02)
    assert (measures.facts["missing"], measures["named"].value, measures["axial"].value) == (0, 0.5, 0.5)
    assert measures["disc_mm"].value == 2.0
    half = {key: row for key, row in sure.items() if "spinal" in key}
    assert measure_grades(found, half, resamples=20).facts["missing"] == 40
    whole = completed(found, half)
    assert list(whole) == list(truth), "the metric takes no submission that lacks a row"
    assert {key for key, row in whole.items() if row == (1 / 3,) * 3} == set(sure) - set(half)
    assert any("left neural" in line or "left_neural" in line for line in measures.lines)
    with pytest.raises(DataError, match="no row of these studies"):
        measure_grades(found, {})


def test_training_assembling_and_measuring_by_command(studies: Path, weights: Path, tmp_path: Path) -> None:
    run = CliRunner()
    small = ["--set", "model.widths=[4,4]", "--set", "loop.epochs=1", "--set", "loop.batch=1", "--quiet"]
    told = run.invoke(
        app, ["spine", "lumbar", "train", "grades", "--data", str(studies), "--out", str(tmp_path / "run"), *small]
    )
    assert told.exit_code == 0, told.output
    again = ["spine", "lumbar", "train", "grades", "--data", str(studies), "--out", str(tmp_path / "again"), *small]
    refused = run.invoke(app, [*again, "--init", str(weights.parent / "run" / "discs.safetensors")])
    assert "does not hold a network grades of the wing lumbar" in str(refused.exception)
    started = run.invoke(app, [*again, "--init", str(tmp_path / "run" / "grades.safetensors")])
    assert started.exit_code == 0, started.output
    assert json.loads((tmp_path / "again" / "grades" / "manifest.json").read_text())["start"]["fraction"] == 1.0
    record = json.loads((tmp_path / "run" / "grades.json").read_text())
    assert record["model"]["widths"] == [4, 4]
    for name in ("discs.json", "discs.safetensors"):
        (tmp_path / "run" / name).write_bytes((weights.parent / "run" / name).read_bytes())
    told = run.invoke(app, ["spine", "lumbar", "assemble", str(tmp_path / "run"), "--out", str(tmp_path / "made")])
    assert told.exit_code == 0, told.output
    card = LumbarCard.read(tmp_path / "made")
    assert card.grader is not None
    assert card.self_test is not None
    assert len(card.self_test.scores) == 8
    told = run.invoke(app, ["spine", "lumbar", "verify", str(tmp_path / "made")])
    assert told.exit_code == 0, told.output
    found = read_studies(studies)
    from fracture.spine.lumbar.metric import write_submission

    write_submission(tmp_path / "s.csv", {key: row[:3] for key, row in truth_of(found).items()})
    for given in (["--found", str(tmp_path / "s.csv")], ["--weights", str(tmp_path / "made")]):
        out = tmp_path / given[0][2:]
        told = run.invoke(
            app, ["spine", "lumbar", "evaluate", str(studies), "--out", str(out), "--bootstrap", "20", *given]
        )
        if given[0] == "--weights":  # a finder of one step names no disc
            assert "no row of these studies was predicted" in str(told.exception)
        else:
            assert told.exit_code == 0, told.output
            assert json.loads((out / "report.json").read_text())["score"]["score"] < 1e-6


def test_studies_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_studies, "__kwdefaults__", {**write_studies.__kwdefaults__, "draw": small_study})
    told = CliRunner().invoke(app, ["spine", "lumbar", "simulate", str(tmp_path / "s"), "-n", "1", "--seed", "4"])
    assert told.exit_code == 0, told.output
    assert len(read_studies(tmp_path / "s")) == 1
    assert isinstance(GradeConfig.load("grades"), GradeConfig)


def test_nothing_is_graded_without_places() -> None:
    network = build_slices(SMALL, seed=1).eval()
    runner = TorchRunner(network, device=torch.device("cpu"), dtype=torch.float32)
    assert grade(runner, {}, {}) is None
    assert grade(runner, {}, {"L4/L5": (0.0, 0.0, 0.0)}) is None
