"""``report.html``: one self-contained page that a clinician reads without help.

The words stand in ``templates/report.html.j2``, which escapes every value; here is what needs more than a template.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from fracture.evaluation.cohorts import CohortRow
from fracture.evaluation.findings import Findings, threshold_summary
from fracture.evaluation.opponents import Opponent
from fracture.evaluation.page.plots import region_label
from fracture.evaluation.stats.comparison import PairedDifference
from fracture.evaluation.stats.estimate import Estimate
from fracture.evaluation.stats.roc import OperatingRow

_CUTS = {
    "region": "Region",
    "view": "View",
    "site": "Site",
    "hardware": "Plates, nails, screws",
    "sex": "Sex",
    "age": "Age, years",
}


def render(report: Findings, pictures: dict[str, str], films: dict[int, str], *, images_given: bool = False) -> str:
    """The page.

    Args:
        report: What was found.
        pictures: Figure name to SVG text, from ``plots.draw_all``.
        films: Film number to image data URI, from ``thumbnails``.
        images_given: Whether a folder of films was given at all.

    Returns:
        HTML with all styles and images inside; it fetches nothing.
    """
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "file": lambda report, role: report.manifest.files.get(role, {}).get("name", f"{role} in memory"),
        "label": _label,
        "listed": _listed,
        "n": lambda number: f"{int(number):,}",
        "of_100": _of_100,
        "p_text": _p_text,
        "region_label": region_label,
        "svg_uri": lambda svg: f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}",
    }
    cases = report.cases
    hardware = cases.members("hardware").get("with hardware")
    shortcut = hardware is not None and hardware.any() and cases.labels[hardware].mean() > 0.8
    return environment.get_template("report.html.j2").render(
        report=report,
        pictures=pictures,
        films=films,
        images_given=images_given,
        model=", ".join(cases.models) or "fracture detector",
        percent_level=f"{100 * report.settings.level:g}",
        further=_further(report),
        cuts={title: rows for cut, title in _CUTS.items() if (rows := report.rows(cut))},
        thresholds=_thresholds(report),
        used=threshold_summary(cases),
        small=[row.name for row in report.rows("region") if row.result is not None and row.result.fractured < 50],
        hardware=hardware if shortcut else None,
    )


def methods(report: Findings) -> str:
    """A methods and a results paragraph for a paper as Markdown, every number filled in from the report."""
    environment = Environment(loader=PackageLoader(__package__), undefined=StrictUndefined)
    used = [entry["threshold"] for entry in threshold_summary(report.cases)]
    return (
        environment.get_template("methods.md.j2").render(
            report=report,
            cases=report.cases,
            settings=report.settings,
            versions=report.manifest.versions,
            model=", ".join(report.cases.models) or "a detector that the predictions do not name",
            level=f"{100 * report.settings.level:g}",
            used=_listed([f"{value:.4g}" for value in used])
            if 0 < len(used) <= 4
            else "one of its region" * bool(used),
        )
        + "\n"
    )


def _further(report: Findings) -> list[tuple[str, Estimate, bool]]:
    """Title, estimate, whether in percent: the measures beside the headline."""
    main, beside = report.overall, report.overall.beside
    rows = [("AUC, without resampling", beside["auc"], False)]
    rows += [
        (f"{name.capitalize()}, %, films of one group together", beside[name], True)
        for name in ("sensitivity", "specificity")
        if name in beside
    ]
    rows += [
        ("Accuracy, %", main["accuracy"], True),
        ("F1 of the calls", main["f1"], False),
        ("Average precision (area under the precision-recall curve)", main["average_precision"], False),
    ]
    if report.kappa is not None:
        rows.append(("Cohen’s kappa of the calls with the reference", report.kappa, False))
    return rows


def _thresholds(report: Findings) -> list[tuple[OperatingRow, str]]:
    """The threshold table by rising threshold, the two usual operating points among it and marked."""
    table = {row.threshold: row for row in report.thresholds}
    marks: dict[float, list[str]] = {}
    for name, row in (("nearest the corner", report.nearest), ("Youden", report.youden)):
        if row is not None:
            table[row.threshold] = row
            marks.setdefault(row.threshold, []).append(name)
    return [(table[value], ", ".join(marks.get(value, ()))) for value in sorted(table)]


def _label(row: CohortRow) -> str:
    return region_label(row.name)


def _p_text(opponent: Opponent, part: PairedDifference) -> str:
    test = opponent.mcnemar.get(part.metric)
    if part.metric == "auc" and opponent.auc is not None and opponent.auc.p_value is not None:
        return f"{_p(opponent.auc.p_value)} (DeLong)"
    if test is not None:
        return f"{_p(test.p_value)} (McNemar)"
    return "–" if part.p_value is None else _p(part.p_value)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _of_100(share: float) -> str:
    value = 100.0 * share
    return f"{value:.1f}" if value > 99.0 or value < 1.0 else f"{value:.0f}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
