"""What a model card says from results in JSON: the evaluation report, tables, and results that bring their own text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fracture.errors import ConfigurationError
from fracture.reporting.aims import Aim, verdict
from fracture.reporting.markdown import blocks, shown, table

TABLE = "fracture-table/1"


def aims(wanted: Sequence[Aim], sources: Mapping[str, Any]) -> str:
    """Aims against what was measured."""
    if not wanted:
        return ""
    rows = []
    for aim in wanted:
        found = verdict(aim, sources)
        measured = found.measured
        text = "" if measured is None else measured.text(percent=aim.percent, digits=aim.digits)
        rows.append((aim.name, aim.text, text + (" %" if text and aim.percent else ""), found.text))
    return "## Aims\n\n" + table(("", "aim", "measured (95 % interval)", ""), rows)


def report(content: Mapping[str, Any]) -> str:
    """The report of ``fracture evaluate``: headline, subgroups, balanced AUC, calibration, boxes, worst films.

    Raises:
        ConfigurationError: Not a ``report.json`` of this version.
    """
    if content.get("format") != "fracture-evaluation-1":
        raise ConfigurationError(
            "the report is not one of fracture evaluate", got=content.get("format"), allowed="fracture-evaluation-1"
        )
    cohort, settings = content["cohort"], content["settings"]
    models = ", ".join(cohort["models"]) or "an unnamed model"
    intervals = f"Wilson for shares, else bootstrap of {settings['resamples']} resamples"
    intervals += f" by {cohort['group_field']}." if cohort["group_field"] else "."
    counts = f"{cohort['films']} films, {cohort['fractured']} fractured, {cohort['groups']} groups; {models}."
    return blocks(
        "## Report of `fracture evaluate`",
        f"{counts} Calls are those of the predictions. Intervals: {100 * settings['level']:g} %, {intervals}",
        _film_rows([*content["headline"], *content["subgroups"]]),
        _balanced_sentence(content.get("balanced")),
        _calibration_table(content),
        _froc_table(content.get("boxes")),
        _size_table(content.get("by_size")),
        _worst_table(content),
        _opponents(content.get("comparisons") or ()),
    )


def kind_of(content: Mapping[str, Any]) -> str:
    """The kind of a result: ``"robustness"`` for ``"fracture-robustness/1"``; what aims call it by.

    Raises:
        ConfigurationError: No ``format`` of this form.
    """
    found = re.fullmatch(r"fracture-([a-z]+)/1", str(content.get("format", "")))
    if found is None or not ("markdown" in content or content["format"] == TABLE):
        raise ConfigurationError(
            "a result needs a format, and its own markdown unless it is a table",
            got=str(content.get("format") or "no format"),
            allowed=f"{TABLE}, or fracture-KIND/1 with markdown",
            hint="measure it again with this version, or see docs/model_card/README.md",
        )
    return found.group(1)


def section(content: Mapping[str, Any]) -> str:
    """The section of one result: the Markdown that it brings, or its table.

    Raises:
        ConfigurationError: Another format, or a key that its format promises is missing.
    """
    kind_of(content)
    try:
        return str(content["markdown"]) if "markdown" in content else _table(content)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"a result of format {content['format']} is incomplete", got=repr(error)) from error


def _table(content: Mapping[str, Any]) -> str:
    """A table of any kind: title, text, columns, rows; cells are text, numbers or estimates."""
    rows = [
        [shown(value, counts=True) if isinstance(value, Mapping) else value for value in row] for row in content["rows"]
    ]
    return blocks(
        f"## {content['title']}",
        content.get("text", ""),
        table(content["columns"], rows),
        content.get("note", ""),
    )


def _film_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ("", "films", "fractured", "AUC", "sensitivity %", "specificity %", "PPV %", "NPV %", "remark")
    body = []
    for row in rows:
        result = row["result"]
        name = row["name"] if row["field"] == "headline" else f"{row['field']}: {row['name']}"
        if result is None:
            body.append((name, 0, 0, "", "", "", "", "", row["remark"]))
            continue
        shares = [shown(result.get(key), percent=True) for key in ("sensitivity", "specificity", "ppv", "npv")]
        body.append((name, result["films"], result["fractured"], shown(result["auc"]), *shares, row["remark"]))
    return table(header, body)


def _balanced_sentence(balanced: Mapping[str, Any] | None) -> str:
    if balanced is None:
        return ""
    return (
        f"Balanced for {', '.join(balanced['confounders'])}: AUC {shown(balanced['auc'])}, against "
        f"{shown(balanced['unbalanced_auc'])} unbalanced on the same {balanced['films']} films."
    )


def _calibration_table(content: Mapping[str, Any]) -> str:
    overall = content["headline"][0]["result"]
    lines = []
    if overall is not None and overall["ece"]["value"] is not None:
        lines.append(f"Calibration: ECE {shown(overall['ece'])}, Brier score {shown(overall['brier'])}.")
    rows = [
        (f"{b['low']:.3f} to {b['high']:.3f}", f"{b['mean_score']:.3f}", shown(b["observed"], counts=True))
        for b in content.get("reliability") or ()
    ]
    lines.append(table(("scores", "mean score", "share fractured"), rows))
    return blocks(*lines)


def _froc_table(boxes: Mapping[str, Any] | None) -> str:
    if boxes is None:
        return ""
    froc = boxes["froc"]
    precision = ", ".join(f"AP at IoU {name} {shown(value)}" for name, value in boxes["average_precision"].items())
    if "hit_average_precision" in boxes:  # reports of older versions lack this and the next
        precision += f", AP with {froc['criterion']} {shown(boxes['hit_average_precision'])}"
    if "three_highest" in boxes:
        precision += (
            f"; one of a film's three highest boxes meets a fracture (IoU 0.5): {shown(boxes['three_highest'])}"
        )
    rows = [(rate, shown(value)) for rate, value in froc["sensitivity"].items()]
    return f"Boxes: {boxes['fractures']} fractures, {boxes['predictions']} candidates; {precision}.\n\n" + table(
        (f"false positives per film ({froc['false_positives_on']})", f"sensitivity, {froc['criterion']}"), rows
    )


def _size_table(sizes: Mapping[str, Any] | None) -> str:
    if not sizes or not sizes["rows"]:
        return ""
    rows = [(f"{r['low']:.0f} to {r['high']:.0f}", shown(r["sensitivity"], counts=True)) for r in sizes["rows"]]
    rate = sizes["false_positives_per_film"]
    return table(("longest side of the fracture, px", f"found at {rate:g} false positives per film"), rows)


def _worst_table(content: Mapping[str, Any]) -> str:
    rows = [
        (kind, film["name"], f"{film['score']:.3f}", ", ".join(film["regions"]))
        for kind, key in (("missed", "worst_misses"), ("false alarm", "worst_false_alarms"))
        for film in content.get(key) or ()
    ]
    return table(("worst films", "film", "score", "regions"), rows)


def _opponents(found: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(str(one.get("name", "")) for one in found)
    return f"Compared with {names}: see the report itself." if names else ""
