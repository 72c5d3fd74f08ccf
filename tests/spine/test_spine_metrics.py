"""The scores of RSNA 2024 and RSNA 2022: exact, joined by name, and what stands behind them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from fracture.errors import ConfigurationError, DataError, FractureError, UnreadableDataError
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.spine.cervical import metric as cervical
from fracture.spine.lumbar import metric as lumbar
from fracture.spine.tables import mean_of

FEW = Bootstrap(resamples=20)

# Table 1 of Lee et al. 2024: fractures by level in the training set, the public and the private test set.
TABLE_1 = {
    "C1": (146, 26, 69),
    "C2": (285, 32, 104),
    "C3": (73, 8, 57),
    "C4": (108, 7, 82),
    "C5": (162, 17, 106),
    "C6": (277, 30, 128),
    "C7": (393, 55, 126),
}
EXAMS, POSITIVE, FRACTURES = (2019, 304, 789), (961, 122, 362), (1444, 175, 672)
TABLE_2 = (0.2047, 0.2389, 0.2412, 0.2456, 0.2580, 0.2631, 0.2634, 0.2657)


def lumbar_case(studies: int = 12, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    draw = np.random.default_rng(seed)
    truth, predicted = {}, {}
    for study in range(studies):
        for row in lumbar.ROWS:
            grade = int(draw.choice(3, p=(0.7, 0.2, 0.1)))
            p = draw.dirichlet(np.ones(3) + 3 * (np.arange(3) == grade))
            truth[f"{study}_{row}"] = (*(float(k == grade) for k in range(3)), float(2**grade))
            predicted[f"{study}_{row}"] = tuple(p.tolist())
    return truth, predicted


def shuffled(rows: dict[str, Any]) -> dict[str, Any]:
    keys = list(rows)
    random.Random(1).shuffle(keys)
    return {key: rows[key] for key in keys}


def test_the_lumbar_score_is_scikit_learns_group_by_group() -> None:
    truth, predicted = lumbar_case()
    found = lumbar.score(truth, predicted)
    for group in lumbar.GROUPS:
        keys = [key for key in truth if group in key]
        expected = log_loss(
            [int(np.argmax(truth[key][:3])) for key in keys],
            [predicted[key] for key in keys],
            sample_weight=[truth[key][3] for key in keys],
            labels=[0, 1, 2],
        )
        assert getattr(found, group) == pytest.approx(expected, abs=1e-12)
    canal = [[key for key in truth if key.startswith(f"{k}_spinal")] for k in range(12)]
    expected = log_loss(
        [max(truth[key][2] for key in keys) for keys in canal],
        [max(predicted[key][2] for key in keys) for keys in canal],
        sample_weight=[max(truth[key][3] for key in keys) for keys in canal],
    )
    assert found.any_severe_spinal == pytest.approx(expected, abs=1e-12)
    three = found.spinal + found.foraminal + found.subarticular
    assert found.score == pytest.approx((three + expected) / 4, abs=1e-12)
    assert lumbar.score(truth, predicted, any_severe_scalar=0).score == pytest.approx(three / 3, abs=1e-12)
    assert lumbar.score(shuffled(truth), shuffled(predicted)).score == pytest.approx(found.score, abs=1e-12)
    assert not found.both_declared


def test_lumbar_rows_are_normalized_here_and_zeros_are_clipped() -> None:
    truth, predicted = lumbar_case(3)
    doubled = {key: tuple(3 * value / 4 for value in p) for key, p in predicted.items()}
    found, other = lumbar.score(truth, predicted), lumbar.score(truth, doubled)
    assert other.foraminal == pytest.approx(found.foraminal, abs=1e-12)
    sure = dict.fromkeys(truth, (0.0, 0.0, 1.0))
    eps = np.finfo(float).eps
    expected = [-math.log(eps) if truth[key][2] == 0 else 0.0 for key in truth if "subarticular" in key]
    weights = [truth[key][3] for key in truth if "subarticular" in key]
    assert lumbar.score(truth, sure).subarticular == pytest.approx(np.average(expected, weights=weights), abs=1e-9)


def test_one_class_of_canals_declares_both_labels() -> None:
    truth, predicted = lumbar_case(4)
    truth = {key: (1.0, 0.0, 0.0, 1.0) if "spinal" in key else values for key, values in truth.items()}
    found = lumbar.score(truth, predicted)
    assert found.both_declared
    worst = [max(predicted[key][2] for key in truth if key.startswith(f"{k}_spinal")) for k in range(4)]
    assert found.any_severe_spinal == pytest.approx(-np.log1p(-np.array(worst)).mean(), abs=1e-12)


def test_lumbar_files_are_written_and_read(tmp_path: Path) -> None:
    truth, predicted = lumbar_case(3)
    for key in [key for key in truth if key.endswith("l2_l3")][:4]:
        del truth[key]
    lumbar.write_labels(tmp_path / "train.csv", truth)
    lumbar.write_solution(tmp_path / "solution.csv", truth)
    lumbar.write_submission(tmp_path / "submission.csv", predicted)
    assert lumbar.read_labels(tmp_path / "train.csv") == truth
    assert lumbar.read_solution(tmp_path / "solution.csv") == truth
    assert lumbar.read_submission(tmp_path / "submission.csv") == predicted
    text = (tmp_path / "solution.csv").read_text().splitlines()
    (tmp_path / "blank.csv").write_text("\n".join([*text[:4], f"{text[4].split(',')[0]},,,,", *text[5:]]))
    assert len(lumbar.read_solution(tmp_path / "blank.csv")) == len(truth) - 1
    assert len((tmp_path / "train.csv").read_text().splitlines()[0].split(",")) == 26


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("row_id,normal_mild,moderate\n1_x,1,0\n", UnreadableDataError, "columns are missing: severe"),
        ("row_id,normal_mild,moderate,severe\n1_x,1,0,0\n1_x,1,0,0\n", DataError, r"occur twice \(1\): 1_x"),
        ("row_id,normal_mild,moderate,severe\n1_x,1,nan,0\n", DataError, "numbers of 0 or more"),
        ("row_id,normal_mild,moderate,severe\n1_x,1,-0.1,0\n", DataError, "numbers of 0 or more"),
        ("row_id,normal_mild,moderate,severe\n,1,1,0\n", DataError, "rows without row_id"),
    ],
)
def test_faults_of_a_submission_are_told(text: str, error: type[FractureError], words: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(error, match=words):
        lumbar.read_submission(tmp_path / "s.csv")


def test_faults_of_lumbar_labels_are_told(tmp_path: Path) -> None:
    truth, predicted = lumbar_case(2)
    first = next(iter(predicted))
    del predicted[first]
    with pytest.raises(DataError, match=f"no prediction for 1 of 50 rows; got {first}"):
        lumbar.score(truth, predicted)
    with pytest.raises(DataError, match="none of foraminal"):
        lumbar.score({k: v for k, v in truth.items() if "foraminal" not in k and k != first}, predicted)
    with pytest.raises(ConfigurationError, match="any_severe_scalar"):
        lumbar.score(truth, predicted, any_severe_scalar=-1)
    (tmp_path / "t.csv").write_text("study_id,spinal_canal_stenosis_l1_l2\n7,Awful\n")
    with pytest.raises(DataError, match="7 spinal_canal_stenosis_l1_l2: Awful"):
        lumbar.read_labels(tmp_path / "t.csv")
    (tmp_path / "s.csv").write_text("row_id,normal_mild,moderate,severe,sample_weight\n7_elbow_l1_l2,1,1,0,1\n")
    with pytest.raises(DataError, match=r"not exactly one is 1.*no known condition"):
        lumbar.read_solution(tmp_path / "s.csv")


def test_what_stands_behind_the_lumbar_score() -> None:
    truth, predicted = lumbar_case(30)
    rows = {row.name: row for row in lumbar.analyze(truth, predicted, bootstrap=FEW)}
    assert len(rows) == 1 + 5 + 5 + 25
    assert rows["spinal_canal_stenosis"].log_loss == pytest.approx(lumbar.score(truth, predicted).spinal, abs=1e-12)
    assert rows["l4_l5"].rows == 150
    assert np.sum(rows["all"].confusion) == 750
    keys = [key for key in truth if key.endswith("left_subarticular_stenosis_l5_s1")]
    severe = [truth[key][2] for key in keys]
    one = rows["left_subarticular_stenosis_l5_s1"]
    assert one.severe_auc.value == pytest.approx(roc_auc_score(severe, [predicted[key][2] for key in keys]))
    at = {round(row.threshold, 2): row for row in one.severe_at}
    called = [predicted[key][2] >= 0.3 for key in keys]
    hits = sum(a and bool(b) for a, b in zip(called, severe, strict=True))
    assert (at[0.3].sensitivity.count, at[0.3].called) == (hits, sum(called))
    assert json.loads(json.dumps(one.to_dict()))["severe_auc"]["value"] == one.severe_auc.value


@pytest.mark.parametrize("case", [*"abcdef"])
def test_all_lumbar_cases_of_the_challenge(case: str, shared_data: Path) -> None:
    root = shared_data / "challenge_tables/rsna2024"
    (folder,) = root.glob(f"{case}_*")
    expected = json.loads((root / "expected.json").read_text())["cases"][folder.name]
    predicted = lumbar.read_submission(folder / "submission.csv")
    for truth in (lumbar.read_solution(folder / "solution.csv"), lumbar.read_labels(folder / "train.csv")):
        found = lumbar.score(truth, predicted)
        for name in ("spinal", "foraminal", "subarticular"):
            assert getattr(found, name) == pytest.approx(expected[name], abs=1e-9)
        declared = expected["score"] is None
        assert found.both_declared == declared
        total = expected["score_if_both_labels_declared" if declared else "score"]
        assert found.score == pytest.approx(total, abs=1e-9)
        any_severe = expected["any_if_both_labels_declared" if declared else "any_severe_spinal"]
        assert found.any_severe_spinal == pytest.approx(any_severe, abs=1e-9)


def cervical_case(exams: int = 40, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    draw = np.random.default_rng(seed)
    truth = {}
    for k in range(exams):
        levels = draw.random(7) < 0.15
        truth[f"1.2.{k}"] = np.append(levels, levels.any())
    names = [(exam, k, label) for exam in truth for k, label in enumerate(cervical.LABELS)]
    predicted = {f"{e}_{label}": (float(draw.beta(2 + 3 * truth[e][k], 4)),) for e, k, label in names}
    return truth, predicted


def test_the_cervical_score_is_scikit_learns_exam_by_exam() -> None:
    truth, predicted = cervical_case()
    weights = {exam: np.where(labels, 2, 1) * np.array([1] * 7 + [7]) for exam, labels in truth.items()}
    p = {exam: [predicted[f"{exam}_{label}"][0] for label in cervical.LABELS] for exam in truth}
    by_exam = [log_loss(truth[e], p[e], sample_weight=weights[e], labels=[0, 1]) for e in truth]
    assert cervical.score(truth, predicted) == pytest.approx(np.mean(by_exam), abs=1e-12)
    flat = [np.concatenate([part[e] for e in truth]) for part in (truth, p, weights)]
    every = log_loss(flat[0], flat[1], sample_weight=flat[2])
    assert cervical.score(truth, predicted, normalization="all") == pytest.approx(every, abs=1e-12)
    plain = every * flat[2].sum() / len(flat[2])
    assert cervical.score(truth, predicted, normalization="none") == pytest.approx(plain, abs=1e-12)
    assert cervical.score(truth, shuffled(predicted)) == cervical.score(truth, predicted)
    with pytest.raises(ConfigurationError, match="exam, all, none"):
        cervical.score(truth, predicted, normalization="row")  # type: ignore[arg-type]


def test_the_papers_tables() -> None:
    for k, total in enumerate(FRACTURES):
        assert sum(counts[k] for counts in TABLE_1.values()) == total
    shares = {label: TABLE_1[label][0] / EXAMS[0] for label in cervical.LEVELS}
    shares[cervical.PATIENT] = POSITIVE[0] / EXAMS[0]
    assert list(TABLE_2) == sorted(TABLE_2)
    # The best constant for each label, 2 m / (1 + m), scores 0.5667 over such a population, the winners well below it.
    m = np.array([shares[label] for label in cervical.LABELS])
    best = 2 * m / (1 + m)
    ones, loss_of_one = cervical.losses(np.ones(8, bool), best)
    zeros, loss_of_zero = cervical.losses(np.zeros(8, bool), best)
    found = (m * ones * loss_of_one + (1 - m) * zeros * loss_of_zero).sum() / (m * ones + (1 - m) * zeros).sum()
    assert found == pytest.approx(0.5667, abs=1e-4)
    assert max(TABLE_2) < found


def test_cervical_files_are_written_and_read(tmp_path: Path) -> None:
    truth, predicted = cervical_case(5)
    cervical.write_labels(tmp_path / "train.csv", truth)
    cervical.write_submission(tmp_path / "s.csv", predicted)
    again = cervical.read_labels(tmp_path / "train.csv")
    assert {exam: labels.tolist() for exam, labels in again.items()} == {e: v.tolist() for e, v in truth.items()}
    assert cervical.read_submission(tmp_path / "s.csv") == predicted
    head = (tmp_path / "train.csv").read_text().splitlines()[0]
    assert head == "StudyInstanceUID,patient_overall,C1,C2,C3,C4,C5,C6,C7"
    (tmp_path / "wide.csv").write_text(head + "\n1.2,1,0,0,0,0,0,2,0\n")
    with pytest.raises(DataError, match=r"other than 0 and 1 \(1\): 1.2 C6"):
        cervical.read_labels(tmp_path / "wide.csv")
    (tmp_path / "long.csv").write_text("row_id,fractured\n1.2_C1,0\n1.2_C9,1\n")
    with pytest.raises(DataError, match=r"1.2_C9.*lack labels \(1\): 1.2: C2"):
        cervical.read_truth(tmp_path / "long.csv")
    (tmp_path / "high.csv").write_text("row_id,fractured\n1.2_C1,1.5\n")
    with pytest.raises(DataError, match="probabilities above 1"):
        cervical.read_submission(tmp_path / "high.csv")


def test_sixty_four_thresholds_and_the_comparison_over_levels() -> None:
    truth, _ = cervical_case(60)
    models = {f"m{k}": cervical_case(60, seed=k)[1] for k in range(8)}
    draw = np.random.default_rng(9)
    for predicted in models.values():  # C4 is hard for all of them
        for key in [key for key in predicted if key.endswith("_C4")]:
            predicted[key] = (float(draw.random()),)
        for exam, labels in truth.items():
            for k, label in enumerate(cervical.LABELS):
                if label != "C4":
                    predicted[f"{exam}_{label}"] = (float(np.clip(0.25 + 0.4 * labels[k] + draw.normal(0, 0.1), 0, 1)),)
    sites = {exam: "north" if k % 3 else "south" for k, exam in enumerate(truth)}
    found = cervical.analyze(truth, models, sites=sites, bootstrap=FEW)
    assert len([row.threshold for row in found.labels if row.threshold is not None]) == 64
    one = next(row for row in found.labels if (row.model, row.label) == ("m3", "C6"))
    labels = np.array([values[5] for values in truth.values()])
    p = np.array([models["m3"][f"{exam}_C6"][0] for exam in truth])
    gains = [(p >= t)[labels].mean() - (p >= t)[~labels].mean() for t in np.unique(p)]
    assert one.sensitivity.value + one.specificity.value - 1 == pytest.approx(max(gains))  # type: ignore[operator]
    assert one.auc.value == pytest.approx(roc_auc_score(labels, p))
    auc_test = found.comparisons[0]
    assert auc_test.test is not None
    assert auc_test.test.p_value < 1e-4
    assert len(auc_test.pairs) == 28
    lower = {pair.second: pair.z for pair in auc_test.pairs if pair.first == "C4"}
    assert all(z < 0 for z in lower.values())
    assert len(found.sites) == 2 * 64
    assert {row.site for row in found.sites} == {"north", "south"}
    assert found.losses["m3"] == cervical.score(truth, models["m3"])
    alone = cervical.analyze(truth, {"m0": models["m0"]}, bootstrap=FEW)
    assert alone.sites == ()
    with pytest.raises(DataError, match="without a site; got 60"):
        cervical.analyze(truth, models, sites={})
    with pytest.raises(DataError, match="needs a model"):
        cervical.analyze(truth, {})


def test_a_label_of_one_class_is_not_defined_and_the_rest_goes_on() -> None:
    truth, predicted = cervical_case(20)
    for labels in truth.values():
        labels[2] = False
    found = cervical.analyze(truth, {"m": predicted}, bootstrap=FEW)
    third = found.labels[2]
    assert (third.auc.value, third.threshold) == (None, None)
    assert third.auc.reason == "all 20 films are normal"
    none = cervical.analyze({e: np.zeros(8, bool) for e in truth}, {"m": predicted}, bootstrap=FEW)
    assert none.comparisons[0].test is None
    assert json.dumps(none.to_dict())


def test_ensembles_are_means() -> None:
    _, one = cervical_case(4, seed=1)
    _, two = cervical_case(4, seed=2)
    both = mean_of([one, two])
    assert all(both[key][0] == pytest.approx((one[key][0] + two[key][0]) / 2, abs=1e-15) for key in one)
    with pytest.raises(DataError, match="model 2 of the ensemble has other rows"):
        mean_of([one, {key: value for key, value in two.items() if "C3" not in key}])
    with pytest.raises(DataError, match="needs a model"):
        mean_of([])


@pytest.mark.parametrize("case", [*"abcde"])
def test_all_cervical_cases_of_the_challenge(case: str, shared_data: Path) -> None:
    root = shared_data / "challenge_tables/rsna2022"
    (folder,) = root.glob(f"{case}_*")
    expected = json.loads((root / "expected.json").read_text())["cases"][folder.name]
    predicted = cervical.read_submission(folder / "submission.csv")
    for truth in (cervical.read_truth(folder / "truth.csv"), cervical.read_labels(folder / "truth_wide.csv")):
        for name, key in (("exam", "score"), ("all", "global_ratio"), ("none", "plain_row_mean")):
            found = cervical.score(truth, predicted, normalization=name)  # type: ignore[arg-type]
            assert found == pytest.approx(expected[key], abs=1e-12)
