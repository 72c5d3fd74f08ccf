"""A folder for people and programs: report.json, the judged hips, a table in words, and the figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fracture.atomic import write_text
from fracture.errors import DataError
from fracture.evaluation.page.plots import BLUE, GREEN, ORANGE, style
from fracture.evaluation.stats.reader_study import StudyRow
from fracture.hip.cases import ExtraBox, HipCase, write_cases
from fracture.hip.classes import CLASSES, LABELS
from fracture.hip.evaluation import HipEvaluation, Reading
from fracture.io.marks import png_mark


def save(
    folder: str | Path,
    evaluation: HipEvaluation,
    cases: Sequence[HipCase],
    extra: Sequence[ExtraBox] = (),
    study: Sequence[StudyRow] = (),
) -> Path:
    """Write ``report.json``, ``report.txt``, ``cases.jsonl``, ``roc.png`` and ``confusion.png``.

    Returns:
        The path of ``report.json``.

    Raises:
        DataError: The folder cannot be written.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_cases(target / "cases.jsonl", cases, extra)
        content: dict[str, Any] = evaluation.to_dict()
        if study:
            content["simulated_readers"] = [row.to_dict() for row in study]
        text = json.dumps(content, indent=1, allow_nan=False)
        write_text(target / "report.json", text + "\n")
        lines = [*headline(evaluation), *study_lines(study)]
        write_text(target / "report.txt", "\n".join(lines) + "\n")
        reading = evaluation.automatic or evaluation.manual
        if reading is not None:
            for name, figure in (("roc", roc_figure(reading)), ("confusion", confusion_figure(reading))):
                FigureCanvasAgg(figure).print_figure(
                    target / f"{name}.png", dpi=150, pil_kwargs={"pnginfo": png_mark()}
                )
    except OSError as error:
        raise DataError(f"{target}: the report cannot be written", got=error.strerror) from error
    return target / "report.json"


def headline(evaluation: HipEvaluation) -> list[str]:
    """The report in words, one line per number."""
    found = evaluation.localization
    spread = "" if found.deviation is None else f", SD {found.deviation:.3f}, minimum {found.minimum:.3f}"
    lines = [
        (
            f"hips found: {found.found.text(percent=True)} % of {found.hips}; "
            f"sides right: {found.side_right.text(percent=True)} %; boxes without a labeled hip: {found.extra}"
        ),
        f"IoU: mean {found.mean.text()}{spread}",
    ]
    for reading in (evaluation.manual, evaluation.automatic):
        if reading is not None:
            lines += _reading_lines(reading)
    for name, kappas in (("binary", evaluation.binary_kappas), ("multiclass", evaluation.multiclass_kappas)):
        if kappas is not None:
            lines.append(f"kappa, found minus labeled boxes, {name}: {kappas.difference.text()} ({kappas.verdict})")
    return lines


def _reading_lines(reading: Reading) -> list[str]:
    binary = reading.binary
    fracture = [
        f"AUC {binary.auc.text()}",
        f"accuracy {reading.binary_accuracy.text(percent=True)} %",
        f"sensitivity {binary.sensitivity.text(percent=True)} %",
        f"specificity {binary.specificity.text(percent=True)} %",
    ]
    lines = [
        f"by {reading.boxes} boxes ({reading.not_judged} hips without):",
        f"  fracture: {', '.join(fracture)}",
        f"  accuracy, six classes: {reading.multiclass_accuracy.text(percent=True)} %",
        f"  accuracy, four groups: {reading.region_accuracy.text(percent=True)} %",
        f"  accuracy, all that is known: {reading.known_accuracy.text(percent=True)} %",
    ]
    for row in reading.classes:
        if row.positives:
            ideal = "" if row.ideal is None else (
                f", ideal point {row.ideal.threshold:.3f}: {row.ideal.sensitivity.text(percent=True)} / "
                f"{row.ideal.specificity.text(percent=True)} %"
            )  # fmt: skip
            lines.append(
                f"  {LABELS[row.name]} ({row.positives}): sensitivity {row.sensitivity.text(percent=True)} %, "
                f"specificity {row.specificity.text(percent=True)} %, AUC {row.auc.text()}{ideal}"
            )
    return lines


def study_lines(study: Sequence[StudyRow]) -> list[str]:
    """The reader-study table in words."""
    rows = [
        f"  {row.group}, {row.condition}: binary {row.binary.difference.text()} ({row.binary.verdict}), "
        f"multiclass {row.multiclass.difference.text()} ({row.multiclass.verdict})"
        for row in study
    ]
    return ["model minus simulated readers, difference of kappas:", *rows] if rows else []


def roc_figure(reading: Reading) -> Figure:
    """Fracture against none with its band on the left, each class against the rest on the right (the paper's Fig 4)."""
    with style():
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, rows in ((left, (reading.binary,)), (right, reading.classes)):
            for place, row in enumerate(rows):
                if row.band is None:
                    continue
                color = (BLUE, ORANGE, GREEN, "#7b3294", "#008080", "#b8860b")[place % 6]
                axes.plot(row.band.fpr, row.band.tpr, color=color, lw=1.6, label=f"{row.name} {row.auc.text()}")
                if len(rows) == 1:
                    axes.fill_between(row.band.fpr, row.band.low, row.band.high, color=color, alpha=0.2, lw=0)
                    if row.ideal is not None and row.ideal.specificity.value is not None:
                        spot = (1 - row.ideal.specificity.value, row.ideal.sensitivity.value or 0.0)
                        axes.plot(*spot, "o", color=color, ms=5)
            axes.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="lower right")
        left.set_title("fracture against none")
        right.set_title("each class against the rest")
    return figure


def confusion_figure(reading: Reading) -> Figure:
    """The normalized confusion matrix (the paper's Fig 3): true class down, called class across."""
    with style():
        figure = Figure(figsize=(5.5, 5), layout="constrained")
        axes = figure.subplots()
        axes.imshow(np.nan_to_num(reading.confusion), cmap="Blues", vmin=0, vmax=1)
        names = [name.replace("_", "\n") for name in CLASSES]
        axes.set_xticks(range(len(CLASSES)), names, fontsize=7, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(
            range(len(CLASSES)), [f"{n}\n({c})" for n, c in zip(names, reading.counts, strict=True)], fontsize=7
        )
        for i, j in np.ndindex(reading.confusion.shape):
            value = reading.confusion[i, j]
            text = "-" if np.isnan(value) else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > 0.5 else "black")
        axes.set(xlabel="called", ylabel="true (hips)")
    return figure
