"""``fracture evaluate`` and ``mine``: plain functions with typer annotations, registered by ``fracture.cli``.

Exit codes of ``evaluate``: 0 the report was written; 1 it was written, but films that the detector could not read are
not in it; 2 wrong usage or files that cannot be used (nothing was written). The headline goes to stdout, all else to
stderr.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fracture.data.cli import FormatOption, ReaderOption

if TYPE_CHECKING:
    from fracture.evaluation.opponents import Opponent
    from fracture.evaluation.report import EvaluationReport


class HitRule(StrEnum):
    """Hit criteria by their names on the command line."""

    IOU = "iou"
    CENTER = "center"
    OVERLAP = "overlap"
    IOU_OR_CENTER = "iou_or_center"


class FilmsCounted(StrEnum):
    """Films that false positives are counted on."""

    ALL = "all"
    NORMAL = "normal"


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(help="Predictions: JSON lines of fracture predict, COCO results, or CSV.", show_default=False),
    ],
    reference: Annotated[
        Path, typer.Argument(help="Reference: an annotated set, as for training.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.", show_default=False)],
    images: Annotated[Path | None, typer.Option(help="Folder of the films, for pictures of the worst ones.")] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Field of the reference to resample by (patient, study, group); 'none' for no grouping."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Call films fractured at score >= this, instead of the predictions' own calls.")
    ] = None,
    hit: Annotated[HitRule, typer.Option(help="When a box counts as a hit in FROC and tables.")] = HitRule.IOU,
    hit_threshold: Annotated[float, typer.Option(help="IoU or share covered for a hit.")] = 0.3,
    froc_films: Annotated[
        FilmsCounted, typer.Option(help="Films that false positives are counted on.")
    ] = FilmsCounted.ALL,
    compare: Annotated[Path | None, typer.Option(help="Predictions of a second model on the same films.")] = None,
    readers: Annotated[
        Path | None, typer.Option(help="CSV of readers' calls: reader, file_name, fractured[, training].")
    ] = None,
    margin: Annotated[float, typer.Option(help="Non-inferiority margin of the kappa difference.")] = 0.103,
    bootstrap: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    worst: Annotated[int, typer.Option(help="How many of the worst misses and false alarms to show.")] = 8,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Judge only the films that have a prediction.")
    ] = False,
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Ignore predictions of films that the reference lacks.")
    ] = False,
    any_score: Annotated[
        bool, typer.Option("--any-score", help="Accept scores outside [0, 1], such as logits.")
    ] = False,
) -> None:
    """Judge predictions against a reference: report.json, plots, and report.html for a clinician.

    Exit codes: 0 report written; 1 report written, but some films could not be read by the detector;
    2 wrong usage or unusable files.
    """
    from fracture.data.readers import options_of
    from fracture.errors import FractureError, UnreadableFileError
    from fracture.evaluation.files.predictions import read_predictions
    from fracture.evaluation.files.references import read_reference
    from fracture.evaluation.findings import Settings
    from fracture.evaluation.matching import Criterion
    from fracture.evaluation.opponents import compare_models, compare_readers, read_readings
    from fracture.evaluation.report import evaluate as evaluate_cases
    from fracture.evaluation.stats.resampling import Bootstrap
    from fracture.evaluation.tables import join
    from fracture.runs.outputs import Protected, check_folder

    try:
        check_folder(
            out,
            ("report.json", "fractures.csv", "methods.md", "report.html"),
            Protected.of(path for path in (predictions, reference, compare, readers) if path is not None),
            option="--out",
            own=lambda head: b'"format": "fracture-evaluation' in head,
        )
        settings = Settings(
            resamples=bootstrap,
            seed=seed,
            level=level,
            criterion=Criterion(hit.value, hit_threshold),
            froc_films=froc_films.value,
            worst=worst,
        )
        if images is not None and not images.is_dir():
            hint = "--images takes the folder of the films"
            raise UnreadableFileError(f"{images}: there is no such folder", hint=hint)
        truth = read_reference(reference, groups=groups, format=file_format, **options_of(option))
        joined = [
            join(
                read_predictions(path, reference=truth, any_score=any_score),
                truth,
                threshold=threshold,
                allow_missing=allow_missing,
                allow_extra=allow_extra,
            )
            for path in (predictions, compare)
            if path is not None
        ]
        opponents: list[Opponent] = []
        if compare is not None:
            name = ", ".join(joined[1].models) or compare.name
            draws = settings.bootstrap(None)
            opponents.append(compare_models(*joined, name=name, bootstrap=draws, margin=margin))
        if readers is not None:
            draws = Bootstrap(2000, seed, level)
            opponents += compare_readers(joined[0], read_readings(readers), bootstrap=draws, margin=margin)
        report = evaluate_cases(joined[0], settings, opponents=tuple(opponents))
        page = report.save(out, images=images)
    except (FractureError, OSError) as error:
        typer.echo(f"fracture evaluate: {error}", err=True)
        raise typer.Exit(2) from error
    for line in _headline(report):
        typer.echo(line)
    typer.echo(f"report: {page}", err=True)
    failed = len(report.cases.failures)
    if failed:
        typer.echo(f"{failed} films could not be read by the detector and are not in the report's numbers", err=True)
        raise typer.Exit(1)


def mine(
    predictions: Annotated[
        Path,
        typer.Argument(help="Out-of-fold predictions, as fracture calibrate --out writes them.", show_default=False),
    ],
    data: Annotated[Path, typer.Argument(help="The annotated set that is trained on.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="CSV to write, for --set data.draws=CSV.", show_default=False)],
    doubtful: Annotated[
        float, typer.Option(min=0, max=1, help="Share of normal films, scores highest, never to be drawn.")
    ] = 0.01,
    hard: Annotated[
        float, typer.Option(min=0, max=1, help="Share of normal films, the next ones, drawn often.")
    ] = 0.15,
    times: Annotated[int, typer.Option(min=1, max=100, help="How often a hard film is drawn.")] = 3,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Find hard normal films, and normal films whose label is doubted, by networks that never saw them.

    Films without a prediction are drawn once. Exit code 0: written; 2: nothing was.
    """
    from fracture.data.draws import MiningSpec, mine_draws, write_draws
    from fracture.data.readers import options_of
    from fracture.evaluation.files.predictions import read_predictions
    from fracture.evaluation.files.references import read_reference
    from fracture.evaluation.tables import join
    from fracture.runs.outputs import Protected, check_output

    check_output(
        out, Protected.of([predictions, data]), option="--out", own=lambda head: head.startswith(b"source,draws")
    )
    reference = read_reference(data, format=file_format, **options_of(option))
    cases = join(read_predictions(predictions, reference=reference), reference, allow_missing=True)
    draws = mine_draws(cases.labels, cases.scores, MiningSpec(doubtful, hard, times))
    write_draws(out, cases.names, draws)
    for name in (name for name, count in zip(cases.names, draws, strict=True) if count == 0):
        typer.echo(f"doubtful: {name}")
    typer.echo(f"{int((draws == 0).sum())} normal films never, {int((draws > 1).sum())} drawn {times} times", err=True)


def _headline(report: EvaluationReport) -> list[str]:
    rows = [("", "films", "fractured", "AUC", "sensitivity %", "specificity %", "PPV %", "NPV %")]
    for row in report.headline:
        if row.result is not None:
            result = row.result
            shown = [result["auc"].text()]
            shown += [result[name].text(percent=True) for name in ("sensitivity", "specificity", "ppv", "npv")]
            rows.append((row.name, str(result.films), str(result.fractured), *shown))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(8)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
