"""Leave one region out of a set, train without it, then learn it from a few films: fine-tuning against starting anew.

    python benchmarks/leave_region_out.py base --data DATA --recipe RECIPE.toml --member NAME --init FILE --out RUN
    python benchmarks/leave_region_out.py tune --data DATA --recipe RECIPE.toml --member NAME --init FILE --out RUN
    python benchmarks/leave_region_out.py table --out RUN

``base`` trains one member of a recipe on all films that do not show the region. ``tune`` divides the films that do into
two halves by group (once per seed); one half is the test, from the other 20, 50 and 100 films (whole groups, nested)
are learned from, by fine-tuning and by training the same network from its starting point on the same films with as
many presentations. What fine-tuning does to the other regions is measured on the base's held-out films. Cells that are
done are kept as JSON under ``RUN/cells``: a call that was cut off goes on. ``table`` prints them as Markdown.

The test films' groups may hold films of other regions that the base was trained on; none of them shows the region.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fracture.calibration.assembly import assemble
from fracture.calibration.cases import Case, examine_films
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, split_parts
from fracture.detector import Detector, load
from fracture.evaluation import Bootstrap
from fracture.evaluation.stats.comparison import paired_bootstrap
from fracture.evaluation.stats.scores import auc
from fracture.finetune import FineTunePolicy, finetune
from fracture.training import MemberConfig, load_recipe, train

POLICY = FineTunePolicy()


def member_config(args: argparse.Namespace) -> MemberConfig:
    """The member that is trained, from the file that it starts from."""
    config = load_recipe(args.recipe).select([args.member]).members[0]
    changes: dict[str, Any] = {"init": args.init, "data": {"cache": args.cache}}
    if args.epochs:
        changes["loop"] = {"epochs": args.epochs}
    return config.replace(changes)


def base(args: argparse.Namespace, annotated: AnnotatedSet) -> None:
    """Train without the region and make weights of it."""
    rest = annotated.select(lambda film: args.region not in film.regions)
    train(member_config(args), rest, out=args.out / "base", progress=args.progress)
    assemble(args.out / "base", args.out / "weights", name="without-region", version="0", description="experiment")


def nested(annotated: AnnotatedSet, sizes: list[int], seed: int) -> tuple[AnnotatedSet, dict[int, AnnotatedSet]]:
    """The test half, and for each size whole groups of the other half in one seeded order, stratified by label."""
    halves = split_parts(annotated, {"pool": 0.5, "test": 0.5}, seed=seed)
    pool = halves.part(annotated, "pool")
    rng = np.random.default_rng(seed)
    groups: dict[str, list[str]] = {}
    for film in pool:
        groups.setdefault(film.group, []).append(film.source)
    names = [str(name) for name in rng.permutation(sorted(groups))]
    positive = {f.source for f in pool if f.fractured}
    share = len(positive) / len(pool)

    def off(films: list[str]) -> float:
        return abs(sum(source in positive for source in films) - share * len(films))

    chosen: list[str] = []
    found = {}
    for size in sorted(sizes):
        while len(chosen) < size and names:
            # Of the next groups in the seeded order the one that keeps the share of fractures nearest to the pool's.
            best = min(names[:12], key=lambda name: off([*chosen, *groups[name]]))
            names.remove(best)
            chosen = chosen + groups[best]
        found[size] = pool.subset(chosen, name=f"{annotated.name} {size}")
    return halves.part(annotated, "test"), found


def judged(detector: Detector, annotated: AnnotatedSet) -> list[Case]:
    """All films of a set; pairs of scores belong together only where none is missing."""
    cases, failures = examine_films(detector, annotated)
    if failures:
        raise SystemExit(f"{failures[0].source}: {failures[0].error}")
    return cases


def scores(cases: list[Case]) -> list[float]:
    return [case.score for case in cases]


def tune(args: argparse.Namespace, annotated: AnnotatedSet) -> None:
    """Every cell that is not done yet."""
    cells = args.out / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    shown = annotated.select(lambda film: args.region in film.regions)
    rest = annotated.select(lambda film: args.region not in film.regions)
    held = Split.read(next((args.out / "base").glob("*/split.json"))).part(rest, "validation")
    before = load(args.out / "weights")
    old_before: list[float] | None = None
    for seed in args.seeds:
        test, parts = nested(shown, args.sizes, seed)
        test_before = scores(judged(before, test))
        for size, part in parts.items():
            for way in args.ways:
                path = cells / f"seed{seed}_films{size}_{way}.json"
                if path.exists():
                    continue
                row: dict[str, Any] = {"seed": seed, "size": size, "way": way, "films": len(part)}
                row |= {"fractured": part.positives, "test": len(test), "test fractured": test.positives}
                detector = _scratch(args, part, seed) if way == "scratch" else _tuned(args, part, test, seed, way, held)
                after = judged(detector, test)
                labels, groups = [c.film.fractured for c in after], [c.film.group for c in after]
                row["test scores"] = dict(zip((c.film.source for c in after), scores(after), strict=True))
                row["labels"], row["groups"] = labels, groups
                row["before"] = auc(labels, test_before, bootstrap=Bootstrap(groups=groups)).to_dict()
                row["after"] = auc(labels, scores(after), bootstrap=Bootstrap(groups=groups)).to_dict()
                if way != "scratch":
                    if old_before is None:
                        old_before = scores(judged(before, held))
                    now = judged(detector, held)
                    # Films that were replayed do not measure what replaying kept: their half of the groups is left out.
                    unseen = {film.source for film in (_unseen(held, seed) if way == "replay" else held)}
                    pairs = [(c, old) for c, old in zip(now, old_before, strict=True) if c.film.source in unseen]
                    row["old"] = paired_bootstrap(
                        [c.film.fractured for c, _ in pairs],
                        scores([c for c, _ in pairs]),
                        [old for _, old in pairs],
                        bootstrap=Bootstrap(groups=[c.film.group for c, _ in pairs]),
                    ).to_dict()
                path.write_text(json.dumps(row), encoding="utf-8")


def _unseen(held: AnnotatedSet, seed: int) -> AnnotatedSet:
    """The half of the old films that :func:`fracture.finetune.finetune` measures with and never trains on."""
    return split_parts(held, {"train": 0.5, "validation": 0.5}, seed=seed).part(held, "validation")


def _tuned(
    args: argparse.Namespace, part: AnnotatedSet, test: AnnotatedSet, seed: int, way: str, held: AnnotatedSet
) -> Detector:
    both = AnnotatedSet((*part.films, *test.films), part.name, part.root, part.license, part.attribution)
    split = split_parts(both, {"train": 0.5, "validation": 0.5})
    sources = {"train": tuple(f.source for f in part), "validation": tuple(f.source for f in test)}
    split = replace(split, parts=sources, counts={}, method="leave one region out")
    return finetune(
        args.out / "weights",
        both,
        region=args.region,
        out=args.out / "tuned" / f"seed{seed}_films{len(part)}_{way}",
        split=split,
        old=held if way == "replay" else None,
        policy=POLICY,
        cache=args.cache,
        seed=seed,
        threads=args.threads,
        progress=args.progress,
    ).detector


def _scratch(args: argparse.Namespace, part: AnnotatedSet, seed: int) -> Detector:
    """The same network from its starting point on the same films, with as many presentations and crops."""
    run = args.out / "scratch" / f"seed{seed}_films{len(part)}"
    epochs = (POLICY.head_films + POLICY.thaw_films) // 100
    config = member_config(args).replace(
        {
            "seed": seed,
            "split": {"shares": {"train": 1.0}},
            "sampling": {"films_per_epoch": 100},
            "crops": {"epochs": epochs // 2},
            "loop": {"epochs": epochs, "batch": POLICY.batch, "micro_batch": None, "overlays": 0, "maps": False},
        }
    )
    train(config, part, out=run, progress=args.progress)
    assemble(run, run / "weights", name="scratch", version="0", description="experiment")
    return load(run / "weights")


def table(args: argparse.Namespace) -> None:
    """Markdown: one row per cell, and the paired difference of fine-tuning and starting anew."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((args.out / "cells").glob("*.json"))]
    anew = {(r["seed"], r["size"]): r for r in rows if r["way"] == "scratch"}
    columns = ("films (fractured)", "seed", "way", "AUC of the region before", "after", "minus from scratch")
    columns = (*columns, "change of the old regions' AUC")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in sorted(rows, key=lambda r: (r["size"], r["seed"], r["way"])):
        versus = ""
        if row["way"] != "scratch" and (other := anew.get((row["seed"], row["size"]))):
            names = list(row["test scores"])
            first, second = ([r["test scores"][n] for n in names] for r in (row, other))
            versus = _text(
                paired_bootstrap(
                    row["labels"], first, second, bootstrap=Bootstrap(groups=row["groups"])
                ).difference.to_dict(),
                True,
            )
        old = _text(row["old"]["difference"], True) if "old" in row else ""
        first_column = f"{row['films']} ({row['fractured']})"
        before = "" if row["way"] == "scratch" else _text(row["before"])
        lines.append(
            f"| {first_column} | {row['seed']} | {row['way']} | {before} | {_text(row['after'])} | {versus} | {old} |"
        )
    print("\n".join(lines))


def _text(estimate: dict[str, Any], signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    if estimate["value"] is None or "low" not in estimate:  # too few films
        return str(estimate["reason"])
    return f"{estimate['value']:{form}} ({estimate['low']:{form}} to {estimate['high']:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("base", "tune", "table"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--recipe")
    parser.add_argument("--member")
    parser.add_argument("--init", default="pretrained")
    parser.add_argument("--epochs", type=int, default=0, help="of the base; the recipe's where left out")
    parser.add_argument("--region", default="fracatlas_shoulder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ways", nargs="+", default=["finetune", "scratch"], help="finetune, replay, scratch")
    parser.add_argument("--cache", default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--progress", action="store_true")
    args = parser.parse_args()
    if args.step == "table":
        table(args)
        return
    if args.data is None or args.recipe is None or args.member is None:
        parser.error("base and tune need --data, --recipe and --member")
    annotated = read_annotations(args.data)
    {"base": base, "tune": tune}[args.step](args, annotated)


if __name__ == "__main__":
    main()
