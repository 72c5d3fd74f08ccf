"""What judging the films of a study together gains, on presumed pairs of real films and on simulated studies.

    python benchmarks/studies/views.py films --data DATA --split weights/fracatlas-small/split.json > films.txt
    xargs -d '\\n' fracture predict --json films.jsonl < films.txt
    python benchmarks/studies/views.py pairs films.jsonl --data DATA --split weights/fracatlas-small/split.json
    python benchmarks/studies/views.py simulated -n 60

FracAtlas does not say which films belong together. A presumed pair is two files of consecutive numbers that show equal
regions at an equal original size in different views; a film has a part in one pair at most. ``films --sample 30`` lists
pairs at random, to look at. A pair is fractured if one of its films is. The card's thresholds were found on these films
too: what they say is a little too good, for single films and for pairs alike.

A simulated study is one limb in two views; fractured ones whose break is not the same in both views are left out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture.data.readers import read_annotations
from fracture.data.records import Film
from fracture.data.splits import Split
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.comparison import paired_bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.intervals import wilson
from fracture.limb.attention import fit_attention
from fracture.limb.study import RULES, fused
from fracture.wing.lines import suspicion_of

FloatArray = NDArray[np.float64]
SIMULATED = ("wrist", "forearm", "ankle", "tibia_fibula")


def presumed_pairs(films: Sequence[Film]) -> Iterator[tuple[Film, Film]]:
    """Two films after each other, each film in one pair at most."""
    before: Film | None = None
    for film in sorted(films, key=lambda film: film.source):
        if before is not None and _belong(before, film):
            yield before, film
            before = None
        else:
            before = film


def _belong(one: Film, other: Film) -> bool:
    numbers = [int(found[1]) if (found := re.search(r"(\d+)\.\w+\Z", f.source)) else None for f in (one, other)]
    size = [(f.extra.get("original_width", f.width), f.extra.get("original_height", f.height)) for f in (one, other)]
    return (
        None not in numbers
        and numbers[1] == (numbers[0] or 0) + 1
        and one.regions == other.regions
        and size[0] == size[1]
        and one.views != other.views
    )


def table(suspicions: Sequence[tuple[float, float]], labels: Sequence[int], groups: Sequence[str]) -> str:
    """AUC, sensitivity and specificity of single films and of each rule, at the level of studies, as Markdown."""
    draws = Bootstrap(1000, 0, 0.95, groups)
    truth = np.array(labels)
    first = np.array([pair[0] for pair in suspicions])
    scores = {"first film alone": first, "second film alone": np.array([pair[1] for pair in suspicions])}
    scores |= {rule: np.array([fused(pair, rule) for pair in suspicions]) for rule in RULES}
    scores["attention (cross-fitted)"], sharpness = attended(suspicions, labels, groups)
    rows = ["| judged by | AUC | minus first film alone | sensitivity % | specificity % |", "|---|---|---|---|---|"]
    for name, values in scores.items():
        gained = "" if values is first else _three(paired_bootstrap(truth, values, first, bootstrap=draws).difference)
        calls = values >= 0.5
        shares = (_share(calls[truth == 1]), _share(~calls[truth == 0]))
        rows.append(
            f"| {name} | {_three(auc(truth, values, bootstrap=draws))} | {gained} | {shares[0]} | {shares[1]} |"
        )
    differ = np.mean([(pair[0] >= 0.5) != (pair[1] >= 0.5) for pair in suspicions])
    head = f"{truth.size} studies, {truth.sum()} fractured; films called differently in {100 * differ:.0f} % of them\n"
    head += f"sharpness that was learned: {', '.join(f'{value:.1f}' for value in sharpness)}\n"
    return "\n".join([head, *rows])


def attended(
    suspicions: Sequence[tuple[float, float]], labels: Sequence[int], groups: Sequence[str]
) -> tuple[FloatArray, list[float]]:
    """Each study by a rule that was learned from the other four fifths of the groups, and those rules' sharpness."""
    names = sorted(set(groups))
    random.Random(0).shuffle(names)
    fold = np.array([names.index(group) % 5 for group in groups])
    scores, sharpness = np.zeros(len(suspicions)), []
    for part in range(5):
        kept = np.flatnonzero(fold != part).tolist()
        rule = fit_attention([suspicions[i] for i in kept], [labels[i] for i in kept])
        sharpness.append(rule.sharpness)
        for i in np.flatnonzero(fold == part).tolist():
            scores[i] = rule.fused(suspicions[i])
    return scores, sharpness


def _three(estimate: Any) -> str:
    span = "no interval" if estimate.low is None else f"{estimate.low:.3f} to {estimate.high:.3f}"
    return f"{estimate.value:.3f} ({span})"


def _share(hits: Any) -> str:
    low, high = wilson(int(hits.sum()), hits.size)
    return f"{100 * hits.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def real(arguments: argparse.Namespace) -> None:
    part = Split.read(arguments.split).part(read_annotations(arguments.data), arguments.part)
    pairs = list(presumed_pairs(list(part)))
    if arguments.what == "films":
        for pair in random.Random(0).sample(pairs, arguments.sample) if arguments.sample else pairs:
            print("\n".join(str(Path(arguments.data) / film.source) for film in pair))
        return
    lines = [json.loads(line) for line in Path(arguments.predictions).read_text(encoding="utf-8").splitlines()]
    found = {Path(line["source"]).name: suspicion_of(line) for line in lines}
    suspicions = [(found[Path(a.source).name] or 0.0, found[Path(b.source).name] or 0.0) for a, b in pairs]
    for title, kept in (
        ("All pairs", [True] * len(pairs)),
        ("Without films that show hardware", [not (a.hardware or b.hardware) for a, b in pairs]),
    ):
        chosen = [index for index, keep in enumerate(kept) if keep]
        print(f"\n{title}: ", end="")
        print(
            table(
                [suspicions[i] for i in chosen],
                [max(int(film.fractured) for film in pairs[i]) for i in chosen],
                [str(pairs[i][0].group) for i in chosen],
            )
        )


def simulated(arguments: argparse.Namespace) -> None:
    from fracture.detector import load
    from fracture.errors import ConfigurationError
    from fracture.simulate import radiograph

    detector = load(arguments.weights, device="cpu")
    suspicions, labels, seed = [], list[int](), 0
    while len(labels) < arguments.n:
        seed += 1
        region, broken = SIMULATED[seed % len(SIMULATED)], len(labels) % 2 == 1
        try:
            films = [radiograph(seed, region=region, view=v, fractured=broken) for v in ("frontal", "lateral")]
        except ConfigurationError:  # no visible fracture in one of the views
            continue
        breaks = [[(f.bone, f.kind, f.displaced) for f in film.fractures] for film in films]
        if breaks[0] != breaks[1]:
            continue
        study = detector.predict_study([film.pixels for film in films], region=region)
        one, other = (film.suspicion for film in study.judged)
        suspicions.append((one, other))
        labels.append(int(broken))
    print(table(suspicions, labels, [str(number) for number in range(len(labels))]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("films", "pairs"):
        command = commands.add_parser(name)
        if name == "pairs":
            command.add_argument("predictions")
        command.add_argument("--data", required=True)
        command.add_argument("--split", required=True)
        command.add_argument("--part", default="validation")
        command.add_argument("--sample", type=int, default=0)
    command = commands.add_parser("simulated")
    command.add_argument("-n", type=int, default=60)
    command.add_argument("--weights")
    arguments = parser.parse_args()
    simulated(arguments) if arguments.what == "simulated" else real(arguments)


if __name__ == "__main__":
    main()
