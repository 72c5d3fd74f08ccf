"""``fracture input-check``: measure where real films lie, so that weights can recognize other pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fracture.data.cli import FormatOption, ReaderOption, read_set, tell_failures

if TYPE_CHECKING:
    from fracture.data.records import AnnotatedSet
    from fracture.models.devices import Precision


def input_check(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Folder of weights; its card is rewritten.")],
    data: Annotated[Path, typer.Option(help="The annotated set (folder or file).")],
    split: Annotated[Path, typer.Option(help="The split file that the members were trained by.")],
    seen: Annotated[list[str] | None, typer.Option(help="Part for the distribution; may be repeated.")] = None,
    unseen: Annotated[list[str] | None, typer.Option(help="Part for the limit; may be repeated.")] = None,
    films: Annotated[int, typer.Option(min=0, help="At most this many films of each part, evenly spaced; 0: all.")] = 0,
    member: Annotated[
        str | None, typer.Option(help="Member whose features are used; the fast subset's first if left out.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Share of films of the same kind that may raise a warning.")
    ] = 0.01,
    margin: Annotated[float, typer.Option(help="Factor on the limit, for films of other places.")] = 1.5,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
) -> None:
    """Measure features of real films, so that predictions warn of pictures that are not musculoskeletal radiographs.

    The distribution comes from the split's "train", the limit from "tune" and "validation" unless said otherwise.
    Prints the card's new section as JSON on stdout.
    """
    from fracture.data.splits import Split
    from fracture.input_check.fit import make_input_check
    from fracture.runs.progress import progress_bar

    annotated, made = read_set(data, file_format, option), Split.read(split)
    fitted = tuple(seen or ["train"])
    held = tuple(unseen or (name for name in ("tune", "validation") if name in made.parts))
    parts = [_thinned(made.part(annotated, *names), films) for names in (fitted, held)]
    words = ", ".join(
        f"{what} {len(part)} films ({'+'.join(names)})"
        for what, part, names in zip(("distribution:", "limit:"), parts, (fitted, held), strict=True)
    )
    with progress_bar(sum(map(len, parts))) as bar:
        result = make_input_check(
            weights,
            *parts,
            member=member,
            false_alarms=false_alarms,
            margin=margin,
            precision=cast("Precision", precision),
            device=device,
            description=f"{words} of {made.name}, split {made.checksum[:12]} ({made.method})",
            progress=bar.update,
        )
    typer.echo(result.section.model_dump_json(indent=2))
    tell_failures(result.failures, "the check")


def _thinned(annotated: AnnotatedSet, most: int) -> AnnotatedSet:
    if most == 0 or len(annotated) <= most:
        return annotated
    return annotated.subset(annotated[k * len(annotated) // most].source for k in range(most))
