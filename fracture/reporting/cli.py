"""``fracture model-card``: the page about a set of weights, made and not typed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fracture.atomic import write_text
from fracture.errors import ConfigurationError


def model_card(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights, or a folder.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder (or report.json) of `fracture evaluate` for these weights.")
    ] = None,
    extra: Annotated[
        list[Path] | None, typer.Option(help="Results in JSON (robustness, sites, cost, ...); may be repeated.")
    ] = None,
    aims: Annotated[Path | None, typer.Option(help="TOML or JSON file of the aims.")] = None,
    misses: Annotated[Path | None, typer.Option(help="Markdown about the worst misses.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; stdout if left out.")] = None,
) -> None:
    """Write a model card in Markdown from the weights' card and results in JSON: equal inputs, equal bytes."""
    from fracture.limb.store import open_weights
    from fracture.reporting.page import page_of_files
    from fracture.runs.outputs import Protected, check_output

    opened = open_weights(weights)
    if out is not None:
        given = (report, aims, misses, *(extra or ()), *opened.folder.iterdir())
        inputs = Protected.of(path for path in given if path is not None)
        check_output(out, inputs, option="--out", own=lambda head: b"**Intended use.**" in head)
    arguments = ["fracture", "model-card", weights]
    for name, values in (("report", [report]), ("extra", extra or []), ("aims", [aims]), ("misses", [misses])):
        for value in values:
            arguments += [] if value is None else [f"--{name}", value.as_posix()]
    page = page_of_files(
        opened, report=report, extras=extra or (), aims=aims, misses=misses, command=shlex.join(arguments)
    )
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, page)
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written", got=error.strerror) from error
    typer.echo(f"fracture: {opened.card.label}, model card in {out}", err=True)
