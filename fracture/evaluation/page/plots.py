"""The report's figures, drawn with matplotlib without touching its global state; PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fracture.atomic import write_text
from fracture.evaluation.cohorts import CohortRow
from fracture.evaluation.stats.checks import FloatArray
from fracture.evaluation.stats.estimate import Estimate
from fracture.io.marks import png_mark

if TYPE_CHECKING:
    from fracture.evaluation.findings import Findings

BLUE, ORANGE, GREEN, GRAY = "#0b5394", "#c55a11", "#2e7d32", "#6b7280"
_INK, _LIGHT = "#1f2933", "#d9dee4"
_ZOOM_FROM = 0.9

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": _LIGHT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.hashsalt": "fracture",
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """The library's look of a figure, inside a ``with``."""
    with mpl.rc_context(cast(Any, _STYLE)):
        yield


def draw_all(report: Findings, folder: Path) -> dict[str, str]:
    """Draw every figure that the report has data for into ``folder`` as PNG (200 dpi) and SVG.

    Returns:
        Figure name to its SVG text.
    """
    texts = {}
    for name, figure in figures(report).items():
        with style():
            FigureCanvasAgg(figure).print_figure(folder / f"{name}.png", dpi=200, pil_kwargs={"pnginfo": png_mark()})
            figure.set_layout_engine("none")  # as the PNG laid it out, which costs as much as drawing
            out = io.StringIO()
            FigureCanvasSVG(figure).print_figure(out, metadata={"Date": None})
        texts[name] = out.getvalue()
        write_text(folder / f"{name}.svg", texts[name])
    return texts


def figures(report: Findings) -> dict[str, Figure]:
    """Name to figure, for every figure that the report has data for."""
    drawn: dict[str, Figure] = {}
    with style():
        if any(row.result is not None for row in report.rows("region")):
            drawn["forest"] = _forest(report)
        if report.roc is not None:
            drawn["roc"] = _roc(report)
        if report.pr is not None:
            drawn["precision_recall"] = _precision_recall(report)
        if report.reliability:
            drawn["calibration"] = _calibration(report)
        drawn["scores"] = _scores(report)
        if report.boxes is not None and report.boxes.froc.mean.defined:
            drawn["froc"] = _froc(report)
    return drawn


def region_label(name: str) -> str:
    """A region, view or site as a reader sees it: ``fracatlas_hand`` becomes ``Fracatlas hand``."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def thinned(x: FloatArray, y: FloatArray, points: int = 1200) -> tuple[FloatArray, FloatArray]:
    """A curve cut down to about ``points`` points for drawing, both ends kept."""
    if x.size <= points:
        return x, y
    keep = np.unique(np.linspace(0, x.size - 1, points).round().astype(np.int64))
    return x[keep], y[keep]


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _square(x: str, y: str) -> tuple[Figure, Any]:
    """A figure of two shares between 0 and 1."""
    figure = _figure(4.6, 4.5)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", axisbelow=True)
    axes.grid(visible=True)
    return figure, axes


def _bar(axes: Any, estimate: Estimate, y: float, color: str, factor: float = 1.0) -> None:
    if estimate.value is None:
        axes.text(0.02, y, "not defined", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color=GRAY)
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([factor * estimate.low, factor * estimate.high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
    axes.plot([factor * estimate.value], [y], "s", color=color, ms=5)


def _forest(report: Findings) -> Figure:
    rows: list[CohortRow] = [report.headline[0], *(row for row in report.rows("region") if row.result is not None)]
    names = ("auc", "sensitivity", "specificity")
    titles = ("AUC", "Sensitivity, %", "Specificity, %")
    figure = _figure(9.5, 0.9 + 0.4 * len(rows))
    grid = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(rows))[::-1]
    for axes, name, title in zip(grid, names, titles, strict=True):
        factor = 1.0 if name == "auc" else 100.0
        lowest = []
        for row, y in zip(rows, places, strict=True):
            if row.result is None:
                continue
            estimate = row.result[name]
            color = _INK if row is rows[0] else BLUE
            _bar(axes, estimate, float(y), color, factor)
            if estimate.value is not None:
                lowest.append(factor * (estimate.low if estimate.low is not None else estimate.value))
        overall = report.overall[name]
        if overall.value is not None:
            axes.axvline(factor * overall.value, color=GRAY, lw=0.8, ls=(0, (4, 3)), zorder=0)
        axes.set_title(title, loc="left")
        axes.set_xlim(min([*lowest, factor * 0.9]) - 0.03 * factor, 1.01 * factor)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(rows) - 0.4)
    labels = [
        f"{region_label(row.name)}\n({row.result.films:,} films, {row.result.fractured:,} fractured)"
        for row in rows
        if row.result is not None
    ]
    grid[0].set_yticks(places, labels, fontsize=7.5)
    return figure


def _roc(report: Findings) -> Figure:
    figure, axes = _square("1 − specificity (false-positive rate)", "Sensitivity")
    axes.plot([0, 1], [0, 1], color=_LIGHT, lw=1)
    percent = f"{100 * report.settings.level:g} %"
    _curve_with_bands(report, axes, (f"{percent} band, whole curve", f"{percent} band, pointwise"))
    sensitivity, specificity = report.overall["sensitivity"], report.overall["specificity"]
    if sensitivity.value is not None and specificity.value is not None:
        axes.plot([1 - specificity.value], [sensitivity.value], "o", color=ORANGE, ms=6, label="As called")
    for row, marker, label in ((report.nearest, "^", "Nearest the corner"), (report.youden, "v", "Youden")):
        if row is not None and row.sensitivity.value is not None and row.specificity.value is not None:
            axes.plot(
                [1 - row.specificity.value], [row.sensitivity.value], marker, mfc="none", mec=GRAY, ms=6, label=label
            )
    for opponent in report.opponents:
        if opponent.point is not None and opponent.point.sensitivity.value is not None:
            x1 = 1 - float(opponent.point.specificity)
            axes.plot([x1], [opponent.point.sensitivity.value], "D", color=GREEN, ms=5, label=opponent.name)
    if report.roc is not None and (report.overall["auc"].value or 0.0) > _ZOOM_FROM:
        _zoom(report, axes)
    axes.legend(loc="lower right")
    return figure


def _curve_with_bands(report: Findings, axes: Any, labels: tuple[str | None, str | None]) -> None:
    for band, alpha, label in zip((report.simultaneous, report.band), (0.10, 0.28), labels, strict=True):
        if band is not None:
            axes.fill_between(band.fpr, band.low, band.high, color=BLUE, alpha=alpha, lw=0, label=label)
    if report.roc is not None:
        curve = report.roc.simplified()
        label = f"AUC {report.overall['auc'].text()}"
        axes.plot(*thinned(curve.fpr, curve.tpr), color=BLUE, lw=1.5, label=label)


def _zoom(report: Findings, axes: Any) -> None:
    """The upper left corner, where a good detector's curve lies, enlarged."""
    inset = axes.inset_axes((0.44, 0.36, 0.54, 0.46))
    _curve_with_bands(report, inset, (None, None))
    for line in axes.get_lines():
        if line.get_marker() not in ("None", None, ""):
            inset.plot(
                line.get_xdata(),
                line.get_ydata(),
                line.get_marker(),
                mfc=line.get_markerfacecolor(),
                mec=line.get_markeredgecolor(),
                ms=line.get_markersize(),
            )
    inset.set_xlim(0, 0.3)
    inset.set_ylim(0.7, 1.0)
    inset.set_xticks((0, 0.1, 0.2, 0.3))
    inset.set_yticks((0.7, 0.8, 0.9, 1.0))
    inset.tick_params(labelsize=7)
    inset.grid(visible=True)


def _precision_recall(report: Findings) -> Figure:
    figure, axes = _square("Sensitivity (recall)", "Positive predictive value (precision)")
    if report.pr is not None:
        x, y = thinned(report.pr.recall, report.pr.precision)
        axes.step(x, y, where="pre", color=BLUE, lw=1.5, label=f"AP {report.overall['average_precision'].text()}")
    prevalence = report.overall.fractured / report.overall.films
    axes.axhline(prevalence, color=GRAY, lw=0.8, ls=(0, (4, 3)), label=f"Prevalence {100 * prevalence:.1f} %")
    sensitivity, ppv = report.overall["sensitivity"], report.overall["ppv"]
    if sensitivity.value is not None and ppv.value is not None:
        axes.plot([sensitivity.value], [ppv.value], "o", color=ORANGE, ms=6, label="As called")
    axes.set_ylim(-0.01, 1.03)
    axes.legend(loc="lower left")
    return figure


def _calibration(report: Findings) -> Figure:
    figure, axes = _square("Mean score", "Share fractured")
    axes.plot([0, 1], [0, 1], color=GRAY, lw=0.8, ls=(0, (4, 3)), label="Perfect calibration")
    for place, part in enumerate(report.reliability):
        rate = part.observed
        if rate.value is None or rate.low is None or rate.high is None:
            continue
        axes.plot([part.mean_score] * 2, [rate.low, rate.high], color=BLUE, lw=1.2)
        label = "Tenth of the films" if place == 0 else None
        axes.plot([part.mean_score], [rate.value], "o", color=BLUE, ms=4.5, label=label)
    axes.legend(loc="upper left", title=f"ECE {report.overall['ece'].text()}", alignment="left", title_fontsize=8)
    return figure


def _scores(report: Findings) -> Figure:
    figure = _figure(4.6, 4.5)
    top, bottom = figure.subplots(2, 1, sharex=True)
    cases = report.cases
    low, high = float(cases.scores.min()), float(cases.scores.max())
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    elif high <= low:
        high = low + 1.0
    edges = np.linspace(low, high, 41).tolist()
    for axes, mask, color, name in (
        (top, cases.labels, ORANGE, "Fractured"),
        (bottom, ~cases.labels, BLUE, "Normal"),
    ):
        axes.hist(cases.scores[mask], bins=edges, color=color, alpha=0.85, lw=0)
        axes.set_title(f"{name} films ({int(mask.sum()):,})", loc="left")
        axes.set_ylabel("Films")
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        known = np.unique(cases.thresholds[np.isfinite(cases.thresholds)])
        for value in known if known.size <= 8 else ():
            axes.axvline(float(value), color=_INK, lw=0.8, ls=(0, (2, 2)))
    bottom.set_xlabel("Score (dotted: thresholds of the calls)")
    return figure


def _froc(report: Findings) -> Figure:
    figure = _figure(4.6, 4.5)
    axes = figure.subplots()
    if report.boxes is not None:
        froc = report.boxes.froc
        x, y = thinned(froc.false_positives, froc.true_positives, 2500)
        last = max(max(froc.rates), float(x[-1]) if x.size else 0.0)
        axes.step([*np.maximum(x, 0.01), last], [*y, y[-1] if y.size else 0.0], where="post", color=BLUE, lw=1.5)
        for rate, estimate in zip(froc.rates, froc.sensitivities, strict=True):
            if estimate.value is None:
                continue
            if estimate.low is not None and estimate.high is not None:
                axes.plot([rate, rate], [estimate.low, estimate.high], color=BLUE, lw=1.2)
            axes.plot([rate], [estimate.value], "o", color=BLUE, ms=4.5)
        axes.set_xscale("log", base=2)
        axes.set_xticks(froc.rates, ["1/8", "1/4", "1/2", "1", "2", "4", "8"] if len(froc.rates) == 7 else None)
        axes.set_xlim(min(froc.rates) / 2, max(froc.rates) * 1.15)
        axes.minorticks_off()
        axes.text(
            0.98,
            0.04,
            f"Mean {froc.mean.text()}\nHit: {froc.criterion.text()}",
            transform=axes.transAxes,
            ha="right",
            fontsize=8,
        )
    if report.shown is not None and report.shown.sensitivity.value is not None:
        rate = max(report.shown.false_positives.value or 0.0, min(report.settings.rates) / 2)
        axes.plot([rate], [report.shown.sensitivity.value], "o", color=ORANGE, ms=6, label="Boxes as shown")
        axes.legend(loc="upper left")
    axes.set_xlabel(f"False positives per film ({report.settings.froc_films} films)")
    axes.set_ylabel("Sensitivity per fracture")
    axes.set_ylim(-0.01, 1.01)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return figure
