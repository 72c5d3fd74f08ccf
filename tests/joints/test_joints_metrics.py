"""Weighted errors and Bayes factors against what independent implementations gave, and the traps of each."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracture.errors import DataError, EvaluationError
from fracture.evaluation import Bootstrap, bayes_factors, concordance_index, paired_tests
from fracture.joints.layout import BY_NAME, ROW
from fracture.joints.metrics import (
    BINS,
    compare,
    discordant,
    divide_by_weight,
    ensembles,
    errors,
    evaluate_scores,
)
from fracture.joints.table import JOINTS, ScoreTable, read_table, write_table

NAMES = ("pred_good", "pred_close", "pred_poor", "pred_zero")


@pytest.fixture(scope="module")
def tables(shared_data: Path) -> Path:
    return shared_data / "challenge_tables" / "ra2"


@pytest.fixture(scope="module")
def expected(tables: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tables / "expected.json").read_text(encoding="utf-8"))
    return found


def made(patients: int = 12, seed: int = 0, noise: float = 0.0) -> ScoreTable:
    """Patients from healthy to destroyed, the last at the maximum of every joint."""
    rng = np.random.default_rng(seed)
    most = np.array([BY_NAME[name].maximum for name in JOINTS])
    values = np.floor(rng.random((patients, 86)) * most * np.linspace(0, 1, patients)[:, None] ** 2)
    values[-1] = most
    if noise:
        values = np.clip(values + np.random.default_rng(seed + 1).normal(0, noise, values.shape), 0, None)
    return ScoreTable(tuple(f"P{k}" for k in range(patients)), values)


def plain_errors(gold: ScoreTable, found: ScoreTable) -> dict[str, float]:
    """The metrics in plain Python, for one reading each."""

    def weight(score: float) -> float:
        for bound, power in ((0, 0.0), (1, 1.0), (3, 1.1), (7, 1.95), (20, 3.0), (55, 4.0), (148, 5.0)):
            if score <= bound:
                return 2.0**power
        return 64.0

    result = {}
    total = [weight(s) for s in gold.overall("total")]
    gaps = [
        math.log(p + 1) - math.log(g + 1) for p, g in zip(found.overall("total"), gold.overall("total"), strict=True)
    ]
    result["sc1_wmae"] = math.fsum(w * abs(d) for w, d in zip(total, gaps, strict=True)) / math.fsum(total)
    result["sc1_wrmse"] = math.sqrt(math.fsum(w * d * d for w, d in zip(total, gaps, strict=True)) / math.fsum(total))
    for prefix, kind, letter in (("sc2", "narrowing", "_J_"), ("sc3", "erosion", "_E_")):
        weights = [weight(s) for s in gold.overall(kind)]
        for part, limb in (("hand", "H"), ("foot", "F")):
            places = [k for k, name in enumerate(JOINTS) if letter in name and name[1] == limb]
            squares = [
                [(math.log(found.values[r, k] + 1) - math.log(gold.values[r, k] + 1)) ** 2 for k in places]
                for r in range(len(gold))
            ]
            rows, whole = [math.fsum(row) / len(places) for row in squares], math.fsum(weights)
            key = f"{prefix}_{kind}_{part}_"
            result[key + "pooled"] = math.sqrt(math.fsum(w * r for w, r in zip(weights, rows, strict=True)) / whole)
            result[key + "mean_of_patient_rmse"] = (
                math.fsum(w * math.sqrt(r) for w, r in zip(weights, rows, strict=True)) / whole
            )
            columns = zip(*squares, strict=True)
            result[key + "mean_of_joint_wrmse"] = math.fsum(
                math.sqrt(math.fsum(w * s for w, s in zip(weights, column, strict=True)) / whole) for column in columns
            ) / len(places)
    return result


def test_errors_are_those_of_plain_python() -> None:
    gold, found = made(), made(noise=0.7)
    ours = errors(gold, found)
    for name, value in plain_errors(gold, found).items():
        assert float(ours[name](np.ones((1, 12)))[0]) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("name", [*NAMES, "gold"])
def test_errors_are_those_of_two_other_implementations(name: str, tables: Path, expected: dict[str, Any]) -> None:
    gold, found = read_table(tables / "gold.csv"), read_table(tables / f"{name}.csv", predicted=True)
    ours = errors(gold, found)
    assert set(ours) == set(expected["metrics"][name])
    for metric, value in expected["metrics"][name].items():
        assert float(ours[metric](np.ones((1, len(gold))))[0]) == pytest.approx(value, abs=1e-12, rel=0), metric


def test_weights_of_half_scores_and_at_every_bound() -> None:
    scores = [0, 0.5, 1, 1.5, 3, 3.5, 7, 7.5, 20, 20.5, 55, 56, 148, 149, 448]
    powers = [0, 1, 1, 1.1, 1.1, 1.95, 1.95, 3, 3, 4, 4, 5, 5, 6, 6]
    assert BINS.weights(scores).tolist() == pytest.approx([2.0**power for power in powers], abs=1e-15)
    with pytest.raises(EvaluationError):
        BINS.weights([1, -1])


def test_bootstraps_and_bayes_factors_are_those_of_challengescoring(tables: Path, expected: dict[str, Any]) -> None:
    gold = read_table(tables / "gold.csv")
    gold = gold.of(sorted(gold.patients))
    counts = np.zeros((200, len(gold)))
    for row, drawn in enumerate(np.loadtxt(tables / "bootstrap_indices.csv", delimiter=",", skiprows=1, dtype=int)):
        np.add.at(counts[row], drawn, 1)
    scores = np.loadtxt(tables / "bootstrap_scores.csv", delimiter=",", skiprows=1)
    for column, name in enumerate(NAMES):
        metric = errors(gold, read_table(tables / f"{name}.csv", predicted=True))["sc2_narrowing_joint_pooled"]
        np.testing.assert_allclose(metric(counts), scores[:, column], rtol=0, atol=1e-12)
    for reference in range(4):
        for inverted in (False, True):
            wanted = [float(k) for k in expected["bayes"][f"ref{reference}_inv{int(inverted)}"]]
            assert bayes_factors(scores, reference, invert=inverted).tolist() == pytest.approx(wanted, rel=1e-12)


def test_a_bayes_factor_is_two_sided() -> None:
    ties = [[1, 1, 2], [1, 2, 0.5], [1, 0, 2], [1, 1.5, 0.5]]
    assert bayes_factors(ties, 0).tolist() == [0, 3, 1]
    assert bayes_factors(ties, 0, invert=True).tolist() == pytest.approx([math.inf, 1 / 3, 1])
    pair = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 0.0], [1.0, 3.0]])
    assert bayes_factors(pair, 0)[1] == bayes_factors(pair, 1)[0] == 3
    one_sided = [[1.0, 2.0, 0.0], [1.0, 2.0, 0.5]]
    assert bayes_factors(one_sided, 0).tolist() == [0, math.inf, math.inf]  # different, worse and better alike
    for values, reference in (([[1.0, np.nan]], 0), ([1.0, 2.0], 0), ([[1.0, 2.0]], 2)):
        with pytest.raises(EvaluationError):
            bayes_factors(values, reference)


def test_comparison_tells_the_direction_and_equal_predictions() -> None:
    gold, good, poor = made(), made(noise=0.2), made(noise=1.5)
    rows = compare(gold, {"poor": poor, "good": good, "again": good}, draws=Bootstrap(resamples=200))
    assert [row.name for row in rows] == ["good", "again", "poor"]
    assert [row.verdict for row in rows] == ["reference", "tied", "worse"]
    assert rows[2].bayes_factor > 3
    assert compare(gold, {"poor": poor, "good": good}, reference="poor")[0].verdict == "better"
    for options in ({"metric": "rmse"}, {"reference": "else"}):
        with pytest.raises(EvaluationError):
            compare(gold, {"poor": poor}, **options)


def test_ensembles_are_means_of_the_best() -> None:
    gold = made()
    noisy = {
        str(seed): ScoreTable(gold.patients, np.clip(gold.values + rng, 0, None))
        for seed, rng in enumerate(np.random.default_rng(5).normal(0, 0.8, (3, *gold.values.shape)))
    }
    rows = ensembles(gold, noisy, metric="sc2_narrowing_joint_pooled", draws=Bootstrap(resamples=50))
    assert len(rows) == 3
    assert rows[0].verdict == "reference"
    assert rows[2].error.value < rows[0].error.value  # independent errors average out
    mean = ScoreTable.mean(list(noisy.values()))
    np.testing.assert_allclose(mean.values, np.mean([one.values for one in noisy.values()], axis=0))


def test_concordance_counts_ties_half() -> None:
    rng = np.random.default_rng(3)
    for truth, found in ((rng.random(20), rng.random(20)), (rng.integers(0, 4, 25), rng.integers(0, 3, 25))):
        pairs = [(i, j) for i, j in combinations(range(len(truth)), 2) if truth[i] != truth[j]]
        points = [
            0.5 if found[i] == found[j] else float((truth[i] < truth[j]) == (found[i] < found[j])) for i, j in pairs
        ]
        assert concordance_index(truth, found) == pytest.approx(sum(points) / len(pairs), abs=1e-12)
    assert concordance_index([1, 1, 1], [1, 2, 3]) is None
    assert concordance_index([1, 2, 3], [1, 1, 1]) == 0.5


def test_paired_tests_are_corrected_together() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(30)
    rows = {"top": base, "same": base, "near": base + rng.normal(0, 0.1, 30), "far": base + rng.normal(1, 0.1, 30)}
    found = {row.name: row for row in paired_tests(rows, "top")}
    assert set(found) == {"same", "near", "far"}
    assert found["same"].p_value == 1
    assert found["far"].adjusted == pytest.approx(min(1.0, 3 * found["far"].p_value))
    assert all(row.adjusted >= row.p_value for row in found.values())
    assert found["far"].difference == pytest.approx(1, abs=0.1)


def test_parts_share_the_weight_and_keep_patients_together() -> None:
    rng = np.random.default_rng(0)
    score = np.floor(np.exp(rng.normal(2.2, 1.4, 674))) - 1
    score = np.clip(score, 0, 448)
    patient = np.concatenate([np.arange(562), rng.choice(562, 112, replace=False)])
    shares = {"train": 367, "leaderboard": 119, "final": 188}
    parts = np.array(divide_by_weight(score, shares, groups=patient, seed=1))
    weights = BINS.weights(score)
    for name, share in shares.items():
        assert weights[parts == name].sum() / weights.sum() == pytest.approx(share / 674, abs=0.01)
    for one in set(patient[562:]):
        assert len(set(parts[patient == one])) == 1
    assert parts.tolist() == list(divide_by_weight(score, shares, groups=patient, seed=1))
    with pytest.raises(EvaluationError):
        divide_by_weight(score, {"a": 0})


def test_joints_to_read_again() -> None:
    gold = made()
    values = gold.values.copy()
    foot, hand = JOINTS.index("LF_mtp_E__2"), JOINTS.index("RH_mcp_J__2")
    values[0, foot], values[1, hand], values[2, foot] = 9, 1.6, gold.values[2, foot] + 3.9
    found = discordant(gold, ScoreTable(gold.patients, values))
    assert [(one.patient, one.column) for one in found] == [("P0", "LF_mtp_E__2"), ("P1", "RH_mcp_J__2")]
    assert found[0].share == pytest.approx(0.9)


def test_a_table_is_read_back_as_written(tmp_path: Path) -> None:
    gold, found = made(), made(noise=0.3)
    for name, table in (("gold", gold), ("found", found)):
        write_table(table, tmp_path / f"{name}.csv")
        again = read_table(tmp_path / f"{name}.csv", predicted=name == "found")
        assert again.patients == table.patients
        np.testing.assert_array_equal(again.values, table.values)
        np.testing.assert_array_equal(again.sums, table.sums)
    header = (tmp_path / "gold.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header == list(ROW)
    assert len(header) == 90
    assert gold.sums[-1].tolist() == [448, 280, 168]
    rounded = found.rounded(near_zero=0.6)
    assert set(np.unique(rounded.values[found.values <= 0.6])) == {0.0}
    assert rounded.sums[:, 0] == pytest.approx(rounded.values.sum(axis=1))


def test_the_challenge_table_has_our_columns(tables: Path) -> None:
    header = (tables / "gold.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == list(ROW)


def test_faults_of_a_table_are_told_together(tmp_path: Path) -> None:
    write_table(made(), tmp_path / "good.csv")
    lines = (tmp_path / "good.csv").read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    at = ROW.index("LH_pip_J__2")
    bad = [*lines, ",".join(cells), ",".join(["P99", *cells[1:at], "4.5", *cells[at + 1 :]])]
    bad.append(",".join(["P98", *cells[1:at], "x", *cells[at + 1 :]]))
    (tmp_path / "bad.csv").write_text("\n".join(bad), encoding="utf-8")
    with pytest.raises(DataError) as raised:
        read_table(tmp_path / "bad.csv")
    for part in ("row 14 P0", "P99 LH_pip_J__2 4.5 > 4", "P98 LH_pip_J__2 'x'"):
        assert part in str(raised.value)
    wrong = ",".join([cells[0], "7", *cells[2:]])
    (tmp_path / "sums.csv").write_text("\n".join([lines[0], wrong]), encoding="utf-8")
    with pytest.raises(DataError, match="P0 Overall_Tol 7, its joints 0"):
        read_table(tmp_path / "sums.csv")
    assert read_table(tmp_path / "sums.csv", predicted=True).overall("total").tolist() == [7]
    (tmp_path / "short.csv").write_text("Patient_ID,Overall_Tol\nA,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns are missing"):
        read_table(tmp_path / "short.csv")
    with pytest.raises(EvaluationError, match="same patients"):
        errors(made(), made(5))


def test_the_whole_report_has_intervals_and_ranks() -> None:
    found = evaluate_scores(made(), made(noise=0.4), draws=Bootstrap(resamples=60))
    assert found.errors["sc1_wmae"].has_interval
    assert 0.5 < (found.spearman["narrowing"].value or 0) < 1
    assert len(found.joints) == 86
    assert json.loads(json.dumps(found.to_dict()))["spearman"]["total"]["n"] == 12
