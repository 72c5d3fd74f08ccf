"""``fracture export``: networks as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights, or a folder.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="onnx or openvino (extras).")] = "",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="WEIGHTS is an export: run it, and compare with the answers kept beside it.")
    ] = False,
) -> None:
    """Write the networks of any weights as ONNX or OpenVINO files, with card, contract of the inputs and self-test.

    Exit code 0: written, and each network answers as torch does; 2: it cannot be done, or an answer differs.
    """
    from fracture.errors import ConfigurationError
    from fracture.wing.contract import find_wing
    from fracture.wing.export import check_export, export as exported

    if check:
        lines = check_export(Path(weights))
    elif not to or out is None:
        raise ConfigurationError("an export needs a format and a folder", hint="give --to onnx --out DIR, or --check")
    else:
        wing, folder = find_wing(weights)
        lines = exported(wing, wing.store.open(folder), to, out)
    for line in lines:
        typer.echo(f"ok  {line}")
