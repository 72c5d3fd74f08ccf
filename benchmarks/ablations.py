"""Ablations: one network of a recipe, and the same with one part changed, from several seeds, on the same films.

    python benchmarks/ablations.py weights/fracatlas-small/recipe.toml --member resnet18_pyramid --data DATA \
        --changes docs/model_card/ablations.toml --folds docs/model_card/folds.json --init R18 --init trunk=R50 \
        --windows 12000 --seeds 31 32 --out runs/ablations

Every training is one cosine over ``--windows`` presentations, judged on the held-out fold with calibrator, thresholds
and box rules of its own, cross-fitted, as ``fracture calibrate --calibrate-members`` does; differences are paired, by
group. A stopped run goes on where the same command is given again; ``--only`` trains some of the variants, so that
several processes or machines share the work. The table, of the variants that are done, goes to ``fracture model-card
--extra``.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.pairs import Told, differences, read_told

from fracture.atomic import write_json
from fracture.calibration import assemble, calibrate
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.data.splits import Split
from fracture.errors import ConfigurationError
from fracture.training import MemberConfig, load_recipe, train

BASE = "base"
_PREDICTIONS = "predictions.jsonl"


def variant(
    base: MemberConfig, change: Mapping[str, Any], *, seed: int, windows: int, start: str | None
) -> MemberConfig:
    """The base with one part changed, from one seed, for so many presentations, in whole epochs of the recipe.

    Raises:
        ConfigurationError: The recipe's epochs are all films, however many there are.
    """
    if base.sampling.films_per_epoch is None:
        raise ConfigurationError("an ablation counts presentations", hint="sampling.films_per_epoch = 4000, say")
    epochs = max(1, round(windows / base.sampling.films_per_epoch))
    changed = base.replace({"seed": seed, "region_views": 0, "loop": {"epochs": epochs}}).replace(change)
    return changed if start is None else changed.replace({"init": start})


def judged(config: MemberConfig, annotated: AnnotatedSet, place: Path, device: str) -> bool:
    """Train one network, if it is not trained yet, and judge it; false where it was asked to stop."""
    if (place / "held_out" / _PREDICTIONS).exists():
        return True
    if not train(config, annotated, out=place / "run", device=device).finished:
        return False
    name = config.name
    assemble(place / "run", place / "weights", name="ablation", version="1", description=place.name, members=[name])
    films = Split.read(place / "run" / name / "split.json").part(annotated, "validation")
    calibrate(place / "weights", films, calibrate_members=True, device=device, out=place / "judged")
    (place / "judged").rename(place / "held_out")  # whole, or not there
    return True


def rows(
    films: Sequence[Film], told: Mapping[str, Mapping[int, Mapping[str, Told]]], seeds: Sequence[int]
) -> list[list[Any]]:
    """For each variant and seed the base's numbers, its own, and its own less the base's."""
    found = []
    for name, by_seed in told.items():
        for seed in seeds:
            if name == BASE or seed not in by_seed or seed not in told.get(BASE, {}):
                continue
            own, base = by_seed[seed], told[BASE][seed]
            both = [film for film in films if film.source in own and film.source in base]
            table = differences(both, [own[film.source] for film in both], [base[film.source] for film in both])
            found += [[f"{name}, seed {seed}: {what}", second, first, less] for what, first, second, less in table]
    return found


def ablations(
    base: MemberConfig,
    annotated: AnnotatedSet,
    changes: Mapping[str, Mapping[str, Any]],
    *,
    out: Path,
    seeds: Sequence[int],
    windows: int,
    starts: Mapping[str, str] = {},
    only: Sequence[str] = (),
    device: str = "auto",
) -> dict[str, Any] | None:
    """Train what is not trained yet and compare what is there; ``None`` where it was asked to stop."""
    told: dict[str, dict[int, dict[str, Told]]] = {}
    for seed in seeds:
        for name, change in {BASE: {}, **changes}.items():
            place = out / f"{name}_{seed}"
            if not only or name in only:
                start = starts.get(name, starts.get(""))
                config = variant(base, change, seed=seed, windows=windows, start=start)
                if not judged(config, annotated, place, device):
                    return None
            if (predictions := place / "held_out" / _PREDICTIONS).exists():
                told.setdefault(name, {})[seed] = read_told(predictions)
    judged_on = {source for by_seed in told.values() for found in by_seed.values() for source in found}
    films = [film for film in annotated if film.source in judged_on]
    page = {
        "format": "fracture-table/1",
        "title": "Ablations",
        "text": f"{base.name} of {windows} presentations in one cosine, and the same with one part changed, each with "
        f"calibrator, thresholds and box rules of its own, cross-fitted; {len(films)} films of {annotated.name} new to "
        "all of them; differences paired, by group: the variant less the base.",
        "columns": ["variant: measured", "base", "variant", "difference"],
        "rows": rows(films, told, seeds),
    }
    write_json(out / "ablations.json", page)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe")
    for option in ("member", "data"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("changes", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--folds", help="file of a split in folds; the recipe's own split where left out")
    parser.add_argument("--fold", type=int, default=0, help="the one that is held out")
    parser.add_argument("--init", action="append", default=[], help="starting point: FILE, or VARIANT=FILE")
    parser.add_argument("--windows", type=int, default=12000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32])
    parser.add_argument("--only", nargs="+", default=[], help="variants that are trained here")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    (base,) = load_recipe(options.recipe).select([options.member]).members
    if options.folds is not None:
        base = base.replace({"split": {"file": options.folds, "fold": options.fold, "tune_fold": False}})
    page = ablations(
        base,
        read_annotations(options.data),
        tomllib.loads(options.changes.read_text(encoding="utf-8")),
        out=options.out,
        seeds=options.seeds,
        windows=options.windows,
        starts={text.rpartition("=")[0]: text.rpartition("=")[2] for text in options.init},
        only=options.only,
        device=options.device,
    )
    if page is None:
        print("stopped as asked; the same command goes on")
        return 143
    for row in page["rows"]:
        print(row[0], row[3])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
