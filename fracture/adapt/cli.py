"""``fracture adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.data.cli import FormatOption, ReaderOption, read_set, tell_failures

if TYPE_CHECKING:
    from fracture.models.devices import Precision


def adapt(
    data: Annotated[Path, typer.Option(help="Films of your site with their labels (folder or file).")],
    out: Annotated[Path, typer.Option(help="Folder of the new weights.")],
    weights: Annotated[
        str | None, typer.Argument(metavar="[WEIGHTS]", help="The old weights; the default ones if left out.")
    ] = None,
    flag: Annotated[
        float | None,
        typer.Option(help="With normal films only: the share of them that may be flagged, as 0.2."),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="Share of fractured films among those you will read, if it differs from the share in --data."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the new weights; the folder's name if left out.")] = "",
    version: Annotated[str, typer.Option(help="Their version.")] = "1",
    seed: Annotated[int, typer.Option(help="Seed of the parts and the intervals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Fit thresholds and probabilities to your own hospital, from 50 films or so; reports the gain and the guarantee.

    Exit code 0: done; 1: done, but some films could not be read and have no part in it; 2: it cannot be done.
    """
    from fracture.adapt.run import adapt as run
    from fracture.runs.progress import progress_bar

    annotated = read_set(data, file_format, option)
    with progress_bar(len(annotated)) as bar:
        adapted = run(
            weights,
            annotated,
            out=out,
            name=name,
            version=version,
            flag=flag,
            prevalence=prevalence,
            seed=seed,
            device=device,
            precision=cast("Precision", precision),
            progress=bar.update,
        )
    typer.echo(adapted.text)
    typer.echo(f"fracture: {adapted.card.label} in {adapted.folder}; use it by --weights {adapted.folder}", err=True)
    tell_failures(adapted.failures, "it")


def adapt_studies(
    results: Annotated[Path, typer.Argument(metavar="RESULTS.jsonl", help="Of `fracture predict --by-study`.")],
    data: Annotated[Path, typer.Option(help="The films with their labels (folder or file).")],
    out: Annotated[Path, typer.Option(help="The rule's file, NAME.json; a rule that is there is replaced.")],
    target: Annotated[float, typer.Option(help="Share of fractured studies that is to be called so.")] = 0.925,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Learn from studies of your own how their films are fused; for `fracture predict --by-study --study-rule FILE`."""
    from fracture.adapt.studies import adapt_studies as run
    from fracture.errors import ConfigurationError
    from fracture.runs.outputs import Protected, check_output

    if out.suffix != ".json":
        raise ConfigurationError("--out is a file NAME.json", got=str(out))
    check_output(out, Protected.of([results, data]), option="--out", own=lambda head: b'"sharpness"' in head)
    rule = run(results, read_set(data, file_format, option), target=target)
    rule.write(out)
    kind = "the most suspicious film counts more" if rule.sharpness > 0 else "films that are not suspicious count more"
    typer.echo(
        f"fracture: {rule.studies} studies, {rule.fractured} fractured: sharpness {rule.sharpness:.1f} "
        f"({kind if rule.sharpness else 'the mean'}); use it by --study-rule {out}",
        err=True,
    )
