"""Evaluation: numbers that can be counted by hand, kappas, the reader study, files of judged hips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fracture.cli.hip import hip as app
from fracture.errors import ConfigurationError, DataError, EvaluationError, UnexpectedError
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.reader_study import GroupReadings, reader_study
from fracture.hip.cases import ExtraBox, HipCase, read_cases, write_cases
from fracture.hip.classes import CLASSES
from fracture.hip.evaluation import BROKEN, evaluate_hips, evaluate_readings, localization, simulated_study
from fracture.hip.examine import examine
from fracture.hip.pipeline import HipReader, load
from fracture.hip.records import read_hips
from fracture.hip.report import save, study_lines

BOX = (0.0, 0.0, 100.0, 100.0)
DRAWS = Bootstrap(200, one_per_group=True)


def sharp(name: str, p: float = 0.9) -> tuple[float, ...]:
    return tuple(p if other == name else (1 - p) / 5 for other in CLASSES)


def case(number: int, name: str, said: str, *, side: str = "left", shift: float = 0.0, **changes: object) -> HipCase:
    values: dict[str, object] = {
        "source": f"{number}.png",
        "group": f"g{number // 2}",
        "side": side,
        "box": BOX,
        "allowed": (name,),
        "found": (shift, 0.0, 100.0 + shift, 100.0),
        "found_score": 0.9,
        "manual": sharp(said),
        "automatic": sharp(said),
    }
    return HipCase(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def cases() -> list[HipCase]:
    rows = [case(i, CLASSES[i % 6], CLASSES[i % 6]) for i in range(48)]
    rows += [case(100 + i, "nondisplaced_neck", "normal") for i in range(4)]
    rows += [case(200 + i, "normal", "nondisplaced_neck") for i in range(2)]
    return rows


def test_localization_is_counted(cases: list[HipCase]) -> None:
    moved = [
        case(0, "normal", "normal", shift=10.0),  # IoU 90/110
        case(1, "normal", "normal", shift=25.0),  # 75/125
        case(2, "normal", "normal", found=None, found_score=None, automatic=None),
        case(3, "normal", "normal", found=None, found_score=None, automatic=None, wrong_side=0.9),
    ]
    result = localization(moved, [ExtraBox("9.png", "right", BOX, 0.5)], bootstrap=DRAWS)
    assert result.found.value == 0.5
    assert result.mean.value == pytest.approx((90 / 110 + 75 / 125) / 2)
    assert result.deviation == pytest.approx(np.std([90 / 110, 75 / 125], ddof=1))
    assert result.minimum == pytest.approx(0.6)
    assert result.side_right.value == pytest.approx(2 / 3)
    assert result.missed == (("2.png", "left"), ("3.png", "left"))
    assert result.extra == 1


def test_a_value_outside_its_interval_is_remarked() -> None:
    """One patient with many hips misread, many with one read well: the interval takes one hip of each."""
    rows = [replace(case(i, "normal", "normal"), group=f"p{i}") for i in range(60)]
    rows += [replace(case(100 + i, "normal", "displaced_neck"), group="one") for i in range(60)]
    found = evaluate_readings(rows, "manual", bootstrap=DRAWS).known_accuracy
    assert found.value == 0.5
    assert found.low is not None
    assert found.low > 0.5
    assert found.reason is not None
    assert "outside its interval" in found.reason
    assert evaluate_readings(rows[:60] + rows[60:62], "manual", bootstrap=DRAWS).known_accuracy.reason is None


def test_one_film_ends_no_evaluation(hip_weights: Path, toy_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = load(hip_weights, device="cpu", precision="float32")
    classify, calls = HipReader.classify, iter(range(1000))

    def trouble(self: HipReader, *given: object) -> object:
        if next(calls) == 3:
            raise ZeroDivisionError("no spacing")
        return classify(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(HipReader, "classify", trouble)
    films = read_hips(toy_set)
    done: list[int] = []
    cases, _, failures = examine(reader, films, progress=done.append)
    assert [failure.source for failure in failures] == [films[1].source]
    assert isinstance(failures[0].error, UnexpectedError)
    assert len(cases) == 2 * (len(films) - 1)
    assert len(done) == len(films)


def test_readings_are_counted(cases: list[HipCase]) -> None:
    result = evaluate_readings(cases, "manual", bootstrap=DRAWS)
    assert result.multiclass_accuracy.value == pytest.approx(48 / 54)
    assert result.binary_accuracy.value == pytest.approx(48 / 54)
    rows = {row.name: row for row in result.classes}
    assert rows["nondisplaced_neck"].sensitivity.value == pytest.approx(8 / 12)
    assert rows["nondisplaced_neck"].specificity.value == pytest.approx(1 - 2 / 42)
    assert rows["arthroplasty"].auc.value == 1.0
    assert rows["arthroplasty"].band is not None
    assert result.binary.sensitivity.value == pytest.approx(24 / 28)
    assert result.binary.specificity.value == pytest.approx(24 / 26)
    neck = CLASSES.index("nondisplaced_neck")
    assert result.confusion[neck, 0] == pytest.approx(4 / 12)
    np.testing.assert_allclose(result.confusion.sum(axis=1), 1)
    assert result.binary.sensitivity.method == "bootstrap, one film per group, m = 200"


def test_what_is_not_known_is_not_judged() -> None:
    neck = ("displaced_neck", "nondisplaced_neck")
    rows = [case(i, "normal", "normal") for i in range(10)]
    rows += [case(20 + i, "displaced_neck", "nondisplaced_neck", allowed=neck) for i in range(6)]
    rows += [case(40, "normal", "normal", allowed=())]
    result = evaluate_readings(rows, "automatic", bootstrap=DRAWS)
    assert result.counts.tolist() == [10, 0, 0, 0, 0, 0]
    assert result.known_accuracy.value == 1.0
    assert result.region_accuracy.n == 16
    assert result.binary.positives == 6
    assert result.classes[1].sensitivity.value is None
    assert np.isnan(result.confusion[1]).all()


def test_hardware_counts_as_no_fracture() -> None:
    rows = [case(i, "arthroplasty", "arthroplasty") for i in range(6)]
    rows += [case(20 + i, "intertrochanteric", "intertrochanteric") for i in range(6)]
    result = evaluate_readings(rows, "manual", bootstrap=DRAWS)
    assert result.binary.positives == 6
    assert result.binary.auc.value == 1.0


def test_labelled_and_found_boxes_are_compared(cases: list[HipCase]) -> None:
    from dataclasses import replace

    worse = [replace(c, automatic=sharp("normal")) if i % 3 == 0 else c for i, c in enumerate(cases)]
    result = evaluate_hips(worse, resamples=300)
    assert result.multiclass_kappas is not None
    assert result.multiclass_kappas.difference.value is not None
    assert result.multiclass_kappas.difference.value < -0.05
    same = evaluate_hips(cases, resamples=300)
    assert same.binary_kappas is not None
    assert same.binary_kappas.observed == 0
    json.dumps(result.to_dict(), allow_nan=False)
    with pytest.raises(EvaluationError, match="no hip"):
        evaluate_hips([])


def test_cases_go_through_files(cases: list[HipCase], tmp_path: Path) -> None:
    extra = [ExtraBox("9.png", "right", BOX, 0.5)]
    write_cases(tmp_path / "a.jsonl", cases[:5], extra)
    write_cases(tmp_path / "b.jsonl", cases[5:9])
    found, boxes = read_cases([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert list(found) == cases[:9]
    assert list(boxes) == extra
    with pytest.raises(DataError, match="two files"):
        read_cases([tmp_path / "a.jsonl", tmp_path / "a.jsonl"])
    (tmp_path / "c.jsonl").write_text('{"kind": "hip", "sauce": 1}\n')
    with pytest.raises(DataError, match="sauce"):
        read_cases([tmp_path / "c.jsonl"])


def test_the_reader_study_on_simulated_readers() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 6, 200)
    judged = [
        replace(case(i, CLASSES[c], CLASSES[c if rng.random() < 0.93 else (c + 1) % 6]), group=f"p{i}")
        for i, c in enumerate(truth)
    ]
    study = simulated_study(judged, resamples=200, seed=3)
    rows = {(row.group, row.condition): row for row in study}
    assert set(rows) == {(g, c) for g in ("experts", "residents") for c in ("model-quality", "full-quality", "aided")}
    poor = rows["residents", "model-quality"].multiclass
    assert poor.verdict == "superior"
    assert poor.difference.value > rows["residents", "aided"].multiclass.difference.value  # type: ignore[operator]
    assert rows["residents", "model-quality"].binary.readers_below_band is True
    assert 0 < poor.margin < 0.15
    assert len(study_lines(study)) == 7
    assert simulated_study(judged, resamples=200, seed=3)[0].to_dict() == study[0].to_dict()
    with pytest.raises(EvaluationError, match="known class"):
        simulated_study([])


def test_readings_that_cannot_be() -> None:
    with pytest.raises(EvaluationError, match="condition"):
        GroupReadings("experts", "blind", np.zeros((1, 3), np.int64))
    six = GroupReadings("experts", "aided", np.full((1, 3), 6))
    with pytest.raises(EvaluationError, match="classes are numbers"):
        reader_study([0, 1, 2], np.full((3, 6), 1 / 6), [six], fractures=BROKEN)


def test_a_report_folder(cases: list[HipCase], tmp_path: Path) -> None:
    path = save(tmp_path / "report", evaluate_hips(cases, resamples=100), cases)
    report = json.loads(path.read_text())
    assert report["manual"]["multiclass_accuracy"]["value"] == pytest.approx(48 / 54)
    assert {p.name for p in path.parent.iterdir()} == {
        "report.json", "report.txt", "cases.jsonl", "roc.png", "confusion.png"
    }  # fmt: skip


def test_the_command_line(hip_weights: Path, toy_set: Path, tmp_path: Path) -> None:
    run = CliRunner()
    options = ["--bootstrap", "50", "--precision", "float32", "--weights", str(hip_weights)]
    done = run.invoke(app, ["evaluate", str(toy_set), "--out", str(tmp_path / "one"), *options])
    assert done.exit_code == 0, done.output
    assert "hips found" in done.output
    cases, _ = read_cases([tmp_path / "one" / "cases.jsonl"])
    assert len(cases) == 32
    pooled = ["evaluate", "--cases", str(tmp_path / "one" / "cases.jsonl"), "--out", str(tmp_path / "two")]
    assert run.invoke(app, [*pooled, "--bootstrap", "50"]).exit_code == 0
    assert run.invoke(app, [*pooled, str(toy_set)]).exit_code == 1  # a typed error, exit code 2 in `fracture`


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_reader_options_of_the_command_line(toy_set: Path, tmp_path: Path, command: str) -> None:
    start = ["evaluate"] if command == "evaluate" else ["train", "small", "--data"]
    for option, told in (("regoin=hip", "regoin"), ("fracture_classes=a", "classes of their own")):
        done = CliRunner().invoke(app, [*start, str(toy_set), "--out", str(tmp_path / "out"), "-o", option])
        assert done.exit_code == 1  # a typed error, exit code 2 in `fracture`
        assert isinstance(done.exception, ConfigurationError)
        assert told in str(done.exception)


def test_networks_without_a_tuned_threshold_say_so(hip_weights: Path, toy_set: Path) -> None:
    reader = load(hip_weights, device="cpu", precision="float32")
    path = toy_set / "images" / "3.png"
    for method, warned in (("fixed: too few hips to find it on", True), ("nearest to the corner", False)):
        threshold = reader.card.fracture.model_copy(update={"method": method})
        reader.card = reader.card.model_copy(update={"fracture": threshold})
        assert any("placeholder" in warning for warning in reader.read_film(path).warnings) is warned
