"""Write the measured half of card.toml, everything below its marker, from two reports of ``fracture hip evaluate``.

    python measured.py OUT_OF_GROUP/report.json SIMULATED/report.json --time "..." --time-met --date 2026-11-21

Numbers come from the reports alone; what they mean, what was trained on and what the limits are is written by hand
above the marker.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD = Path(__file__).with_name("card.toml")
MARKER = "# Everything below is written by measured.py.\n"
REAL = (
    "hip (127 real films, boxes that were found), pooled over {folds} folds by group, each judged by networks that were"
    " not trained on it"
)
SIMULATED = "simulated pelves of unseen seeds (fracture simulate --kind hips -n 120 --seed 9000), boxes that were found"
NAMES = {"binary_accuracy": "accuracy, fracture against none", "sensitivity": "sensitivity",
         "specificity": "specificity", "auc": "AUC, fracture against none",
         "region_accuracy": "accuracy, four groups", "multiclass_accuracy": "accuracy, six classes"}  # fmt: skip
Rates = Mapping[str, Any]


def number(value: float) -> str:
    """At most six digits behind the point."""
    return repr(round(float(value), 6))


def inline(rate: Rates) -> str:
    """A value and its interval; an interval without width is no statement and is left out."""
    text = f"value = {number(rate['value'])}"
    low, high = rate.get("low"), rate.get("high")
    if low is not None and high is not None and low < high:
        text += f", interval = [{number(low)}, {number(high)}]"
    return f"{{ {text} }}"


def percent(rate: Rates) -> str:
    """As in the table of docs/hip.md."""
    interval = f" ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})" if "low" in rate else ""
    return f"{100 * rate['value']:.1f}{interval} %"


def plain(rate: Rates) -> str:
    """As in the table of docs/hip.md."""
    return f"{rate['value']:.3f}" + (f" ({rate['low']:.3f}–{rate['high']:.3f})" if "low" in rate else "")


def threshold(table: str, found: Mapping[str, Any], positives: int, negatives: int, data: str, date: str) -> list[str]:
    """A table of one threshold: the point of the ROC curve nearest to its corner."""
    return [
        f"[{table}]",
        f"threshold = {number(found['threshold'])}",
        'method = "nearest to the corner of the ROC curve"',
        f'data = "{data}"',
        f"positives = {positives}",
        f"negatives = {negatives}",
        f"sensitivity = {number(found['sensitivity']['value'])}",
        f"specificity = {number(found['specificity']['value'])}",
        f'date = "{date}"',
        "",
    ]


def accuracies(table: str, part: Mapping[str, Any], *, six: bool) -> list[str]:
    """Fracture against none, four groups and, where all classes are known, six."""
    values = {**part, **{key: part["binary"][key] for key in ("sensitivity", "specificity", "auc")}}
    kept = [key for key in NAMES if six or key != "multiclass_accuracy"]
    return [f"[{table}]", *(f'"{NAMES[key]}" = {inline(values[key])}' for key in kept), ""]


def aims(real: Mapping[str, Any], simulated: Mapping[str, Any], neck: Rates, time: str, time_met: bool) -> list[str]:
    """The rows of the table in docs/hip.md."""
    place, read, six = real["localization"], real["automatic"], simulated["automatic"]["multiclass_accuracy"]
    least, auc = place["iou_minimum"], read["binary"]["auc"]
    rows = [
        ("labeled hips found (own side, IoU at least 0.5)", "100 %", f"{percent(place['found'])} of {place['hips']}",
         place["found"]["value"] == 1, "real"),
        ("sides right, of the hips found", "100 %", percent(place["side_right"]), place["side_right"]["value"] == 1,
         "real"),
        ("IoU, mean", "0.85", plain(place["iou_mean"]), place["iou_mean"]["value"] >= 0.85, "real"),
        ("IoU, minimum over all labeled hips", "0.5", f"{least:.2f}", least >= 0.5, "real"),
        ("fracture against none, AUC", "0.90", plain(auc), auc["value"] >= 0.90, "real"),
        ("accuracy over six classes", "95 %", percent(six), six["value"] >= 0.95, "simulated"),
        ("nondisplaced neck, sensitivity at its ideal point", "85 %", percent(neck), neck["value"] >= 0.85,
         "simulated"),
        ("predict over its two bare forward passes, time", "1.2", time, time_met, "benchmarks/hip.py"),
    ]  # fmt: skip
    lines = []
    for aim, target, value, met, data in rows:
        lines += ["[[metrics.aims]]", f'aim = "{aim}"', f'target = "{target}"', f'value = "{value}"',
                  f"met = {str(bool(met)).lower()}", f'data = "{data}"', ""]  # fmt: skip
    return lines


def measured(real: Mapping[str, Any], simulated: Mapping[str, Any], chosen: argparse.Namespace) -> str:
    """The measured half as TOML."""
    data = REAL.format(folds=chosen.folds)
    read, seen, place = real["automatic"], simulated["automatic"], real["localization"]
    classes = {one["name"]: one for one in seen["classes"]}
    neck = classes["nondisplaced_neck"]
    hips = simulated["localization"]["hips"]
    judged = sum(seen["counts"].values())
    binary = read["binary"]
    normal = read["counts"]["normal"]
    fracture, other = (f'metrics."{name}"' for name in ("real films, out of group", "simulated films, unseen seeds"))
    lines = threshold("fracture", binary["ideal"], binary["positives"], normal, data, chosen.date)
    lines += threshold(
        "advise_imaging", neck["ideal"], neck["positives"], judged - neck["positives"], SIMULATED, chosen.date
    )
    lines += ["[metrics]", "", *aims(real, simulated, neck["ideal"]["sensitivity"], chosen.time, chosen.time_met)]
    lines += [f"[{fracture}]", f'data = "{data}"', f"hips = {place['hips']}",
              f'"boxes without a labeled hip" = {place["extra_boxes"]}', ""]  # fmt: skip
    for name, key in (("found", "found"), ('"sides right"', "side_right")):
        rate = place[key]
        lines += [f"[{fracture}.{name}]", f"value = {number(rate['value'])}",
                  f"interval = [{number(rate['low'])}, {number(rate['high'])}]", ""]  # fmt: skip
    lines += [f"[{fracture}.IoU]", f"mean = {inline(place['iou_mean'])}",
              f"deviation = {number(place['iou_deviation'])}",
              f'"minimum of the boxes found" = {number(place["iou_minimum"])}', ""]  # fmt: skip
    lines += accuracies(f'{fracture}."by found boxes"', read, six=False)
    lines += accuracies(f'{fracture}."by labeled boxes"', real["manual"], six=False)
    place = simulated["localization"]
    lines += [f"[{other}]", f'data = "{SIMULATED}"', f"hips = {hips}", f"found = {inline(place['found'])}",
              f'"IoU mean" = {inline(place["iou_mean"])}', ""]  # fmt: skip
    lines += accuracies(f'{other}."by found boxes"', seen, six=True)
    lines += accuracies(f'{other}."by true boxes"', simulated["manual"], six=True)
    for name, one in classes.items():
        lines += [f'[{other}."classes by found boxes".{name}]', f"hips = {one['positives']}",
                  *(f"{title} = {inline(one[key])}" for title, key in
                    (("sensitivity", "sensitivity"), ("specificity", "specificity"), ("AUC", "auc"))), ""]  # fmt: skip
    ideal = neck["ideal"]
    lines += [f'[{other}."nondisplaced neck at its ideal point"]', f"threshold = {number(ideal['threshold'])}",
              f"sensitivity = {inline(ideal['sensitivity'])}",
              f"specificity = {inline(ideal['specificity'])}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replace everything below the marker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("simulated", type=Path)
    parser.add_argument("--time", required=True, help="of benchmarks/hip.py, as the table shows it")
    parser.add_argument("--time-met", action="store_true")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--date", required=True)
    chosen = parser.parse_args()
    real, simulated = (json.loads(path.read_text("utf-8")) for path in (chosen.real, chosen.simulated))
    above, marker, _ = CARD.read_text("utf-8").partition(MARKER)
    if not marker:
        raise SystemExit(f"{CARD.name} has no line {MARKER.strip()!r}")
    CARD.write_text(above + marker + "\n" + measured(real, simulated, chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
