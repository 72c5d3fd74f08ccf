"""Comparison of the predictions with a second model, or with human readers, on the same films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from fracture.data.files import Problems, first_of, load_csv
from fracture.data.words import as_label
from fracture.errors import DataError, EvaluationError, UnreadableDataError
from fracture.evaluation.files.predictions import NAME_COLUMNS
from fracture.evaluation.stats.agreement import (
    KAPPA_DIFFERENCE,
    MARGIN,
    KappaComparison,
    McNemar,
    OperatingPoint,
    compare_kappa,
    mcnemar,
    readers_point,
)
from fracture.evaluation.stats.auc_variance import PairedAuc, delong_test
from fracture.evaluation.stats.checks import BoolArray, IntArray
from fracture.evaluation.stats.comparison import PairedDifference, paired_bootstrap
from fracture.evaluation.stats.record import Record
from fracture.evaluation.stats.resampling import DEFAULT, Bootstrap, bootstrap_keywords
from fracture.evaluation.stats.roc import roc_band
from fracture.evaluation.stats.scores import one_class_reason
from fracture.evaluation.tables import Cases, match_names


@dataclass(frozen=True, slots=True)
class Opponent(Record, keys={"auc": "delong"}):
    """One comparison on the films that both sides judged.

    Attributes:
        name: The second model or the group of readers.
        kind: ``"model"`` or ``"readers"``.
        films: Films that both judged.
        readers: Readers in the group, 0 for a model.
        differences: Paired bootstrap of metrics, first minus second (models only).
        auc: DeLong's paired test (models only), ``None`` where not defined.
        mcnemar: By ``"sensitivity"`` (fractured films), ``"specificity"`` (normal films) and ``"accuracy"``.
        kappa: Difference of kappas with the reference and its verdict, ``None`` without calls.
        point: The readers' pooled operating point (readers only).
    """

    name: str
    kind: str
    films: int
    readers: int
    differences: tuple[PairedDifference, ...]
    auc: PairedAuc | None
    mcnemar: dict[str, McNemar]
    kappa: KappaComparison | None
    point: OperatingPoint | None


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Calls of human readers.

    Attributes:
        source: The file.
        calls: Group of readers to reader to film name to call.
    """

    source: str
    calls: Mapping[str, Mapping[str, Mapping[str, bool]]]


@bootstrap_keywords
def compare_models(
    first: Cases,
    second: Cases,
    *,
    name: str = "second model",
    bootstrap: Bootstrap = DEFAULT,
    kappa_resamples: int = 2000,
    margin: float = MARGIN,
) -> Opponent:
    """Compare two models on the films that both judged.

    Args:
        first: The model under test.
        second: The other, joined with the same reference.
        name: What to call it.
        bootstrap: How the paired differences are drawn; the groups are the films' own.
        kappa_resamples: Iterations for the difference of kappas (2,000 in the hip paper).
        margin: Non-inferiority margin of the kappa.

    Raises:
        EvaluationError: No film in common.
    """
    place = {film: index for index, film in enumerate(second.names)}
    rows = np.array([i for i, film in enumerate(first.names) if film in place], dtype=np.int64)
    if rows.size == 0:
        raise EvaluationError("the two models judged no film in common", hint="they need the same reference")
    other = np.array([place[first.names[i]] for i in rows.tolist()], dtype=np.int64)
    truth, draws = first.labels[rows], _draws(bootstrap, first, rows)
    differences = []
    test = None
    if one_class_reason(truth) is None:
        metrics = ["auc", "average_precision"]
        if all(s.min() >= 0 and s.max() <= 1 for s in (first.scores, second.scores)):
            metrics.append("brier")
        differences = [
            paired_bootstrap(truth, first.scores[rows], second.scores[other], metric, bootstrap=draws)
            for metric in metrics
        ]
        test = delong_test(truth, first.scores[rows], second.scores[other], groups=draws.groups, level=draws.level)
    tests: dict[str, McNemar] = {}
    kappa = None
    if first.calls is not None and second.calls is not None:
        a, b = first.calls[rows], second.calls[other]
        differences += [
            paired_bootstrap(truth, a, b, metric, bootstrap=draws) for metric in ("sensitivity", "specificity")
        ]
        tests = _mcnemar(truth, a, b)
        paper = replace(draws, resamples=kappa_resamples, one_per_group=True)
        kappa = compare_kappa(truth, a, b, bootstrap=paper, margin=margin)
    return Opponent(name, "model", rows.size, 0, tuple(differences), test, tests, kappa, None)


def read_readings(path: str | PathLike[str]) -> Readings:
    """Read a CSV of readers' calls: columns ``reader``, a film name, ``fractured``, and optionally ``training``.

    Readers of one ``training`` are pooled; without that column all readers are one group.

    Raises:
        UnreadableDataError: A column is missing.
        DataError: Calls that are neither 0 nor 1, or a film read twice by one reader.
    """
    file = Path(path)
    table = load_csv(file)
    columns = table.columns
    film_column = first_of(columns, NAME_COLUMNS)
    if film_column is None or "reader" not in columns or "fractured" not in columns:
        raise UnreadableDataError(
            f"{file}: a CSV of readings needs the columns reader, a film name and fractured",
            got=", ".join(columns[:12]),
        )
    problems = Problems(str(file))
    calls: dict[str, dict[str, dict[str, bool]]] = {}
    for number, row in enumerate(table.rows, 2):
        call = as_label(row.get("fractured"))
        film, reader = row.get(film_column) or "", row.get("reader") or ""
        if call is None or not film or not reader:
            problems.add("rows without a reader, a film or a call of 0 or 1", f"row {number}")
            continue
        mine = calls.setdefault(row.get("training") or "readers", {}).setdefault(reader, {})
        if film in mine:
            problems.add("films that one reader read twice", f"{reader} {film}")
        mine[film] = call
    problems.raise_if_any()
    if not calls:
        raise DataError(f"{file}: the file holds no reading")
    return Readings(str(file), calls)


@bootstrap_keywords
def compare_readers(
    cases: Cases,
    readings: Readings,
    *,
    bootstrap: Bootstrap = KAPPA_DIFFERENCE,
    margin: float = MARGIN,
) -> tuple[Opponent, ...]:
    """Compare the model's calls with each group of readers, as Krogue et al. 2020 do.

    A group is judged on the films that all its readers read. The ROC band for the superiority rule is made on the
    same films, with one film per patient in each iteration.

    Args:
        cases: The model's films with their calls.
        readings: What readers called them, from :func:`read_readings`.
        bootstrap: For the band and the intervals.
        margin: By how much sensitivity or specificity may be lower and still count as not inferior; the default is
            Krogue's.

    Raises:
        DataError: Readings of unknown films, or no film that all readers of a group read.
        EvaluationError: The predictions carry no calls.
    """
    if cases.calls is None:
        raise EvaluationError("readers are compared with calls", hint="the predictions need calls, or a threshold")
    result = []
    for group, readers in readings.calls.items():
        problems = Problems(readings.source)
        tables: list[dict[int, bool]] = []
        for reader, calls in readers.items():
            names = list(calls)
            found = match_names(names, cases.names, None, None, problems)
            for name, index in zip(names, found.tolist(), strict=True):
                if index < 0:
                    problems.add("films that were not judged by the model", f"{reader} {name}")
            tables.append({i: calls[n] for n, i in zip(names, found.tolist(), strict=True) if i >= 0})
        problems.raise_if_any("readers and model must judge films of the same reference")
        shared = sorted(set.intersection(*(set(table) for table in tables)))
        if not shared:
            raise DataError(f"{readings.source}: no film was read by all readers of {group!r}")
        rows = np.array(shared, dtype=np.int64)
        matrix = np.array([[table[i] for i in shared] for table in tables], dtype=bool)
        truth, calls_here = cases.labels[rows], cases.calls[rows]
        draws = replace(_draws(bootstrap, cases, rows), one_per_group=True)
        band = None
        if one_class_reason(truth) is None:
            band = roc_band(truth, cases.scores[rows], bootstrap=draws)
        kappa = compare_kappa(truth, calls_here, matrix, bootstrap=draws, margin=margin, band=band)
        tests = _mcnemar(truth, calls_here, matrix[0]) if len(tables) == 1 else {}
        point = readers_point(truth, matrix, level=draws.level)
        result.append(Opponent(group, "readers", rows.size, len(tables), (), None, tests, kappa, point))
    return tuple(result)


def _mcnemar(truth: BoolArray, first: BoolArray, second: BoolArray) -> dict[str, McNemar]:
    tests = {"accuracy": mcnemar(truth, first, second)}
    for name, part in (("sensitivity", truth), ("specificity", ~truth)):
        if part.any():
            tests[name] = mcnemar(truth[part], first[part], second[part])
    return tests


def _draws(bootstrap: Bootstrap, cases: Cases, rows: IntArray) -> Bootstrap:
    return replace(bootstrap, groups=cases.groups).of(rows)
