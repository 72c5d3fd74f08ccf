"""``fracture verify``: are these weights what their card says, and do they compute here what they computed there?"""

from __future__ import annotations

from typing import Annotated

import typer

from fracture.cli.streams import printable
from fracture.cli.words import in_options


def verify(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights, or a folder.")],
) -> None:
    """Check a card, every checksum and tensor, and the answers on a fixed film, of any kind of weights.

    Exit code 0: all is well; 1: a check failed; 2: no such weights.
    """
    from fracture.errors import FractureError
    from fracture.wing.contract import find_wing, registered
    from fracture.wing.verification import verify_weights

    for broken in registered()[1]:
        typer.echo(f"warning: {printable(str(broken))}", err=True)
    _, folder = find_wing(weights)
    try:
        for line in verify_weights(folder):
            typer.echo(f"ok  {line}")
    except FractureError as error:
        typer.echo(f"FAILED  {type(error).__name__}: {in_options(error)}")
        raise typer.Exit(1) from error
