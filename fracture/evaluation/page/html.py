"""``report.html``: one self-contained page that a clinician reads without help."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from fracture.evaluation.page.plots import region_label
from fracture.evaluation.page.style import PAGE
from fracture.evaluation.stats.estimate import Estimate

if TYPE_CHECKING:
    from fracture.evaluation.cohorts import CohortRow
    from fracture.evaluation.findings import Findings, Worst
    from fracture.evaluation.opponents import Opponent

__all__ = ["render"]

_COLUMNS = ("sensitivity", "specificity", "ppv", "npv")
_HEADS = ("AUC", "Sensitivity, %", "Specificity, %", "PPV, %", "NPV, %")
_CUTS = {
    "region": "Region",
    "view": "View",
    "site": "Site",
    "hardware": "Plates, nails, screws",
    "sex": "Sex",
    "age": "Age, years",
}


class _Numbers:
    """Running numbers of tables and figures."""

    def __init__(self) -> None:
        self.tables = 0
        self.figures = 0

    def table(self) -> str:
        self.tables += 1
        return f"<b>Table {self.tables}.</b>"

    def figure(self) -> str:
        self.figures += 1
        return f"<b>Figure {self.figures}.</b>"


def render(report: Findings, pictures: dict[str, str], films: dict[int, str], *, images_given: bool = False) -> str:
    """The page.

    Args:
        report: The report.
        pictures: Figure name to SVG text, from ``plots.draw_all``.
        films: Film number to image data URI, from ``thumbnails``.
        images_given: Whether a folder of films was given at all.

    Returns:
        HTML with all styles and images inside; it fetches nothing.
    """
    count = _Numbers()
    parts = [
        _head(report),
        _plain(report),
        _headline(report, count),
        _discrimination(report, pictures, count),
        _subgroups(report, pictures, count),
        _thresholds(report, count),
        _calibration(report, pictures, count),
        _boxes(report, pictures, count),
        _opponents(report, count),
        _worst(report, films, count, images_given=images_given),
        _cohort(report),
        _methods(report),
        _limits(report),
        _foot(report),
    ]
    name = ", ".join(report.cases.models) or "fracture detector"
    return PAGE.substitute(title=f"Evaluation of {escape(name)}", body="\n".join(part for part in parts if part))


def _head(report: Findings) -> str:
    cases = report.cases
    name = ", ".join(cases.models) or "Fracture detector"
    return (
        f"<h1>Evaluation of {escape(name)}</h1>"
        f'<p class="lead">{len(cases):,} radiographs, {int(cases.labels.sum()):,} with a fracture, against '
        f"{escape(_file(report, 'reference'))}. Predictions: {escape(_file(report, 'predictions'))}. "
        f"Made {escape(report.manifest.created[:10])} by fracture {escape(report.manifest.versions['fracture'])}.</p>"
    )


def _plain(report: Findings) -> str:
    main = report.overall
    lines = []
    sensitivity, specificity, ppv, npv = (main[name] for name in _COLUMNS)
    if sensitivity.value is not None:
        lines.append(
            f"<b>Fractured films:</b> of {main.fractured:,}, it called {sensitivity.count:,} fractured: sensitivity "
            f"{sensitivity.text(percent=True)} %. It missed {main.fractured - (sensitivity.count or 0):,}."
        )
    if specificity.value is not None:
        normal = main.films - main.fractured
        lines.append(
            f"<b>Normal films:</b> of {normal:,}, it called {specificity.count:,} normal: specificity "
            f"{specificity.text(percent=True)} %. It raised {normal - (specificity.count or 0):,} false alarms."
        )
    if ppv.value is not None and npv.value is not None:
        lines.append(
            f"<b>What a call means here,</b> where {100 * main.fractured / main.films:.0f} of 100 films show a "
            f"fracture: of 100 films that it calls fractured, {_of_100(ppv.value)} are; of 100 that it calls normal, "
            f"{_of_100(npv.value)} are."
        )
    if main["auc"].value is not None:
        lines.append(
            "<b>Ranking:</b> a fractured film scores higher than a normal one in "
            f"{_of_100(main['auc'].value)} of 100 pairs: AUC {main['auc'].text()}."
        )
    if report.shown is not None and report.shown.sensitivity.value is not None:
        false = report.shown.false_positives
        lines.append(
            f"<b>Boxes as shown:</b> they mark {report.shown.sensitivity.text(percent=True)} % of the fractures "
            f"({report.settings.criterion.text()}), with {false.text(digits=2)} false boxes per film."
        )
    elif report.boxes is not None and 0.5 in report.boxes.froc.rates and report.boxes.froc.at(0.5).defined:
        lines.append(
            f"<b>Boxes:</b> at one false box per two films they mark "
            f"{report.boxes.froc.at(0.5).text(percent=True)} % of the fractures."
        )
    items = "".join(f"<li>{line}</li>" for line in lines)
    brackets = f"In brackets: {100 * report.settings.level:g} % confidence intervals."
    return f'<div class="plain"><b>In plain words</b><ul>{items}</ul><p class="note">{brackets}</p></div>'


def _headline(report: Findings, count: _Numbers) -> str:
    rows = [_row(row) for row in report.headline]
    rows += [_row(row, indent=False) for row in _named(report.indicators)]
    how = report.overall["auc"].method
    note = (
        f"AUC, PPV and NPV: percentile {escape(how)}; sensitivity and specificity: Wilson. "
        "PPV and NPV hold for the share of fractures in these films. "
    )
    table = _table(f"{count.table()} Film-level results.", ("", "Films", "Fractured", *_HEADS), rows, note=note)
    return "<h2>Results</h2>" + table + _further(report, count)


def _further(report: Findings, count: _Numbers) -> str:
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
    cells = [
        f"<tr><td>{label}</td><td>{_cell(estimate, percent=percent)}</td><td>{escape(estimate.method)}</td></tr>"
        for label, estimate, percent in rows
    ]
    return _table(f"{count.table()} Further measures, all films.", ("", "Value", "Interval by"), cells)


def _discrimination(report: Findings, pictures: dict[str, str], count: _Numbers) -> str:
    if "roc" not in pictures:
        reason = escape(report.overall["auc"].reason or "")
        return f'<p class="na">ROC and precision-recall curves are not defined: {reason}.</p>'
    left = _figure(
        pictures["roc"],
        f"{count.figure()} ROC curve. Dark band: at any one false-positive rate (vertical averaging); light band: for "
        "the whole curve at once (fixed width).",
    )
    right = _figure(
        pictures["precision_recall"],
        f"{count.figure()} Positive predictive value against sensitivity, at the share of fractures in these films.",
    )
    return f'<div class="pair">{left}{right}</div>'


def _subgroups(report: Findings, pictures: dict[str, str], count: _Numbers) -> str:
    rows = []
    for cut, title in _CUTS.items():
        part = report.rows(cut)
        if part:
            rows.append(f'<tr class="cut"><td colspan="8">{title}</td></tr>')
            rows += [_row(row, indent=True) for row in part]
    if not rows:
        return ""
    body = "<h2>Subgroups</h2>"
    if "forest" in pictures:
        body += _figure(
            pictures["forest"],
            f"{count.figure()} Results by region with {100 * report.settings.level:g} % intervals. A film that shows "
            "several regions counts in each. Dashed line: all films.",
        )
    note = (
        "A dash means not defined; a value without brackets has too few films or errors for a bootstrap interval. "
        "Intervals are not adjusted for the number of subgroups: read a single odd row with care."
    )
    body += _table(f"{count.table()} Results by subgroup.", ("", "Films", "Fractured", *_HEADS), rows, note=note)
    if report.balanced is not None:
        body += _balanced(report)
    return body


def _balanced(report: Findings) -> str:
    b = report.balanced
    if b is None or b.auc.value is None:
        why = "Not defined: no combination of site, hardware and region holds both classes."
        return f"<h3>Balanced for confounders</h3><p>{why}</p>"
    return (
        "<h3>Balanced for confounders</h3>"
        f"<p>With as many normal as fractured films in each combination of {escape(_and(b.confounders))} "
        f"({b.strata} combinations, {b.pairs:,} pairs of films; {b.left_out:,} films have no counterpart), so that "
        f"none of these can stand in for the fracture: AUC <b>{_cell(b.auc)}</b> (unbalanced, same films: "
        f"{_cell(b.plain)})"
        + (
            f", sensitivity {_cell(b.sensitivity, percent=True)} %, specificity {_cell(b.specificity, percent=True)} %."
            if b.sensitivity.defined
            else "."
        )
        + "</p>"
    )


def _thresholds(report: Findings, count: _Numbers) -> str:
    body = "<h2>Thresholds and prevalence</h2>"
    marks: dict[float, list[str]] = {}
    table = {row.threshold: row for row in report.thresholds}
    for name, row in (("nearest the corner", report.nearest), ("Youden", report.youden)):
        if row is not None:
            table[row.threshold] = row
            marks.setdefault(row.threshold, []).append(name)
    if table:
        cells = [
            f"<tr><td>{value:.4g}{_small(', '.join(marks.get(value, [])))}</td><td>{table[value].called:,}</td>"
            + "".join(f"<td>{_cell(getattr(table[value], key), percent=True)}</td>" for key in _COLUMNS)
            + "</tr>"
            for value in sorted(table)
        ]
        note = (
            "One threshold for all films, chosen on these very films, so optimistic: for orientation only. "
            "A film is called fractured at score ≥ threshold. Wilson intervals."
        )
        body += _table(
            f"{count.table()} What other thresholds would give.",
            ("Threshold", "Called fractured", *_HEADS[1:]),
            cells,
            note=note,
        )
    if report.overall["sensitivity"].defined and report.overall["specificity"].defined:
        cells = []
        for prevalence in report.settings.prevalences:
            pair = [report.overall[f"{name}_at_{prevalence:g}"] for name in ("ppv", "npv")]
            cells.append(
                f"<tr><td>{100 * prevalence:g} of 100 films fractured</td>"
                + "".join(f"<td>{_cell(estimate, percent=True)}</td>" for estimate in pair)
                + "</tr>"
            )
        body += _table(
            f"{count.table()} What the calls would mean where fractures are rarer or more frequent.",
            ("Share of fractured films", "PPV, %", "NPV, %"),
            cells,
            note="By Bayes’ rule, sensitivity and specificity taken as unchanged; bootstrap intervals.",
        )
    return body


def _calibration(report: Findings, pictures: dict[str, str], count: _Numbers) -> str:
    body = "<h2>Scores and calibration</h2>"
    left = (
        _figure(
            pictures["calibration"],
            f"{count.figure()} Share of fractured films against mean score, films in tenths by score (Wilson).",
        )
        if "calibration" in pictures
        else f'<p class="na">Calibration is not defined: {escape(report.overall["ece"].reason or "")}.</p>'
    )
    right = _figure(pictures["scores"], f"{count.figure()} Scores of fractured and of normal films.")
    text = (
        f"<p>Brier score {_cell(report.overall['brier'])}; expected calibration error (15 bins of equal size, "
        f"debiased) {_cell(report.overall['ece'])}. A calibrated score of 0.3 means that 30 of 100 "
        "such films are fractured.</p>"
        if report.overall["brier"].defined
        else ""
    )
    return body + text + f'<div class="pair">{left}{right}</div>'


def _boxes(report: Findings, pictures: dict[str, str], count: _Numbers) -> str:
    body = "<h2>Where the fractures are</h2>"
    boxes = report.boxes
    if boxes is None:
        why = "the predictions hold no boxes" if report.cases.predicted is None else "the reference holds no boxes"
        return body + f'<p class="na">Not evaluated: {why}.</p>'
    names = {"0.1": "IoU ≥ 0.1", "0.3": "IoU ≥ 0.3", "0.5": "IoU ≥ 0.5", "0.5:0.95": "IoU 0.5 to 0.95"}
    ap = [f"<tr><td>{names[key]}</td><td>{_cell(value)}</td></tr>" for key, value in boxes.average_precision.items()]
    rates = {0.125: "1/8", 0.25: "1/4", 0.5: "1/2"}
    free = [
        f"<tr><td>{rates.get(rate, f'{rate:g}')}</td><td>{_cell(value, percent=True)}</td></tr>"
        for rate, value in zip(boxes.froc.rates, boxes.froc.sensitivities, strict=True)
    ]
    free.append(f"<tr><td>Mean</td><td>{_cell(boxes.froc.mean, percent=True)}</td></tr>")
    tables = _table(f"{count.table()} Average precision of the boxes.", ("Hit at", "AP"), ap)
    tables += _table(
        f"{count.table()} Sensitivity per fracture by false positives per film.",
        (f"False positives per film ({boxes.froc.films} films)", "Sensitivity, %"),
        free,
        note=f"Hit: {escape(boxes.froc.criterion.text())}. A second box on one fracture counts as a false positive.",
    )
    if report.sizes:
        sized = [
            f"<tr><td>{row.low:.1f} to {row.high:.1f} px</td><td>{row.sensitivity.n:,}</td>"
            f"<td>{_cell(row.sensitivity, percent=True)}</td></tr>"
            for row in report.sizes
        ]
        tables += _table(
            f"{count.table()} By size of the fracture (longest side of its box).",
            ("Size", "Fractures", "Sensitivity, %"),
            sized,
            note=f"At the box threshold that gives {report.size_rate:g} false positives per film. "
            "Each fracture is listed in fractures.csv.",
        )
    figure = (
        _figure(
            pictures["froc"],
            f"{count.figure()} Free-response ROC: share of fractures marked against false boxes per film.",
        )
        if "froc" in pictures
        else f'<p class="na">Not defined: {escape(boxes.froc.mean.reason or "")}.</p>'
    )
    text = (
        f"<p>{boxes.fractures:,} reference fractures on {boxes.films:,} films; {boxes.predictions:,} predicted boxes "
        f"({report.cases.predicted_from}).</p>"
    )
    return body + text + f'<div class="pair"><div>{figure}</div><div>{tables}</div></div>'


def _opponents(report: Findings, count: _Numbers) -> str:
    if not report.opponents:
        return ""
    body = "<h2>Comparison on the same films</h2>"
    for opponent in report.opponents:
        body += _opponent(opponent, count)
    return body


def _opponent(opponent: Opponent, count: _Numbers) -> str:
    rows = []
    for part in opponent.differences:
        percent = part.metric in ("sensitivity", "specificity")
        label = {"auc": "AUC", "average_precision": "Average precision", "brier": "Brier score (lower is better)"}.get(
            part.metric, f"{part.metric.capitalize()}, %"
        )
        test = opponent.mcnemar.get(part.metric)
        p = _p(test.p_value) + " (McNemar)" if test else (_p(part.p_value) if part.p_value is not None else "–")
        if part.metric == "auc" and opponent.auc is not None and opponent.auc.p_value is not None:
            p = _p(opponent.auc.p_value) + " (DeLong)"
        cells = "".join(f"<td>{_cell(e, percent=percent)}</td>" for e in (part.first, part.second, part.difference))
        rows.append(f"<tr><td>{label}</td>{cells}<td>{p}</td></tr>")
    if opponent.kappa is not None:
        k = opponent.kappa
        cells = "".join(f"<td>{_cell(e)}</td>" for e in (k.first, k.second, k.difference))
        rows.append(f"<tr><td>Kappa with the reference</td>{cells}<td>{escape(k.verdict)}</td></tr>")
    who = f"{opponent.readers} readers ({opponent.name})" if opponent.kind == "readers" else opponent.name
    note = "Difference: this model minus the other. "
    if opponent.mcnemar:
        note += "McNemar’s test takes films as independent; the paired intervals resample groups. "
    if opponent.kappa is not None:
        note += (
            f"Kappa difference: {opponent.kappa.difference.method}; non-inferiority margin {opponent.kappa.margin:g} "
            "(Krogue et al. 2020). "
        )
        if opponent.kappa.readers_below_band is not None:
            where = "below" if opponent.kappa.readers_below_band else "not below"
            note += f"The readers’ point lies {where} the model’s ROC band. "
    if opponent.point is not None:
        note += (
            f"Readers: sensitivity {_cell(opponent.point.sensitivity, percent=True)} %, "
            f"specificity {_cell(opponent.point.specificity, percent=True)} %."
        )
    return _table(
        f"{count.table()} Against {escape(who)}, {opponent.films:,} films.",
        ("", "This model", "Other", "Difference", "P, verdict"),
        rows,
        note=note,
    )


def _worst(report: Findings, films: dict[int, str], count: _Numbers, *, images_given: bool) -> str:
    if not report.misses and not report.alarms:
        return ""
    body = "<h2>The worst films</h2>"
    if images_given:
        legend = "Green: reference fracture. Orange, dashed: the three highest-scoring predicted boxes."
        for title, worst in (
            ("Fractured films with the lowest scores", report.misses),
            ("Normal films with the highest scores", report.alarms),
        ):
            cells = "".join(_film(film, films.get(film.film)) for film in worst)
            caption = f"<figcaption>{count.figure()} {title}. {legend}</figcaption>"
            body += f'<figure><div class="films">{cells}</div>{caption}</figure>'
        return body
    lists = "".join(
        f"<div>{_table(f'{count.table()} {title}.', ('Film', 'Score', 'Called'), [_film_row(f) for f in worst])}</div>"
        for title, worst in (
            ("Fractured films with the lowest scores", report.misses),
            ("Normal films with the highest scores", report.alarms),
        )
    )
    return body + f'<div class="pair">{lists}</div><p class="note">Pictures appear here when --images is given.</p>'


def _film(film: Worst, picture: str | None) -> str:
    shown = f'<img src="{picture}" alt="">' if picture else "film not found or not readable"
    called = "" if film.called is None else f", called {'fractured' if film.called else 'normal'}"
    regions = ", ".join(region_label(region) for region in film.regions)
    return (
        f'<div class="film"><div class="box">{shown}</div>Score {film.score:.3f}{called}<br>'
        f"<span>{escape(regions)}{'. ' if regions else ''}{escape(film.name)}</span></div>"
    )


def _film_row(film: Worst) -> str:
    called = "–" if film.called is None else ("fractured" if film.called else "normal")
    return f"<tr><td>{escape(film.name)}</td><td>{film.score:.3f}</td><td>{called}</td></tr>"


def _cohort(report: Findings) -> str:
    from fracture.evaluation.findings import threshold_summary

    cases = report.cases
    facts = [
        f"{len(cases):,} films, {int(cases.labels.sum()):,} fractured ({100 * cases.labels.mean():.1f} %)"
        + (f", {int((~cases.fractures.crowd).sum()):,} fractures with a box" if cases.fractures is not None else "")
        + "."
    ]
    if cases.description:
        facts.append(f"Reference: {escape(cases.description)}.")
    if cases.group_field:
        facts.append(f"{report.overall.groups:,} groups by “{escape(cases.group_field)}”, resampled as wholes.")
    if cases.disagreement is not None:
        facts.append(f"Annotators disagreed on {int(cases.disagreement.sum()):,} films.")
    if cases.failures:
        kinds = sorted({reason for _, reason in cases.failures})
        facts.append(
            f"<b>{len(cases.failures):,} films could not be read by the detector</b> ({escape(', '.join(kinds))}) "
            "and are not counted."
        )
    if cases.missing:
        facts.append(f"{len(cases.missing):,} films of the reference have no prediction and are not counted.")
    if cases.extra:
        facts.append(f"{len(cases.extra):,} predictions have no reference and are not counted.")
    facts += [f"{escape(remark[:1].upper() + remark[1:])}." for remark in cases.remarks]
    used = threshold_summary(cases)
    if used and len(used) <= 24:
        listed = []
        for part in used:
            regions = escape(", ".join(map(region_label, part["regions"])))
            listed.append(f"{part['threshold']:.4g} ({part['films']:,} films{': ' if regions else ''}{regions})")
        facts.append(f"Thresholds of the calls: {'; '.join(listed)}.")
    elif used:
        facts.append(f"{len(used)} different thresholds, {used[0]['threshold']:.4g} to {used[-1]['threshold']:.4g}.")
    elif cases.calls is None:
        facts.append("The predictions carry no calls and no threshold was given: results of calls are not defined.")
    facts.append(f"Model: {escape(', '.join(cases.models) or 'not named in the predictions')}.")
    return '<h2>Films and model</h2><ul class="facts">' + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"


def _methods(report: Findings) -> str:
    settings = report.settings
    return (
        "<h2>Methods</h2>"
        "<p>Intervals of sensitivity, specificity and accuracy are Wilson’s; all others are percentiles "
        f"of {settings.resamples:,} bootstrap resamples (seed {settings.seed}), as in Jones et al. 2020 (npj Digital "
        "Medicine 3:144). A film is called fractured at score ≥ threshold. AUC counts ties as one half; DeLong’s "
        "variance through midranks (Sun and Xu 2014), with groups as in Obuchowski 1997. ROC bands: vertical averaging "
        "and fixed width (Macskassy and Provost 2004; Campbell 1994). Average precision is COCO’s (101 recalls, at "
        "most 100 boxes per film); FROC sensitivities are the best of any observed threshold with at most "
        "that many false positives per film. Expected calibration error is debiased for sampling noise (after Kumar et "
        "al. 2019).</p>"
    )


def _limits(report: Findings) -> str:
    cases = report.cases
    limits = [
        "Predictive values hold for these films’ share of fractures only; see the table at other shares.",
        "The reference standard has errors of its own: a fracture that the annotators missed counts as a false alarm.",
        "Intervals speak of chance in drawing films like these, not of other hospitals, devices or patients.",
        "Wilson’s intervals take films as independent; where films of one patient are alike, they are too narrow.",
    ]
    if cases.group_field:
        limits.append(
            f"Grouping by “{cases.group_field}” is only as good as that field: films of one patient in different "
            "groups would make the bootstrap intervals too narrow."
        )
    small = [row.name for row in report.rows("region") if row.result is not None and row.result.fractured < 50]
    if small:
        limits.append(f"Fewer than 50 fractured films: {_and([region_label(name) for name in small])}.")
    hardware = cases.members("hardware").get("with hardware")
    if hardware is not None and hardware.any() and cases.labels[hardware].mean() > 0.8:
        limits.append(
            f"{int(cases.labels[hardware].sum())} of {int(hardware.sum())} films with hardware are fractured: "
            "results on all films profit from that shortcut; see the row without hardware."
        )
    limits.append(
        "Whether these films were kept out of training and of setting thresholds is not visible from the files."
    )
    limits.append("Research use; not a medical device.")
    return '<h2>Limits</h2><ol class="limits">' + "".join(f"<li>{escape(limit)}</li>" for limit in limits) + "</ol>"


def _foot(report: Findings) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.manifest.versions.items())
    files = "".join(
        f"<br>{escape(role.capitalize())}: {escape(entry['name'])}, SHA-256 <code>{entry['sha256']}</code>"
        for role, entry in report.manifest.files.items()
    )
    return f"<footer>Made {escape(report.manifest.created)} with {escape(versions)}.{files}</footer>"


def _row(row: CohortRow, *, indent: bool = False) -> str:
    kind = ' class="in"' if indent else ""
    label = region_label(row.name) if row.field in ("region", "view") else row.name.replace("_", " ")
    label = label[:1].upper() + label[1:]
    if row.result is None:
        return f'<tr{kind}><td>{escape(label)}</td><td colspan="7" class="na">{escape(row.remark)}</td></tr>'
    result = row.result
    cells = [_cell(result["auc"]), *(_cell(result[name], percent=True) for name in _COLUMNS)]
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{kind}><td>{escape(label)}</td><td>{result.films:,}</td><td>{result.fractured:,}</td>{inner}</tr>"


def _named(rows: Sequence[CohortRow]) -> list[CohortRow]:
    from dataclasses import replace

    return [replace(row, name=f"Without {row.name.replace('_', ' ')}") for row in rows]


def _cell(estimate: Estimate, *, percent: bool = False) -> str:
    if estimate.value is None:
        return f'<span class="na" title="{escape(estimate.reason or "")}">–</span>'
    return escape(estimate.text(percent=percent)).replace("-", "−")


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _table(caption: str, heads: Sequence[str], rows: Sequence[str], *, note: str = "") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    below = f'<p class="note">{note}</p>' if note else ""
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{below}"
    )


def _figure(svg: str, caption: str) -> str:
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt=""><figcaption>{caption}</figcaption></figure>'


def _of_100(share: float) -> str:
    value = 100.0 * share
    return f"{value:.1f}" if value > 99.0 or value < 1.0 else f"{value:.0f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _and(names: Sequence[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _file(report: Findings, role: str) -> str:
    return report.manifest.files.get(role, {}).get("name", f"{role} in memory")
