"""AUC of weights after the usual corruptions of films that they never saw, paired with the clean films.

    python benchmarks/robustness.py WEIGHTS --data DATA --split SPLIT --part validation [--films N] --out OUT.json

    python benchmarks/robustness.py WEIGHTS --data DATA --out-of-fold FOLD0 --out-of-fold FOLD1 ... --out OUT.json

The second form is for weights of several folds, of which no film is unseen: each film is judged by the members of the
fold that held it out. ``--films N`` draws N films, half of them fractured as far as there are that many. 200 films take
2,000 predictions; on two cores and in bfloat16 that is a few minutes for a small ensemble. The model card takes the
file by ``fracture model-card --extra OUT.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from studies.corruptions import CORRUPTIONS
from studies.robustness import fold_judges, measure_robustness, sample_films
from tqdm import tqdm

import fracture
from fracture.data.readers import read_annotations
from fracture.data.splits import Split
from fracture.reporting.result_sections import section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", type=Path, help="split file; all films of the set where left out")
    parser.add_argument("--part", action="append", help="part of the split; may be repeated (default: validation)")
    parser.add_argument("--out-of-fold", type=Path, action="append", help="weights of one fold; repeat for every fold")
    parser.add_argument("--films", type=int, default=0, help="how many; 0 for all")
    parser.add_argument("--only", action="append", choices=[c.name for c in CORRUPTIONS], help="may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    annotated = read_annotations(options.data)
    if options.split is not None:
        annotated = Split.read(options.split).part(annotated, *(options.part or ["validation"]))
    elif options.part:
        parser.error("--part needs --split")
    where = {"device": options.device, "precision": options.precision}
    if options.out_of_fold and options.split is not None:
        parser.error("--split and --out-of-fold exclude each other: every fold has its own split")
    if options.out_of_fold:
        judges = fold_judges(options.weights, options.out_of_fold, annotated, **where)
        held = {film.source for _, films in judges for film in films}
        annotated = annotated.select(lambda film: film.source in held)
    else:
        judges = [(fracture.load(options.weights, **where), annotated)]
    drawn = {film.source for film in sample_films(annotated, options.films, seed=options.seed)}
    judges = [(detector, films.select(lambda film: film.source in drawn)) for detector, films in judges]
    chosen = tuple(c for c in CORRUPTIONS if not options.only or c.name in options.only)
    with tqdm(
        total=len(drawn) * (len(chosen) + 1), unit="film", file=sys.stderr, disable=not sys.stderr.isatty()
    ) as bar:
        result = measure_robustness(
            judges, corruptions=chosen, seed=options.seed, batch_size=options.batch_size, progress=bar.update
        )
    print(section(result))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
