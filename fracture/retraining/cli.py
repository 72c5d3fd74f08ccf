"""``fracture retrain``: from annotated films to a finished card, in one command that can be killed and given again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.limb.operating_points import Method
    from fracture.models.devices import Precision


def retrain(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    data: Annotated[Path, typer.Option(help="The annotated set (folder or file).")],
    out: Annotated[Path, typer.Option(help="Output folder; unfinished work in it is resumed.")],
    card: Annotated[
        Path | None, typer.Option(help="TOML with the card's name, version, license, attribution, limitations, ...")
    ] = None,
    init: Annotated[
        list[str] | None, typer.Option(help="Starting point: a safetensors file, or MEMBER=FILE; may be repeated.")
    ] = None,
    aims: Annotated[Path | None, typer.Option(help="Aims for the model card.")] = None,
    misses: Annotated[Path | None, typer.Option(help="Markdown about the worst misses, for the model card.")] = None,
    extra: Annotated[list[Path] | None, typer.Option(help="Results in JSON for the model card.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared films.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    precision: Annotated[str, typer.Option(help="Precision of calibration: auto, float32 or bfloat16.")] = "auto",
    method: Annotated[str, typer.Option(help="How thresholds are found: empirical or conformal.")] = "empirical",
    calibrate_members: Annotated[
        bool | None, typer.Option(help="Give each member a calibrator; default: as `fracture calibrate` decides.")
    ] = None,
    fast: Annotated[list[str] | None, typer.Option(help="Member that `--fast` runs; may be repeated.")] = None,
    input_check: Annotated[
        bool, typer.Option("--input-check", help="Learn to warn of pictures that are not musculoskeletal radiographs.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the report's bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of cross-fitting and bootstrap; training uses its recipe's.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train, assemble, calibrate, evaluate and describe weights. Stages that are done are not repeated.

    Exit code 0: all stages are done; 143: asked to stop, saved, the same command goes on; 2: cannot be done.
    """
    from fracture.retraining import CardTexts, retrain as run
    from fracture.training.cli import stopped

    result = run(
        recipe,
        data,
        out=out,
        texts=None if card is None else CardTexts.read(card),
        init=_starts(init or []),
        aims=aims,
        misses=misses,
        extras=tuple(extra or ()),
        cache=cache,
        device=device,
        precision=cast("Precision", precision),
        method=cast("Method", method),
        calibrate_members=calibrate_members,
        fast=tuple(fast or ()),
        input_check=input_check,
        resamples=resamples,
        seed=seed,
        progress=not quiet,
        say=lambda line: typer.echo(f"fracture: {line}", err=True),
    )
    if not result.finished:
        stopped()
    typer.echo(str(result.weights))
    typer.echo(str(result.page))


def _starts(texts: list[str]) -> dict[str, str]:
    starts: dict[str, str] = {}
    for text in texts:
        member, equals, start = text.rpartition("=")
        name = member if equals else ""
        if name in starts or not start:
            raise ConfigurationError("--init names a member twice, or no starting point", got=text)
        starts[name] = start
    return starts
