r"""Sites and hardware: what a detector owes to them.

    python benchmarks/site_transfer.py report PREDICTIONS ANNOTATIONS --sites C=C+C_hires --out sites.json
    python benchmarks/site_transfer.py train --recipe R --data DATA --sites C=C+C_hires --sites A=A_prime_clinic \
        --out RUN

``report`` takes the predictions of ``fracture calibrate --out`` and gives the AUC within each site, with and without
hardware, and balanced for both. ``train`` trains the recipe on each site alone, judges it on the others and on held-out
groups of its own, and writes RUN/transfer.json; the same command resumes a stopped run. Both files go to
``fracture model-card --extra``.

For the recipe of the shipped weights, whose starting points must not have seen the films (ImageNet, not a first stage):

    python benchmarks/site_transfer.py train --recipe small_public --init resnet50_raw=FILE --init resnet18_both=FILE \
        --member resnet18_both --data DATA --sites C=C+C_hires --sites A=A_prime_clinic --out runs/sites
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from studies.sites import merge_sites, site_analysis
from studies.transfer import site_transfer

from fracture.data.readers import read_annotations
from fracture.reporting.result_sections import section
from fracture.training import load_recipe
from fracture.training.config import Recipe


def report(options: argparse.Namespace) -> int:
    result = site_analysis(
        options.predictions, options.annotations, merge=merge_sites(options.sites or []), seed=options.seed
    )
    print(section(result))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def train(options: argparse.Namespace) -> int:
    recipe = load_recipe(options.recipe)
    if options.member:
        recipe = recipe.select(options.member)
    starts = {text.rpartition("=")[0]: text.rpartition("=")[2] for text in options.init or []}
    recipe = Recipe(
        recipe.name,
        tuple(
            member.replace({"init": starts.get(member.name, starts.get("", member.init))}) for member in recipe.members
        ),
    )
    sites: dict[str, list[str]] = {}
    for site, name in merge_sites(options.sites).items():
        sites.setdefault(name, []).append(site)
    result = site_transfer(
        recipe,
        read_annotations(options.data),
        sites,
        out=options.out,
        held_out=options.held_out,
        seed=options.seed,
        device=options.device,
        say=lambda line: sys.stderr.write(line + "\n"),
    )
    if result is None:
        sys.stderr.write("stopped as asked; the same command resumes\n")
        return 143
    print(section(result))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("report", help="from predictions and annotations")
    one.add_argument("predictions", type=Path)
    one.add_argument("annotations", type=Path)
    one.add_argument("--sites", action="append", help="NAME=SITE+SITE: report these sites under one name")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path)
    one.set_defaults(run=report)
    two = commands.add_parser("train", help="train on one site, test on the others, and back")
    two.add_argument("--recipe", required=True)
    two.add_argument("--data", required=True)
    two.add_argument("--sites", action="append", required=True, help="NAME=SITE+SITE, at least two")
    two.add_argument("--member", action="append", help="only this member of the recipe; may be repeated")
    two.add_argument("--init", action="append", help="starting point, FILE or MEMBER=FILE; may be repeated")
    two.add_argument("--held-out", type=float, default=0.2)
    two.add_argument("--seed", type=int, default=0)
    two.add_argument("--device", default="auto")
    two.add_argument("--out", type=Path, required=True)
    two.set_defaults(run=train)
    options = parser.parse_args()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
