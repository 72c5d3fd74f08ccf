"""``fracture assemble`` and ``fracture calibrate``: from trained members to weights with thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture.data.cli import FormatOption, ReaderOption, read_set, tell_failures


def assemble(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of `fracture train`.")],
    out: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="The folder of weights to write.")],
    name: Annotated[str, typer.Option(help="Name of the weights; the folder's name if left out.")] = "",
    version: Annotated[str, typer.Option(help="Their version.")] = "1",
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    card_license: Annotated[str, typer.Option("--license", help="License of the weights.")] = "Apache-2.0",
    attribution: Annotated[
        list[str] | None, typer.Option(help="Attribution that must be quoted; may be repeated.")
    ] = None,
    limitation: Annotated[list[str] | None, typer.Option(help="A known limit; may be repeated.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Take only this member; may be repeated.")] = None,
    boxes_only: Annotated[
        list[str] | None,
        typer.Option(help="A member that tells boxes and has no part in the film's score; may be repeated."),
    ] = None,
    boxes_left_out: Annotated[
        list[str] | None,
        typer.Option(help="A member that has its part in the film's score and tells no boxes; may be repeated."),
    ] = None,
    regions_only: Annotated[
        list[str] | None, typer.Option(help="A member that tells a film's regions and nothing else; may be repeated.")
    ] = None,
    regions_by: Annotated[
        list[str] | None, typer.Option(help="A member that tells a film's regions, instead of all; may be repeated.")
    ] = None,
    mirrored: Annotated[
        list[str] | None, typer.Option(help="A member that sees each film's mirror image too; may be repeated.")
    ] = None,
) -> None:
    """Put the members of a training run into a folder of weights, with a provisional card; then calibrate it."""
    from fracture.calibration import assemble as run_assemble

    card = run_assemble(
        run,
        out,
        name=name or out.name,
        version=version,
        description=description or f"trained in {run.name}",
        members=tuple(member or ()),
        boxes_only=tuple(boxes_only or ()),
        boxes_left_out=tuple(boxes_left_out or ()),
        regions_only=tuple(regions_only or ()),
        regions_by=tuple(regions_by or ()),
        mirrored=tuple(mirrored or ()),
        license=card_license,
        attribution=tuple(attribution or ()),
        limitations=tuple(limitation or ()),
    )
    typer.echo(f"fracture: {card.label}, {len(card.members)} members in {out}; now: fracture calibrate {out}", err=True)


def calibrate(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Folder of weights; its card is rewritten.")],
    data: Annotated[Path, typer.Option(help="The annotated set (folder or file).")],
    split: Annotated[Path | None, typer.Option(help="A split file; only --part of it is used.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Part of the split; may be repeated.")] = None,
    out_of_fold: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLD_WEIGHTS",
            help="Weights that held out some of the films, with their split.json; repeat for every fold. "
            "Each judges what it held out, instead of WEIGHTS.",
        ),
    ] = None,
    calibrate_members: Annotated[
        bool | None,
        typer.Option(
            help="Give each member a calibrator (Platt scaling) before the average. Default: only with --out-of-fold, "
            "where WEIGHTS is made of the folds' members.",
        ),
    ] = None,
    fast: Annotated[
        list[str] | None,
        typer.Option(
            help="A member that --fast runs, with operating points of its own; may be repeated. With --out-of-fold "
            "only one (networks for regions aside), and only if each fold has just one."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for predictions.jsonl, for `fracture evaluate`.")] = None,
    method: Annotated[str, typer.Option(help="empirical (the paper's) or conformal.")] = "empirical",
    map_rule: Annotated[
        str,
        typer.Option(
            help="Map thresholds: sensitivity (the paper's: a region's highest that keeps --map-sensitivity) or "
            "balance (ours: best mean of AP and FROC)."
        ),
    ] = "sensitivity",
    map_sensitivity: Annotated[
        float, typer.Option(help="Share of the fractures that a reported box must hit, for --map-rule sensitivity.")
    ] = 0.75,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-fitting.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the parts and of the intervals.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Find operating points and box rules on annotated films that no member was trained on.

    Without --part, the parts "validation" and "tune" of the split are used. Prints the metrics as JSON on stdout.

    Exit code 0: done; 1: done, but some films could not be read and have no part in it; 2: it cannot be done.
    """
    from fracture.calibration.fast import calibrate_fast, fast_of_folds
    from fracture.calibration.folds import HELD_OUT, read_fold, share_out
    from fracture.calibration.out_of_fold import calibrate_out_of_fold
    from fracture.calibration.run import calibrate as run
    from fracture.calibration.sweep import MapRule
    from fracture.data.splits import Split
    from fracture.errors import ConfigurationError
    from fracture.runs.progress import progress_bar

    annotated = read_set(data, file_format, option)
    options: dict[str, Any] = {
        "out": out,
        "method": method,
        "maps": MapRule(map_rule, map_sensitivity),  # type: ignore[arg-type]  # checked when made
        "folds": folds,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    count = len(annotated)
    if out_of_fold:
        if split is not None:
            raise ConfigurationError(
                "--split and --out-of-fold exclude each other",
                hint="each of the fold weights has its own split beside it",
            )
        parts = tuple(part or HELD_OUT)
        count = sum(len(share) for share in share_out([read_fold(fold) for fold in out_of_fold], annotated, parts))
    elif split is not None:
        made = Split.read(split)
        names = tuple(part or (name for name in ("tune", "validation") if name in made.parts))
        annotated = made.part(annotated, *names)
        count = len(annotated)
        words = f"{'+'.join(names)} of {made.name}, split {made.checksum[:12]} ({made.method})"
    else:
        if part:
            raise ConfigurationError("--part names a part of a split", hint="give --split or --out-of-fold too")
        words = annotated.name
    with progress_bar(2 * count if fast and not out_of_fold else count) as bar:
        if out_of_fold:
            result = calibrate_out_of_fold(
                weights,
                annotated,
                out_of_fold,
                parts=parts,
                calibrate_members=calibrate_members,
                progress=bar.update,
                **options,
            )
            if fast:
                fast_of_folds(weights, fast, out_of_fold)
        else:
            settings = {
                **options,
                "calibrate_members": bool(calibrate_members),
                "description": f"{len(annotated)} films, {annotated.positives} fractured: {words}",
            }
            result = run(weights, annotated, progress=bar.update, **settings)
            if fast:
                calibrate_fast(
                    weights,
                    fast,
                    annotated,
                    result.predictions,
                    lambda folder: run(folder, annotated, **{**settings, "out": None}),
                    seed=seed,
                )
    typer.echo(json.dumps(result.metrics, indent=2))
    tell_failures(result.failures, "the calibration")
