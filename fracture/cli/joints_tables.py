"""``fracture joints evaluate``, ``change`` and ``simulate``: tables of scores, two visits, painted films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.joints.table import ScoreTable


def evaluate(
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="The reference: a CSV file in the challenge's layout.")],
    predictions: Annotated[list[Path], typer.Argument(metavar="PREDICTION...", help="Tables of the same patients.")],
    out: Annotated[Path | None, typer.Option(help="JSON file with all metrics and intervals.")] = None,
    metric: Annotated[str, typer.Option(help="What algorithms are ranked by.")] = "sc1_wrmse",
    ensemble: Annotated[bool, typer.Option("--ensembles", help="Judge the means of the best, too.")] = False,
    review: Annotated[
        float, typer.Option(help="List joints that differ by this share of their range, for a second reader.")
    ] = 0.4,
    bootstrap: Annotated[int, typer.Option(help="Bootstraps of patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Judge tables of damage scores by the metrics of RA2-DREAM; several are compared by Bayes factors.

    Exit code 0: judged; 2: unusable tables.
    """
    from fracture.atomic import write_json
    from fracture.evaluation.stats.record import plain
    from fracture.evaluation.stats.resampling import Bootstrap
    from fracture.joints.metrics import compare, discordant, ensembles, evaluate_scores
    from fracture.joints.table import read_table
    from fracture.runs.outputs import Protected, check_output

    if out is not None:
        inputs = Protected.of([gold, *predictions])
        check_output(out, inputs, option="--out", own=lambda head: b'"algorithms"' in head)
    reference, draws = read_table(gold), Bootstrap(resamples=bootstrap, seed=seed)
    tables = {name: read_table(path, predicted=True) for name, path in _named(predictions).items()}
    rows = compare(reference, tables, metric=metric, draws=draws)
    content: dict[str, Any] = {"algorithms": {}, "metric": metric, "compared": plain(rows)}
    for row in rows:
        typer.echo(f"{row.name}: {metric} {row.error.text()}, Bayes factor {row.bayes_factor:.3g}, {row.verdict}")
        scores = evaluate_scores(reference, tables[row.name], draws=draws)
        odd = discordant(reference, tables[row.name], least=review)
        content["algorithms"][row.name] = {**scores.to_dict(), "discordant": plain(odd)}
        for name in ("sc1_wmae", "sc2_narrowing_joint_pooled", "sc3_erosion_joint_pooled"):
            typer.echo(f"  {name:28s} {scores.errors[name].text()}")
        for name, rank in scores.spearman.items():
            typer.echo(f"  Spearman {name:19s} {rank.text()}")
        count = len(reference) * reference.values.shape[1]
        typer.echo(f"  {len(odd)} of {count} joints to be read again" + _first(odd))
    if ensemble:
        found = ensembles(reference, tables, metric=metric, draws=draws)
        content["ensembles"] = plain(found)
        for row in found:
            typer.echo(f"{row.name}: {metric} {row.error.text()}, Bayes factor {row.bayes_factor:.3g}, {row.verdict}")
    if out is not None:
        write_json(out, content)
        typer.echo(f"report: {out}", err=True)


def _named(paths: list[Path]) -> dict[str, Path]:
    """Tables by their file's name; by their path where two files have one name."""
    stems = [path.stem for path in paths]
    if len({str(path) for path in paths}) != len(paths):
        raise ConfigurationError("a table is given twice", got=", ".join(map(str, paths)))
    return {stem if stems.count(stem) == 1 else str(path): path for stem, path in zip(stems, paths, strict=True)}


def _first(odd: tuple[Any, ...]) -> str:
    shown = (f"{one.patient} {one.column} ({one.expert:g}, here {one.algorithm:.1f})" for one in odd[:3])
    return ": " + ", ".join(shown) + (" ..." if len(odd) > 3 else "") if odd else ""


def change(
    before: Annotated[Path, typer.Argument(help="First visit: lines of `fracture joints predict --json`, or a table.")],
    after: Annotated[Path, typer.Argument(help="Second visit, in the same form.")],
    narrowing: Annotated[float, typer.Option(help="What an unchanged joint's narrowing differs by in 95 of 100.")],
    erosion: Annotated[float, typer.Option(help="What an unchanged joint's erosion differs by, on the 0 to 5 scale.")],
    patient: Annotated[str | None, typer.Option(help="Whose row to take from tables with several patients.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file with every joint.")] = None,
) -> None:
    """Say which joints progressed between two visits by more than repeated readings differ (limits: see the card).

    Exit code 0: compared; 2: unusable files.
    """
    from fracture.atomic import write_json
    from fracture.joints.reports import change as compared
    from fracture.runs.outputs import Protected, check_output

    if out is not None:
        check_output(out, Protected.of([before, after]), option="--out", own=lambda head: b'"joints"' in head)
    visits = [_visit(path, patient) for path in (before, after)]
    found = compared(visits[0], visits[1], {"narrowing": narrowing, "erosion": erosion})
    for line in found.lines():
        typer.echo(line)
    if out is not None:
        write_json(out, found.to_dict())


def _visit(path: Path, patient: str | None) -> dict[str, float]:
    """Column to score, out of a table's row or of the lines of a run."""
    from fracture.data.files import load_json_lines
    from fracture.joints.table import JOINTS, read_table

    if path.suffix.lower() == ".csv":
        table: ScoreTable = read_table(path, predicted=True)
        if patient is None and len(table) != 1:
            raise ConfigurationError(f"{path} holds {len(table)} patients", hint="choose one by --patient")
        if patient is not None and patient not in table.patients:
            raise ConfigurationError(f"{path} does not hold this patient", got=patient, allowed=table.patients)
        row = 0 if patient is None else table.patients.index(patient)
        return dict(zip(JOINTS, table.values[row].tolist(), strict=True))
    found: dict[str, float] = {}
    for _, line in load_json_lines(path):
        for limb in line.get("limbs") or ():
            given = {name: float(value) for name, value in (limb.get("columns") or {}).items() if value is not None}
            if twice := sorted(set(given) & set(found)):
                raise ConfigurationError(
                    f"{path}: two films fill the same columns", got=", ".join(twice[:4]), hint="one visit, one file"
                )
            found |= given
    if not found:
        raise ConfigurationError(f"{path} holds no scored joint of a known side", hint="predict with --side")
    return found


def simulate(
    data: Annotated[Path, typer.Argument(help="COCO keypoints of hands and forefeet, whose films are painted into.")],
    out: Annotated[Path, typer.Option(help="Folder to write; created if missing.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the films; by default that of the file.")] = None,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, help="Films to write; the films of DATA are used in turn.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds paint equally.")] = 0,
) -> None:
    """Paint damage of known grades into annotated films; without films see `fracture simulate --kind joints`.

    Exit code 0: written; 2: unusable films.
    """
    from fracture.joints.painted import write_painted
    from fracture.joints.records import read_landmarks
    from fracture.runs.progress import progress_bar

    with progress_bar(number) as bar:
        made = write_painted(read_landmarks(data, images), out, number, seed=seed, progress=lambda *_: bar.update())
    typer.echo(f"fracture: {made.films} films and annotations.json in {out}", err=True)
    typer.echo(json.dumps({"films": made.films, "limbs": made.boxes}))
