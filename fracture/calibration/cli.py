"""``fracture calibrate``: thresholds and box rules for weights, on films that they never saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from fracture.ensemble import Precision
    from fracture.operating_points import Method

__all__ = ["calibrate"]


def calibrate(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Folder of weights; its card is rewritten.")],
    data: Annotated[Path, typer.Option(help="The annotated set (folder or file).")],
    split: Annotated[Path | None, typer.Option(help="A split file; only --part of it is used.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Part of the split; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for predictions.jsonl, for `fracture evaluate`.")] = None,
    method: Annotated[str, typer.Option(help="empirical (the paper's) or conformal.")] = "empirical",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-fitting.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the parts and of the intervals.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
) -> None:
    """Find operating points and box rules on annotated films that no member was trained on.

    Without --part, the parts "tune" and "validation" of the split are used. Prints the metrics as JSON on stdout.
    """
    from tqdm import tqdm

    from fracture.calibration import calibrate as run
    from fracture.data.readers import read_annotations
    from fracture.data.splits import Split

    annotated = read_annotations(data)
    words = f"{annotated.name}"
    if split is not None:
        made = Split.read(split)
        names = tuple(part or (name for name in ("tune", "validation") if name in made.parts))
        annotated = made.part(annotated, *names)
        words = f"{'+'.join(names)} of {made.name}, split {made.checksum[:12]} ({made.method})"
    with tqdm(total=len(annotated), unit="film", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        result = run(
            weights,
            annotated,
            out=out,
            method=cast("Method", method),
            folds=folds,
            seed=seed,
            precision=cast("Precision", precision),
            device=device,
            description=f"{len(annotated)} films, {annotated.positives} fractured: {words}",
            progress=bar.update,
        )
    typer.echo(json.dumps(result.metrics, indent=2))
