"""``fracture spine cervical``: predict, simulate, train, evaluate, assemble, verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture.cli import options as opt
from fracture.cli.reading import Reading, predict_series, reads_films
from fracture.cli.verify import verify
from fracture.errors import ConfigurationError, needing

cervical = typer.Typer(
    name="cervical",
    help="Find C1 to C7 on CT of the neck and judge them for fractures. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@cervical.command("predict")
@reads_films("cervical", series=True)
def predict(
    reading: Reading,
    *,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write the levels' masks beside each overlay, as NIfTI at 2 mm.")
    ] = False,
) -> None:
    """Find levels and judge them: one JSON line for each path, in order.

    Exit code 0: all paths were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot be
    written.
    """
    from fracture.spine.cervical.wing import WING

    if masks and reading.outputs.overlay is None:
        raise ConfigurationError("--masks are written beside overlays", hint="add --overlay DIR")
    if masks:
        with needing("spine"):  # said before a series is read, not after each of them
            import nibabel  # noqa: F401

    def draw(result: Any, path: str) -> None:
        result.save_overlay(path)
        if masks:
            result.save_masks(f"{path.removesuffix('.png').removesuffix('.nii.gz')}_levels.nii.gz")

    predict_series(reading, WING, draw)


@cervical.command("simulate")
def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; created if missing.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many necks.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal necks.")] = 0,
    fracture_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of necks with a fracture.")] = 0.5,
) -> None:
    """Write necks with known fractures, as `fracture simulate --kind cervical` does."""
    from fracture.cli.simulate import simulate as write

    write(directory, n=n, seed=seed, kind="cervical", fracture_rate=fracture_rate)


@cervical.command("train")
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe: small.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is resumed.")],
    data: Annotated[
        list[Path], typer.Option(help="Necks of `fracture spine cervical simulate`, or such a folder; may be repeated.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    init: Annotated[
        list[str] | None,
        typer.Option(help="Starting point, STAGE=FILE: a safetensors file for levels or fractures; may be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="As levels:loop.epochs=3, fractures:seed=1; may be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train the finder of levels, then the judge. Exit code 0: done; 143: stopped by a signal, saved; the same command
    resumes."""
    from fracture.data.merged import merge_sets
    from fracture.spine.cervical.records import read_necks
    from fracture.spine.cervical.training import FractureConfig, LevelConfig, train as run
    from fracture.training.cli import changes_of, stopped
    from fracture.training.driver import Interrupted

    changes = changes_of((LevelConfig.STAGE, FractureConfig.STAGE), init or [], set_ or [], None)
    levels = LevelConfig.load(recipe).replace(changes[LevelConfig.STAGE])
    both = levels, FractureConfig.load(recipe).replace(changes[FractureConfig.STAGE])
    try:
        run(both, merge_sets([read_necks(one) for one in data]), out=out, device=device, progress=not quiet)
    except Interrupted:
        stopped()
    typer.echo(f"{out / 'levels.safetensors'} and {out / 'fractures.safetensors'}")


@cervical.command("evaluate")
def evaluate(
    data: Annotated[Path, typer.Argument(help="Necks of `fracture spine cervical simulate`.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.txt, and the challenge's two tables.")],
    weights: Annotated[str | None, typer.Option(help="Name of shipped weights, or a folder with a card.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Bootstrap iterations.")] = 1000,
    scale: Annotated[
        bool, typer.Option("--scale", help="Also fit a card's `scaling`, of weights that are assembled without one.")
    ] = False,
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
) -> None:
    """Measure levels, masks and fractures on necks with a truth. Exit code 0: report written; 2: wrong usage."""
    from fracture.runs.outputs import Protected, check_folder
    from fracture.spine.cervical.evaluation import measure, read_all, scaling
    from fracture.spine.cervical.metric import write_labels, write_submission
    from fracture.spine.cervical.records import read_necks
    from fracture.spine.cervical.wing import WING
    from fracture.spine.measures import write_report

    check_folder(
        out,
        ("report.json", "report.txt", "submission.csv", "train.csv"),
        Protected.of([data]),
        option="--out",
        own=lambda head: b'"weighted_log_loss"' in head,
    )
    necks = read_necks(data)
    reader: Any = WING.open(WING.store.open(weights), device=device, precision=precision)
    found = measure(necks, judged := read_all(reader, necks), resamples=bootstrap)
    if scale:
        found = replace(found, facts={**found.facts, "scaling": scaling(judged)})
    write_submission(out / "submission.csv", judged.submission)
    write_labels(out / "train.csv", judged.truth)
    for line in write_report(out, found):
        typer.echo(line)


@cervical.command("assemble")
def assemble(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `fracture spine cervical train`, done.")],
    out: Annotated[Path, typer.Option(help="Folder to write: card and networks.")],
    card: Annotated[
        Path | None, typer.Option(help="TOML file with fields of the card: name, version, description, metrics, ...")
    ] = None,
) -> None:
    """Make a folder of weights with a card out of a run. Exit code 0: written; 2: it cannot be."""
    from fracture.schema import read_toml
    from fracture.spine.cervical.reader import CervicalReader

    made = CervicalReader.assemble(run, out, {} if card is None else read_toml(card))
    typer.echo(f"{made.label}: {out}")


cervical.command("verify")(verify)
