"""What a model card says from results in JSON: the evaluation report, robustness, sites, cost, tables of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fracture.errors import ConfigurationError
from fracture.reporting.aims import Aim, verdict
from fracture.reporting.markdown import shown, table

__all__ = ["KINDS", "aims", "kind_of", "report", "section"]

_BALANCED = (
    "Balanced: in every combination of what is named, fractured and normal films weigh the same; combinations of one "
    "class are left out."
)


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
    lines = [
        "## Report of `fracture evaluate`",
        f"{counts} Calls are those of the predictions. Intervals: {100 * settings['level']:g} %, {intervals}",
        _film_rows([*content["headline"], *content["subgroups"]]),
        _balanced_sentence(content.get("balanced")),
        _calibration_table(content),
        _froc_table(content.get("boxes")),
        _size_table(content.get("by_size")),
        _worst_table(content),
        _opponents(content.get("comparisons") or ()),
    ]
    return "\n\n".join(line for line in lines if line)


def kind_of(content: Mapping[str, Any]) -> str:
    """The kind of a result: ``"robustness"`` for ``"fracture-robustness/1"``; what aims call it by.

    Raises:
        ConfigurationError: No ``format``, or one that is not known here.
    """
    name = str(content.get("format", ""))
    if name not in KINDS:
        raise ConfigurationError(
            "a result of an unknown format", got=name or "no format", allowed=KINDS, hint="see fracture.reporting"
        )
    return name.removeprefix("fracture-").partition("/")[0]


def section(content: Mapping[str, Any]) -> str:
    """The section of one result.

    Raises:
        ConfigurationError: An unknown format, or a key that its format promises is missing.
    """
    kind_of(content)
    try:
        return KINDS[str(content["format"])](content)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"a result of format {content['format']} is incomplete", got=repr(error)) from error


def _robustness(content: Mapping[str, Any]) -> str:
    clean = content["clean"]
    header = ("films", "AUC", "against the clean films", "p", "sensitivity %", "specificity %", "films warned of %")
    rows = [("as they are", shown(clean["auc"]), "", "", *_shares(clean, "warned"))]
    for row in content["rows"]:
        p = "" if row.get("p_value") is None else f"{row['p_value']:.3f}"
        rows.append((row["words"], shown(row["auc"]), shown(row["difference"]), p, *_shares(row, "warned")))
    cut = [
        f"Cutting the border took every fracture's center from {row['fractures_cut_away']} films; they are counted as "
        "fractured all the same."
        for row in content["rows"]
        if row.get("fractures_cut_away")
    ]
    films = (
        f"{content['films']} films of {content['set']} ({content['fractured']} fractured, {content['groups']} groups)"
    )
    how = (
        f"{films}, {content['precision']}, {content['weights']}. Differences are paired, bootstrap by group; "
        "sensitivity and specificity are those of the high-sensitivity thresholds with the annotated regions."
    )
    lines = [
        "## Robustness",
        how,
        table(header, rows),
        *cut,
    ]
    return "\n\n".join(lines)


def _sites(content: Mapping[str, Any]) -> str:
    cells = content["cells"]
    names = [key for key in cells[0] if key not in ("films", "fractured")] if cells else []
    rows = [
        (row["field"], row["name"], row["films"], row["fractured"], shown(row.get("auc")), *_shares(row), row["remark"])
        for row in content["rows"]
    ]
    balanced = [
        (
            " x ".join(row["confounders"]),
            f"{row['films']} ({row['pairs']})",
            shown(row["unbalanced_auc"]),
            shown(row["auc"]),
        )
        for row in content["balanced"]
    ]
    lines = [
        "## Sites and hardware",
        f"{content['films']} films, {content['fractured']} fractured.",
        table(("by", "", "films", "fractured", "AUC", "sensitivity %", "specificity %", "remark"), rows),
        _BALANCED,
        table(("balanced for", "films (pairs)", "AUC of these films", "balanced AUC"), balanced),
        table(
            (*names, "films", "fractured", "share fractured"),
            [
                (*(c[n] for n in names), c["films"], c["fractured"], f"{100 * c['fractured'] / c['films']:.1f} %")
                for c in cells
            ],
        ),
    ]
    return "\n\n".join(line for line in lines if line)


def _transfer(content: Mapping[str, Any]) -> str:
    rows = [
        (
            direction["train"],
            f"{direction['films']['films']} ({direction['films']['fractured']})",
            row["words"],
            f"{row['films']} ({row['fractured']})",
            shown(row["auc"]),
        )
        for direction in content["directions"]
        for row in direction["rows"]
    ]
    lines = [
        "## Trained on one site, tested on the other",
        f"Recipe {content['recipe']}, {content['members']} members. {content['remark']}",
        table(("trained on", "films (fractured)", "tested on", "films (fractured)", "AUC"), rows),
    ]
    return "\n\n".join(lines)


def _cost(content: Mapping[str, Any]) -> str:
    base = content["baseline"]
    rows = [(base["name"], f"{base['milliseconds']:.1f}", "1", "")]
    rows += [
        (row["name"], f"{row['milliseconds']:.1f}", shown(row["ratio"], digits=2), row.get("words", ""))
        for row in content["rows"]
    ]
    where = f"{content['precision']}, {content['threads']} threads of {content['processor']}, torch {content['torch']}"
    how = (
        f"{content['weights']}, {content['film']}; {where}; medians of {content['repeats']} rounds in which all rows "
        f"take turns. The aim is at most {content['aim']:g} times the first row."
    )
    lines = [
        "## Cost of a prediction",
        how,
        table(("", "ms", "ratio (95 % interval)", ""), rows),
    ]
    return "\n\n".join(lines)


def _table(content: Mapping[str, Any]) -> str:
    """A table of any kind: title, text, columns, rows; cells are text, numbers or estimates."""
    rows = [
        [shown(value, counts=True) if isinstance(value, Mapping) else value for value in row] for row in content["rows"]
    ]
    lines = [
        f"## {content['title']}",
        content.get("text", ""),
        table(content["columns"], rows),
        content.get("note", ""),
    ]
    return "\n\n".join(line for line in lines if line)


KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "fracture-robustness/1": _robustness,
    "fracture-sites/1": _sites,
    "fracture-transfer/1": _transfer,
    "fracture-cost/1": _cost,
    "fracture-table/1": _table,
}
"""Format of a result to its section."""


def _shares(row: Mapping[str, Any], *more: str) -> tuple[str, ...]:
    return tuple(shown(row.get(name), percent=True) for name in ("sensitivity", "specificity", *more))


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
    return "\n\n".join(line for line in lines if line)


def _froc_table(boxes: Mapping[str, Any] | None) -> str:
    if boxes is None:
        return ""
    froc = boxes["froc"]
    precision = ", ".join(f"AP at IoU {name} {shown(value)}" for name, value in boxes["average_precision"].items())
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
