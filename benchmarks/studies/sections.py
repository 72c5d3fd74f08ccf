"""The section of a model card that each study's result brings with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fracture.reporting.markdown import shown, table

__all__ = ["told"]

_BALANCED = (
    "Balanced: in every combination of what is named, fractured and normal films weigh the same; combinations of one "
    "class are left out."
)


def told(content: Mapping[str, Any]) -> dict[str, Any]:
    """The result with its ``markdown``, by its ``format``."""
    return {**content, "markdown": _SECTIONS[str(content["format"])](content)}


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
    if failures := content.get("failures"):
        names = ", ".join(failure["source"] for failure in failures[:5]) + (", ..." if len(failures) > 5 else "")
        cut.append(f"{len(failures)} films could not be judged and are left out: {names}.")
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


def _shares(row: Mapping[str, Any], *more: str) -> tuple[str, ...]:
    return tuple(shown(row.get(name), percent=True) for name in ("sensitivity", "specificity", *more))


_SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "fracture-robustness/1": _robustness,
    "fracture-sites/1": _sites,
    "fracture-transfer/1": _transfer,
    "fracture-cost/1": _cost,
}
