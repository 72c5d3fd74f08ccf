"""``fracture spine lumbar``: predict, simulate, train, evaluate, assemble, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fracture.cli import options as opt
from fracture.cli.reading import Reading, predict_series, reads_films
from fracture.cli.verify import verify
from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.models.devices import Precision
    from fracture.spine.lumbar.finding import Discs

spine = typer.Typer(
    name="spine", help="Series of the spine. Research use only.", no_args_is_help=True, rich_markup_mode=None
)
lumbar = typer.Typer(
    name="lumbar",
    help="Find and name the discs of the lumbar spine on MR, and grade its narrowings. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
spine.add_typer(lumbar)


@lumbar.command("predict")
@reads_films("lumbar", series=True)
def predict(reading: Reading) -> None:
    """Find and name discs, and grade their levels: one JSON line for each path, in order; a path may be a picture.

    Exit code 0: all paths were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot be
    written.
    """
    from fracture.spine.lumbar.wing import WING

    predict_series(reading, WING)


@lumbar.command("simulate")
def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; created if missing.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many studies.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal studies.")] = 0,
) -> None:
    """Write studies with known grades in the files of RSNA 2024: three DICOM series each, and the tables.

    Pictures with marked discs are written by `fracture simulate --kind lumbar`.
    """
    from fracture.runs.progress import progress_bar
    from fracture.spine.lumbar.studies import write_studies

    with progress_bar(n) as bar:
        write_studies(directory, n, seed=seed, progress=lambda done, _: bar.update(done - bar.n))
    typer.echo(f"fracture: {n} studies and train.csv in {directory}", err=True)


@lumbar.command("train")
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or a shipped recipe: pretrain, small, grades.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is resumed.")],
    data: Annotated[Path, typer.Option(help="Pictures with marked discs, or studies with grades (train.csv).")],
    train_only: Annotated[Path | None, typer.Option(help="Further pictures, used for training only.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    init: Annotated[str | None, typer.Option(help="Starting point: pretrained, or a safetensors file.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, as loop.epochs=3; may be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train the finder of discs or, if --data holds studies, the grader.

    Exit code 0: done; 143: stopped by a signal, saved; the same command resumes.
    """
    from fracture.spine.lumbar.grade_training import GradeConfig, train_grades
    from fracture.spine.lumbar.records import read_discs
    from fracture.spine.lumbar.studies import read_studies
    from fracture.spine.lumbar.training import LumbarConfig, train as run
    from fracture.training.cli import changes_of, stopped
    from fracture.training.driver import Interrupted

    stage = "grades" if (data / "train.csv").is_file() else "discs"
    changes = changes_of((stage,), [init] if init else [], set_ or [], None)[stage]
    try:
        if stage == "grades":
            if train_only is not None:
                raise ConfigurationError("--train-only goes with pictures of discs", got=train_only)
            config = GradeConfig.load(recipe).replace(changes)
            train_grades(config, read_studies(data), out=out, device=device, progress=not quiet)
        else:
            more = None if train_only is None else read_discs(train_only)
            discs = LumbarConfig.load(recipe).replace(changes)
            run(discs, read_discs(data), out=out, train_only=more, device=device, progress=not quiet)
    except Interrupted:
        stopped()
    typer.echo(f"{stage}: {out / stage}.safetensors")


@lumbar.command("evaluate")
def evaluate(
    data: Annotated[Path, typer.Argument(help="Pictures with marked discs, or studies with grades (train.csv).")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.txt.")],
    found: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of weights: found.jsonl of a training's held-out pictures; of studies, a submission; "
            "may be repeated."
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Name of shipped weights, or a folder with a card.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Bootstrap iterations.")] = 1000,
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
) -> None:
    """Measure how well discs are found and named on marked pictures, by source group, or how well studies are graded.

    For studies, submission.csv has every row; a row without a prediction gets three thirds.

    Exit code 0: report written; 2: wrong usage or unusable files.
    """
    from fracture.runs.outputs import Protected, check_folder
    from fracture.spine.lumbar.evaluation import measure, read_found
    from fracture.spine.lumbar.records import read_discs
    from fracture.spine.measures import write_report

    inputs = Protected.of([data, *(found or [])])
    check_folder(
        out,
        ("report.json", "report.txt"),
        inputs,
        option="--out",
        own=lambda head: b'"ap_complete"' in head or b'"studies"' in head,
    )
    if found and weights:
        raise ConfigurationError("--found takes the place of weights", got=weights)
    if (data / "train.csv").is_file():
        _graded(data, out, found, weights, bootstrap, device, precision)
        return
    annotated = read_discs(data)
    judged = read_found(found, annotated) if found else _judged(annotated, weights, device, precision)
    measures = measure(annotated, judged, resamples=bootstrap)
    for line in write_report(out, measures):
        typer.echo(line)


def _graded(
    data: Path, out: Path, found: list[Path] | None, weights: str | None, bootstrap: int, device: str, precision: str
) -> None:
    from fracture.spine.lumbar.card import STORE
    from fracture.spine.lumbar.evaluation import completed, measure_grades, read_grades
    from fracture.spine.lumbar.metric import read_submission, write_submission
    from fracture.spine.lumbar.reader import LumbarReader
    from fracture.spine.lumbar.studies import read_studies
    from fracture.spine.measures import write_report

    studies = read_studies(data)
    if found:
        predicted = {key: row for path in found for key, row in read_submission(path).items()}
        measures = measure_grades(studies, predicted, resamples=bootstrap)
    else:
        reader = LumbarReader.opened(STORE.open(weights), device=device, precision=cast("Precision", precision))
        predicted, places = read_grades(reader, studies)
        write_submission(out / "submission.csv", completed(studies, predicted))
        measures = measure_grades(studies, predicted, places, resamples=bootstrap)
    for line in write_report(out, measures):
        typer.echo(line)


def _judged(annotated: Any, weights: str | None, device: str, precision: str) -> dict[str, Discs]:
    from fracture.spine.lumbar.card import STORE
    from fracture.spine.lumbar.finding import find_discs
    from fracture.spine.lumbar.reader import LumbarReader
    from fracture.spine.picture import read_picture

    reader = LumbarReader.opened(STORE.open(weights), device=device, precision=cast("Precision", precision))
    return {film.source: find_discs(reader.finder, read_picture(annotated.image_path(film))) for film in annotated}


@lumbar.command("assemble")
def assemble(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `fracture spine lumbar train`, done.")],
    out: Annotated[Path, typer.Option(help="Folder to write: card and network.")],
    card: Annotated[
        Path | None, typer.Option(help="TOML file with fields of the card: name, version, description, metrics, ...")
    ] = None,
) -> None:
    """Make a folder of weights with a card out of a run. Exit code 0: written; 2: it cannot be."""
    from fracture.schema import read_toml
    from fracture.spine.lumbar.reader import LumbarReader

    made = LumbarReader.assemble(run, out, {} if card is None else read_toml(card))
    typer.echo(f"{made.label}: {out}")


lumbar.command("verify")(verify)
