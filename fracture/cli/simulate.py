"""``fracture simulate``: radiographs with known fractures, for examples, tests and pretraining."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["simulate"]


def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; made if it is not there.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many films.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal films.")] = 0,
    file_format: Annotated[str, typer.Option("--format", help="dicom, png or both.")] = "dicom",
    fracture_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of films with a fracture.")] = 0.5,
    region: Annotated[list[str] | None, typer.Option(help="Only this region; may be given more than once.")] = None,
) -> None:
    """Write simulated radiographs with their annotations (COCO) into a folder."""
    from tqdm import tqdm

    from fracture.simulate import write_dataset

    with tqdm(total=n, unit="film", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        write_dataset(
            directory,
            n,
            seed=seed,
            format=file_format,
            fracture_rate=fracture_rate,
            regions=region or None,
            progress=lambda done, _total: bar.update(done - bar.n),
        )
    typer.echo(f"fracture: {n} films and annotations.json in {directory}", err=True)
