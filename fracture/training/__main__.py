"""``python -m fracture.training``: the same as ``fracture train``."""

from __future__ import annotations

import sys

import typer

from fracture.errors import FractureError
from fracture.training.cli import train

if __name__ == "__main__":
    try:
        typer.run(train)
    except FractureError as error:
        typer.echo(f"fracture train: {type(error).__name__}: {error}", err=True)
        sys.exit(2)
