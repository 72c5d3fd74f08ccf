"""What adapting found, in plain words: what changes, what is promised, what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_POINTS = ("high_sensitivity", "high_specificity")


def told(report: Mapping[str, Any]) -> str:
    """A few short paragraphs on a report of :func:`fracture.adapt.adapt`."""
    return "\n".join(_lines(report))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    films = report["films"]
    yield (
        f"{films['judged']} films of this site were judged, {films['fractured']} of them fractured"
        + (f"; {films['failed']} could not be read" if films["failed"] else "")
        + "."
    )
    yield from _likeness(report["likeness"])
    yield ""
    yield from _changes(report)
    yield ""
    yield from _promises(report)
    yield ""
    yield from _gain(report["gain"])


def _likeness(row: Mapping[str, Any]) -> Iterator[str]:
    if "far" in row:
        share = row["far"] / max(row["films"], 1)
        yield f"{row['far']} of {row['films']} films look unlike those that the networks learned from" + (
            ": that is many; adapting thresholds cannot mend it, fine-tuning may." if share > 0.1 else "."
        )
    if row["not_like_radiographs"]:
        yield f"{row['not_like_radiographs']} do not look like radiographs of limbs at all: look at them."
    if "regions_named" in row:
        yield f"The networks name the region rightly on {row['regions_right']} of {row['regions_named']} films."


def _changes(report: Mapping[str, Any]) -> Iterator[str]:
    before, after = (report["thresholds"][key].get("any", {}) for key in ("before", "after"))
    for point in _POINTS:
        if point in after:
            old = f"{before[point]:.3f}" if point in before else "none"
            yield f"Threshold for {point.replace('_', ' ')}: {old} before, {after[point]:.3f} now."
    if report["shift"]:
        yield (
            f"Scores are shifted by {report['shift']:+.2f} (log odds), so that on average they are the share of "
            "fractured films" + (f" of {report['prevalence']:.1%}" if report["prevalence"] else " among these") + "."
        )


def _promises(report: Mapping[str, Any]) -> Iterator[str]:
    what = {
        "high_sensitivity": "fractured films will be flagged at high sensitivity",
        "high_specificity": "normal films will not be flagged at high specificity",
    }
    for point, one in report["guarantees"].items():
        low, high = one["likely"]
        yield (
            f"Guarantee: at least {one['target']:.1%} of future {what[point]}, on average over choices of "
            f"{one['films']} such films, if they come as these did (same machines, patients and selection). With these "
            f"{one['films']} it will most likely (nine in ten) be between {low:.0%} and {high:.0%}. "
            "It holds for no region or group of patients by itself."
        )
    for limit in report["limits"]:
        yield f"No guarantee: {limit}."


def _gain(gain: Mapping[str, Any]) -> Iterator[str]:
    if not gain["measured"]:
        yield f"What is gained was not measured: {gain['reason']}."
        return
    yield "Measured here, each film judged by thresholds that it did not help to find (95 % intervals):"
    for point in _POINTS:
        for metric, films in (("sensitivity", "fractured films flagged"), ("specificity", "normal films not flagged")):
            row = gain[point][metric]
            if not row["n"]:
                continue
            pair = " -> ".join(_share(row[key], row["n"]) for key in ("before", "after"))
            yield f"  {point.replace('_', ' ')}, {films}: {pair}"
    if "auc" in gain and gain["auc"]["value"] is not None:
        area = gain["auc"]
        between = f" ({area['low']:.3f} to {area['high']:.3f})" if area.get("low") is not None else ""
        yield f"  AUC {area['value']:.3f}{between}: adapting does not raise it."


def _share(row: Mapping[str, Any], n: int) -> str:
    low, high = row["interval"]
    return f"{row['count']} of {n}, {row['value']:.0%} ({low:.0%} to {high:.0%})"
