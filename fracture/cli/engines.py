"""``fracture engines``: which engine runs networks fastest here, and whether it says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.cli import options as opt
from fracture.cli.streams import printable

if TYPE_CHECKING:
    from fracture.models.devices import Precision


def engines(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Films like those that will be read."),
    ],
    weights: opt.WeightsName = None,
    precision: opt.PrecisionName = "auto",
) -> None:
    """Time every installed engine against torch, and keep the result for --engine auto.

    Exit code 0: it was measured; 2: it cannot be, since no other engine is installed or no film can be read.
    """
    import torch

    from fracture.wing.contract import find_wing
    from fracture.wing.engine_choice import choose, keep_measured
    from fracture.wing.engine_measure import compare_engines
    from fracture.wing.engines import stated

    wing, folder = find_wing(weights or "fracatlas-small")
    opened = wing.store.open(folder)
    asked = stated(cast("Precision", precision), torch.device("cpu"))
    found = compare_engines(
        wing, opened, paths, say=lambda line: typer.echo(printable(line), err=True), precision=asked
    )
    for name, one in found.items():
        told = f"largest difference {one.difference:.1e}" if one.same else "other results than torch's: not used"
        typer.echo(f"{name}: {one.ratio:.3f} of torch's time, {told} ({one.films} films)")
    typer.echo(f"kept in {keep_measured(opened.card.checksum, found, asked)}")
    choice = choose(opened.card.checksum, asked)
    typer.echo(f"auto: {choice.engine} ({choice.why})")
