"""``fracture hip``: predict, train, evaluate, assemble, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.cli import options as opt
from fracture.cli.reading import Reading, reads_films
from fracture.cli.verify import verify
from fracture.cli.words import in_options
from fracture.data.cli import FormatOption, ReaderOption
from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.cli.run import Task
    from fracture.data.records import AnnotatedSet
    from fracture.models.devices import Precision

hip = typer.Typer(
    name="hip",
    help="Find hips, then read them in six classes (Krogue et al. 2020). Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@hip.command("predict")
@reads_films("hips")
def predict(
    reading: Reading,
    heatmap: Annotated[bool, typer.Option("--heatmap", help="Show the label's heatmap on the overlays.")] = False,
) -> None:
    """Find and read hips: one JSON line per input, in input order, with a list of hips (empty where there is none).

    Exit code 0: all inputs were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot
    be written.
    """
    if heatmap and reading.outputs.overlay is None:
        raise ConfigurationError("--heatmap is shown on overlays", hint="give --overlay DIR too")

    def task() -> Task:
        from fracture.hip.pipeline import load

        reader = load(reading.weights, device=reading.device, precision=reading.precision, engine=reading.engine)
        return reading.task(
            "hip predict",
            reader.card,
            reader.predict_many,
            {},
            recorded={"heatmap": heatmap},
            failed=("source", "width", "height", "hips", "model", "seconds", "error"),
            shown={"show_heatmap": heatmap},
        )

    reading.run(task)


@hip.command("train")
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe: krogue2020, small.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is resumed.")],
    data: Annotated[list[str], typer.Option(help="Annotated hips, divided into parts; may be repeated.")],
    train_only: Annotated[
        list[str] | None, typer.Option(help="Annotated hips used for training only; may be repeated.")
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="Train only this stage: localizer or classifier; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    init: Annotated[
        list[str] | None,
        typer.Option(help="Starting point: pretrained, random or a safetensors file; STAGE=FILE for one stage."),
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Folder for prepared films.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as loop.epochs=3, or STAGE:loop.epochs=3; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Train localizer and classifier. Exit code 0: done; 143: stopped by a signal, saved; the same command resumes."""
    from fracture.hip.training import train as run
    from fracture.hip.training_config import STAGES, load_hip_recipe
    from fracture.training.cli import changes_of, stopped

    changes = changes_of(STAGES, init or (), set_ or (), cache)
    loaded = load_hip_recipe(recipe).replace(changes)
    result = run(
        loaded,
        [_hips(path, file_format, option) for path in data],
        out=out,
        train_only=[_hips(path, file_format, option) for path in train_only or ()],
        stages=tuple(stage or STAGES),
        device=device,
        progress=not quiet,
    )
    for name in result.stages:
        facts = json.loads((result.folder / f"{name}.json").read_text(encoding="utf-8"))["training"]
        typer.echo(f"{name}: {result.folder / name}.safetensors {json.dumps(facts['results'])}")
    if result.weights is not None:
        typer.echo(f"weights: {result.weights}")
    if not result.finished:
        stopped()


@hip.command("evaluate")
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    data: Annotated[list[str] | None, typer.Argument(metavar="[DATA]...", help="Folders of annotated hips.")] = None,
    weights: Annotated[str | None, typer.Option(help="Name of shipped hip networks, or a folder with a card.")] = None,
    split: Annotated[Path | None, typer.Option(help="A split file: judge only one part of the films.")] = None,
    part: Annotated[str, typer.Option(help="The part of the split that is judged.")] = "validation",
    cases: Annotated[
        list[Path] | None,
        typer.Option(help="cases.jsonl of earlier evaluations, to pool instead of judging films; may be repeated."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold of the probability of a fracture; default: the card's.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Bootstrap iterations.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    simulated_readers: Annotated[
        bool, typer.Option("--simulated-readers", help="Add the reader-study table, on invented readers.")
    ] = False,
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Judge both stages on annotated hips: report.json, report.txt, figures, and every judged hip.

    Exit code 0: report written; 1: written, but some films could not be read; 2: wrong usage or unusable files.
    """
    from fracture.hip.evaluation import evaluate_hips, simulated_study
    from fracture.hip.report import headline, save, study_lines
    from fracture.runs.outputs import Protected, check_folder

    check_folder(
        out,
        ("report.json", "report.txt", "cases.jsonl"),
        Protected.of(path for path in (*(cases or ()), *(data or ()), split) if path is not None),
        option="--out",
        own=lambda head: b'"localization"' in head,
    )
    failed = 0
    limit = threshold
    if cases:
        if data or split is not None:
            raise ConfigurationError("--cases takes the place of films", got=", ".join(data or ["--split"]))
        from fracture.hip.cases import read_cases

        judged, extra = read_cases(cases)
    else:
        from fracture.hip.examine import examine
        from fracture.hip.pipeline import load

        films = _films([_hips(path, file_format, option) for path in data or ()], split, part)
        reader = load(weights, device=device, precision=cast("Precision", precision))
        limit = reader.card.fracture.threshold if threshold is None else threshold
        from fracture.runs.progress import progress_bar

        with progress_bar(len(films)) as bar:
            hips, boxes, failures = examine(reader, films, progress=bar.update)
        judged, extra, failed = tuple(hips), tuple(boxes), len(failures)
        for failure in failures:
            typer.echo(f"fracture: {failure.source}: {in_options(failure.error)}", err=True)
    result = evaluate_hips(
        judged, extra, threshold=0.5 if limit is None else limit, resamples=bootstrap, seed=seed, level=level
    )
    study = simulated_study(judged, resamples=bootstrap, seed=seed, level=level) if simulated_readers else ()
    path = save(out, result, judged, extra, study)
    for line in [*headline(result), *study_lines(study)]:
        typer.echo(line)
    typer.echo(f"report: {path}", err=True)
    if failed:
        typer.echo(f"{failed} films could not be read and are not in the report's numbers", err=True)
        raise typer.Exit(1)


@hip.command("assemble")
def assemble(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `fracture hip train`, both stages done.")],
    out: Annotated[Path, typer.Option(help="Folder to write: card and both networks.")],
    card: Annotated[
        Path | None,
        typer.Option(help="TOML file with fields of the card: name, version, description, thresholds, metrics, ..."),
    ] = None,
) -> None:
    """Make a folder of hip networks with a card out of a run. Exit code 0: written; 2: it cannot be."""
    from fracture.hip.pipeline import HipReader
    from fracture.schema import read_toml

    made = HipReader.assemble(run, out, {} if card is None else read_toml(card))
    typer.echo(f"{made.label}: {out}")


hip.command("verify")(verify)


def _hips(path: str, file_format: str, option: list[str] | None) -> AnnotatedSet:
    from fracture.data.readers import options_of
    from fracture.hip.records import read_hips

    return read_hips(path, file_format, **options_of(option))


def _films(data: list[AnnotatedSet], split: Path | None, part: str) -> AnnotatedSet:
    from fracture.data.merged import merge_sets, part_of_split
    from fracture.data.splits import Split

    if not data:
        raise ConfigurationError("no annotated hips", hint="give folders with annotations.json, or --cases")
    films = merge_sets(data)
    return films if split is None else part_of_split(films, Split.read(split), part)
