"""``fracture finetune``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.data.cli import FormatOption, ReaderOption, read_set

if TYPE_CHECKING:
    from fracture.limb.operating_points import Method


def finetune(
    data: Annotated[Path, typer.Option(help="Films of the new region, annotated (folder or file).")],
    region: Annotated[str, typer.Option(help="Name of the region.")],
    out: Annotated[Path, typer.Option(help="Folder of the new weights.")],
    weights: Annotated[
        str | None, typer.Argument(metavar="[WEIGHTS]", help="The old weights; the default ones if left out.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(help="Region that the new one is part of; if left out, knee for patella, 'any' for a new name."),
    ] = None,
    old: Annotated[
        Path | None, typer.Option(help="Films of the old regions, so that they are kept and measured.")
    ] = None,
    old_format: Annotated[str, typer.Option(help="Format of --old, as --format.")] = "auto",
    old_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the reader for --old; may be repeated.")
    ] = None,
    old_split: Annotated[Path | None, typer.Option(help="A split file; only --old-part of it is used.")] = None,
    old_part: Annotated[str, typer.Option(help="The part of it that no member was trained on.")] = "validation",
    split: Annotated[Path | None, typer.Option(help="A split of --data with parts train and validation.")] = None,
    method: Annotated[str, typer.Option(help="empirical (the paper's) or conformal.")] = "empirical",
    name: Annotated[str | None, typer.Option(help="Name of the new weights.")] = None,
    version: Annotated[str, typer.Option(help="Their version.")] = "1",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the policy, as thaw_films=2000; may be repeated.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for checkpoints; OUT-training if left out.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared films.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and the training.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Teach weights a new region from a few films of it. Prints what it gained and cost as JSON on stdout.

    A command that was interrupted resumes when it is repeated.
    """
    from fracture.data.splits import Split
    from fracture.finetune import FineTunePolicy, finetune as tune
    from fracture.finetune.run import checked_names
    from fracture.limb.store import open_weights
    from fracture.training.cli import changes_of

    parents = open_weights(weights)
    checked_names(parents.card, region, parent, name=name, version=version, method=method)
    policy = FineTunePolicy.from_dict(changes_of(["policy"], (), set_ or (), None)["policy"])
    before = None
    if old is not None:
        before = read_set(old, old_format, old_option)
        if old_split is not None:
            before = Split.read(old_split).part(before, old_part)
    result = tune(
        parents,
        read_set(data, file_format, option),
        region=region,
        out=out,
        parent=parent,
        old=before,
        policy=policy,
        split=split,
        method=cast("Method", method),
        name=name,
        version=version,
        run=run,
        cache=cache,
        seed=seed,
        device=device,
        progress=not quiet,
    )
    typer.echo(json.dumps(dict(result.report), indent=2))
    typer.echo(f"fracture: {result.card.label} in {result.folder}", err=True)
