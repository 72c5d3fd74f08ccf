"""Ten networks and what replaces them: decisions by as many as it takes, and one network taught by all.

    OMP_NUM_THREADS=1 python benchmarks/members.py WEIGHTS --data FRACATLAS --predictions TEN/predictions.jsonl \\
        [--one ONE --one-predictions ONE_RUN/predictions.jsonl] [--films 40]

Predictions are those of ``fracture calibrate ... --out`` on films that no member saw, each film with its cross-fitted
thresholds. From them: how many members a decision takes (``fracture.limb.decision``), and how far the one network is
from the ensemble. On ``--films`` of these films, drawn by a seed, in alternation: processor time of the bare forward
passes on tensors that are there, of ``predict``, of ``decide_many``, and of the one network's ``predict``; and whether
decisions are those of predictions.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fracture
from fracture.data.readers import read_annotations
from fracture.evaluation import Bootstrap, paired_bootstrap
from fracture.limb.decision import is_open

Line = Mapping[str, Any]


def read_lines(path: Path) -> dict[str, Line]:
    """Lines of predictions that could be made, by source."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["source"]: line for line in lines if line["error"] is None}


def members_asked(line: Line) -> int:
    """How many members in order it takes until this film is decided."""
    scores, thresholds = list(line["member_scores"].values()), list(line["thresholds"].values())
    return next(k for k in range(1, len(scores) + 1) if not is_open(scores[:k], len(scores), thresholds))


def saved(lines: Sequence[Line], fractured: NDArray[np.bool_]) -> None:
    asked = np.array([members_asked(line) for line in lines])
    members = len(lines[0]["member_scores"])
    reached = np.array([len(line["reached"]) for line in lines])
    share = asked.mean() / members
    print(f"{len(lines)} films: {asked.mean():.2f} of {members} members asked, share of passes {share:.3f}")
    print("asked, films:", dict(sorted(Counter(asked.tolist()).items())))
    for name, which in (("normal", ~fractured), ("fractured", fractured)):
        print(f"  {name}: {asked[which].mean():.2f}")
    for count in range(3):
        if (reached == count).any():
            some = reached == count
            print(f"  films that reach {count} of two points: {some.sum()}, {asked[some].mean():.2f}")


def between(ten: Sequence[Line], one: Sequence[Line], fractured: NDArray[np.bool_], groups: Sequence[str]) -> None:
    """How far the one network is from the mean of all."""
    many, single = (np.array([line["probability"] for line in lines]) for lines in (ten, one))
    found = paired_bootstrap(fractured, single, many, "auc", bootstrap=Bootstrap(groups=list(groups)))
    print(f"AUC of one and of all, difference: {found}")
    away = np.abs(many - single)
    print(f"probabilities apart: mean {away.mean():.3f}, 95 % within {np.quantile(away, 0.95):.3f}")
    print(f"correlation {np.corrcoef(many, single)[0, 1]:.3f}, of members with the mean of all: ", end="")
    members = np.array([list(line["member_scores"].values()) for line in ten])
    print(", ".join(f"{np.corrcoef(column, many)[0, 1]:.3f}" for column in members.T))
    for point in ("high_sensitivity", "high_specificity"):
        a, b = (np.array([point in line["reached"] for line in lines]) for lines in (ten, one))
        alone = (a & ~b).sum(), (b & ~a).sum()
        print(f"{point}: decisions that differ {np.mean(a != b):.3f} ({alone[0]} only by all, {alone[1]} only by one)")


def timed(detector: fracture.Detector, one: fracture.Detector | None, films: Sequence[Path]) -> None:
    ensemble = detector.ensemble
    spent: dict[str, list[float]] = {"bare": [], "predict": [], "decide": [], "one": [], "one member": []}
    asked, other = 0, 0

    def clock(name: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        found = work()
        spent[name].append(time.process_time() - begun)
        return found

    for number, path in enumerate(films):
        prepared = detector.prepare(fracture.read(path))
        tensors = [ensemble.tensors([one_input]) for one_input in prepared.inputs]
        own = [tensors[ensemble.specs.index(member.preprocess)] for member in ensemble.members]

        def bare(own: Any = own) -> None:
            with torch.inference_mode():
                for member, (planes, mask) in zip(ensemble.members, own, strict=True):
                    member.model(planes, mask)

        def single(own: Any = own) -> None:
            with torch.inference_mode():
                ensemble.members[-1].model(*own[-1])

        def predict(path: Path = path) -> Any:
            return next(iter(detector.predict_many([path], workers=0)))

        def decide(path: Path = path) -> Any:
            return next(iter(detector.decide_many([path], workers=0)))

        jobs: list[tuple[str, Callable[[], Any]]] = [
            ("bare", bare),
            ("predict", predict),
            ("decide", decide),
            ("one member", single),
        ]
        if one is not None:
            jobs.append(("one", lambda path=path: one.predict(path)))
        found = {name: clock(name, job) for name, job in jobs[number % 2 :: 1] + jobs[: number % 2]}
        asked += len(found["decide"].members)
        other += found["decide"].reached != found["predict"].reached
    total = {name: sum(seconds) for name, seconds in spent.items() if seconds}
    print(f"{len(films)} films, s a film: " + ", ".join(f"{name} {t / len(films):.3f}" for name, t in total.items()))
    print(f"predict {total['predict'] / total['bare']:.3f}, decide {total['decide'] / total['bare']:.3f} of bare")
    if one is not None:
        print(f"one network, file to boxes: {total['one'] / total['one member']:.2f} of one member's pass")
    print(f"members asked {asked} of {len(films) * len(ensemble.members)}; other decisions than predictions: {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--data", required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--one")
    parser.add_argument("--one-predictions", type=Path)
    parser.add_argument("--films", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    annotated, ten = read_annotations(asked.data), read_lines(asked.predictions)
    known = {film.source: film for film in annotated.films}
    sources = [source for source in ten if source in known]
    fractured = np.array([bool(known[source].fractured) for source in sources])
    saved([ten[source] for source in sources], fractured)
    if asked.one_predictions:
        one = read_lines(asked.one_predictions)
        groups = [str(known[source].group) for source in sources]
        between([ten[source] for source in sources], [one[source] for source in sources], fractured, groups)
    detector = fracture.load(asked.weights, device="cpu", engine="torch")
    other = fracture.load(asked.one, device="cpu", engine="torch") if asked.one else None
    drawn = random.Random(0).sample(sources, min(asked.films, len(sources)))
    timed(detector, other, [annotated.image_path(known[source]) for source in drawn])


if __name__ == "__main__":
    main()
