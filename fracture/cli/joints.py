"""``fracture joints``: predict, train, verify, and what tables of scores are for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fracture.cli.joints_tables import change, evaluate, simulate
from fracture.cli.reading import Reading, reads_films
from fracture.cli.verify import verify

if TYPE_CHECKING:
    from fracture.cli.run import Task

joints = typer.Typer(
    name="joints",
    help="Find, measure and score the joints of hands and forefeet (after RA2-DREAM). Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@joints.command("predict")
@reads_films("joints")
def predict(
    reading: Reading,
    side: Annotated[
        str | None, typer.Option(help="left or right: the patient's, of all films; else header or letter.")
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(help="Millimeters per pixel, in place of what the files say.")
    ] = None,
) -> None:
    """Find joints: one JSON line per input, in input order, with the joints of each hand and forefoot.

    Exit code 0: all inputs were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot
    be written.
    """

    def task() -> Task:
        from fracture.joints.reader import load

        reader = load(reading.weights, device=reading.device, engine=reading.engine)
        return reading.task("joints predict", reader.card, reader.predict_many, {"side": side, "spacing": spacing})

    reading.run(task)


@joints.command("train")
def train(
    data: Annotated[Path, typer.Argument(help="COCO keypoints of hands (26 points) and forefeet (6 points).")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is resumed.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the films; by default that of the file.")] = None,
    train_only: Annotated[
        list[Path] | None,
        typer.Option(help="Further films, trained on whole, as pseudo-labels or simulated hands; may be repeated."),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Train only this: finder, placer, finger, forefoot or wrist (scores); may be repeated."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="TOML file with fields of the card: name, version, license, metrics, ...")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="A safetensors file with the trunk; by default that of joints-small.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as loop.epochs=3, or STAGE:loop.epochs=3; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train all networks and write weights with a card; scores are taught on lesions painted into these films.

    Exit code 0: done; 143: stopped by a signal, saved; the same command resumes.
    """
    from fracture.joints.records import read_landmarks
    from fracture.joints.training import STAGES, train as run
    from fracture.schema import read_toml
    from fracture.training.cli import changes_of, stopped
    from fracture.training.driver import Interrupted

    changes = changes_of(STAGES, (), set_ or (), None)
    try:
        folder = run(
            read_landmarks(data, images),
            out,
            init,
            train_only=[read_landmarks(path) for path in train_only or ()],
            stages=stage,
            changes=changes,
            facts=None if card is None else read_toml(card),
            device=device,
            progress=not quiet,
        )
    except Interrupted:
        stopped()
    typer.echo(f"weights: {folder}" if (folder / "joints_card.json").exists() else f"run: {folder}")


joints.command("evaluate")(evaluate)
joints.command("change")(change)
joints.command("simulate")(simulate)
joints.command("verify")(verify)
