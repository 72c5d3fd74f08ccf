"""``fracture label``: export and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

label = typer.Typer(
    name="label",
    help="Let people correct predictions in Label Studio or CVAT, and read their corrections.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@label.command("export")
def export(
    results: Annotated[Path, typer.Argument(metavar="RESULTS.jsonl", help="JSON lines of `fracture predict`.")],
    out: Annotated[Path, typer.Option(help="A new folder: pictures, films.json, and the tool's files.")],
    tool: Annotated[str, typer.Option("--to", help="label-studio or cvat.")] = "label-studio",
    pick: Annotated[
        str, typer.Option(help="Which films first: uncertain, unlike, mixed (both in turn), random, all.")
    ] = "all",
    count: Annotated[int | None, typer.Option(min=1, help="How many films.")] = None,
    url: Annotated[str, typer.Option(help="Where the tool finds the pictures, before their names.")] = "",
    seed: Annotated[int, typer.Option(help="Of --pick random.")] = 0,
) -> None:
    """Write films with proposed boxes for people to correct."""
    from fracture.label.picks import Pick
    from fracture.label.proposals import export as run

    made = run(
        results,
        out,
        tool=tool,
        pick=cast("Pick", pick),
        count=count,
        url=url,
        seed=seed,
        say=lambda text: typer.echo(f"fracture: {text}", err=True),
    )
    typer.echo(
        f"fracture: {len(made.films)} films in {out}; docs/labeling.md says how they get into the tool", err=True
    )


@label.command("import")
def import_(
    exported: Annotated[Path, typer.Argument(metavar="EXPORT", help="JSON of Label Studio, or XML of CVAT.")],
    films: Annotated[Path, typer.Option(help="films.json of the export.")],
    out: Annotated[Path, typer.Option(help="The annotated set to write, a COCO file.")],
) -> None:
    """Read the corrections that people made to an export; for `fracture finetune`, `adapt`, `train` and `evaluate`."""
    from fracture.data.coco_writer import write_coco
    from fracture.label.corrected import read_corrections
    from fracture.runs.outputs import Protected, check_output

    check_output(out, Protected.of([exported, films]), option="--out", own=lambda head: b'"fractured"' in head)
    found = read_corrections(exported, films)
    write_coco(found.annotated, out)
    for picture, remark in found.remarks.items():
        typer.echo(f"fracture: {picture}: {remark}", err=True)
    for reason, number in found.counts.items():
        typer.echo(f"fracture: left out, {reason}: {number}", err=True)
    annotated = found.annotated
    typer.echo(
        f"fracture: {len(annotated)} films, {annotated.positives} fractured, {found.changed} other than proposed; "
        f"use them by --data {out} -o images={annotated.root}",
        err=True,
    )
