"""Commands about annotated sets; ``fracture.cli`` registers them.

Exit codes: 0 all is well; 1 ``verify-data`` found errors (with ``--strict`` also warnings); 2 the request could not be
carried out (unreadable annotations, wrong options), raised as an exception that the command line turns into 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracture.atomic import write_text

if TYPE_CHECKING:
    from fracture.data.records import AnnotatedSet

__all__ = ["augment_sheet", "cohort", "pack_data", "sample_test", "split_data", "verify_data"]

_Data = Annotated[Path, typer.Argument(metavar="DATA", help="Annotation file, or the folder of the set.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="coco, fracatlas, grazpedwri, yolo, csv, via, folders or auto.")
]
ReaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="KEY=VALUE", help="Option of the reader, as region=wrist; see docs/training.md."
    ),
]
_Split = Annotated[Path | None, typer.Option("--split", help="Split file made by `fracture split-data`.")]
_Seed = Annotated[int, typer.Option(min=0, help="Equal seeds give equal results.")]


def verify_data(
    data: _Data,
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    split: _Split = None,
    published: Annotated[bool, typer.Option("--published", help="Check the split the set was published with.")] = False,
    files: Annotated[bool, typer.Option(help="Read every film, not only the annotations.")] = True,
    near: Annotated[bool, typer.Option(help="Search for near duplicates.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole report there.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Findings shown per kind.")] = 10,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
) -> None:
    """Check an annotated set, and its split, and list all faults at once.

    Exit code 0: no errors; 1: errors (with --strict also warnings); 2: the annotations cannot be read.
    """
    from fracture.data.splits import Split, published_split
    from fracture.data.verify import verify_set
    from fracture.runs.progress import progress_bar

    if json_file is not None:
        _check(json_file, data, lambda head: b'"checked"' in head)
    annotated = read_set(data, file_format, option)
    divided = Split.read(split) if split else published_split(annotated) if published else None
    with progress_bar(len(annotated)) as bar:

        def advance(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        report = verify_set(annotated, divided, files=files, near=near, progress=advance)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(json_file, report.to_json() + "\n")
    typer.echo(report.to_text(limit=limit))
    if report.exit_code or (strict and report.warnings):
        raise typer.Exit(1)


def split_data(
    data: _Data,
    output: Annotated[Path, typer.Argument(metavar="SPLIT.json", help="The split file to write.")],
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    folds: Annotated[int, typer.Option(min=0, help="Folds of equal size instead of 80/10/10.")] = 0,
    seed: _Seed = 0,
) -> None:
    """Divide a set by group, stratified over region x label: 80/10/10, or k folds."""
    from fracture.data.splits import split_folds, split_parts

    _check(output, data, lambda head: b'"format": "fracture-split' in head)
    annotated = read_set(data, file_format, option)
    divided = split_folds(annotated, folds, seed=seed) if folds else split_parts(annotated, seed=seed)
    divided.write(output)
    for part, counts in divided.counts.items():
        strata = ", ".join(f"{name} {count}" for name, count in counts.items())
        typer.echo(f"{part}: {strata}")
    typer.echo(f"sha256 {divided.checksum}")


def pack_data(
    data: _Data,
    output: Annotated[Path, typer.Argument(metavar="FILMS.zip", help="The file to write.")],
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    long_side: Annotated[int, typer.Option(min=16, help="Longest side of a film in pixels.")] = 720,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG.")] = 85,
) -> None:
    """Pack a set into one small file, films as gray JPEG, for training on another machine.

    Exit code 0: done; 1: done, but some films could not be read and are not in it; 2: it cannot be done.
    """
    from fracture.data.pack import pack
    from fracture.runs.progress import progress_bar

    _check(output, data, lambda head: head.startswith(b"PK"))
    annotated = read_set(data, file_format, option)
    with progress_bar(len(annotated)) as bar:
        packed = pack(annotated, output, long_side=long_side, quality=quality, progress=bar.update)
    for source, reason in packed.failures:
        typer.echo(f"fracture: left out: {source}: {reason}", err=True)
    typer.echo(f"{packed.films} films, {packed.size / 1e6:.1f} MB; there: python -m zipfile -e {output.name} FOLDER")
    if packed.failures:
        raise typer.Exit(1)


def cohort(data: _Data, file_format: FormatOption = "auto", option: ReaderOption = None, split: _Split = None) -> None:
    """Print who is in a set: the table of Jones et al. 2020 (Table 1), in Markdown."""
    from fracture.data.cohort import cohort_table
    from fracture.data.splits import Split

    annotated = read_set(data, file_format, option)
    typer.echo(cohort_table(annotated, Split.read(split) if split else None).to_markdown())


def sample_test(
    data: _Data,
    output: Annotated[Path, typer.Argument(metavar="FILMS.txt", help="The list of films to write, one per line.")],
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    per_region: Annotated[int, typer.Option(min=1, help="Films per region.")] = 1000,
    fractures: Annotated[int, typer.Option(min=0, help="Minimum number of fractured films per region.")] = 100,
    seed: _Seed = 0,
) -> None:
    """Sample a test set as the paper did: a target per region, enriched with fractures, random within label."""
    from fracture.data.cohort import sample_test_set

    annotated = read_set(data, file_format, option)
    films = {film.source.encode("utf-8", "backslashreplace") for film in annotated}
    _check(output, data, lambda head: head.partition(b"\n")[0] in films)
    sample = sample_test_set(annotated, per_region=per_region, fractures_per_region=fractures, seed=seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, "".join(f"{film.source}\n" for film in sample.films))
    for region, row in sample.regions.items():
        typer.echo(f"{region}: {row['films']} films, {row['fractured']} fractured")
    for line in sample.shortfalls:
        typer.echo(f"short: {line}", err=True)


def augment_sheet(
    data: _Data,
    output: Annotated[Path, typer.Argument(metavar="SHEET.png", help="The picture to write.")],
    file_format: FormatOption = "auto",
    option: ReaderOption = None,
    films: Annotated[int, typer.Option(min=1, help="Fractured films shown, evenly spread over the set.")] = 6,
    copies: Annotated[int, typer.Option(min=1, help="Augmented versions of each.")] = 5,
    size: Annotated[int, typer.Option(min=32, help="Longer side of the network's input.")] = 480,
    seed: _Seed = 0,
) -> None:
    """Write a sheet of augmented films with their boxes, to look at."""
    from fracture.data.augment import augmented_sheet
    from fracture.io.marks import is_own_picture
    from fracture.io.reading import read
    from fracture.preprocess import PreprocessSpec, letterbox

    _check(output, data, is_own_picture)
    annotated = read_set(data, file_format, option)
    shown = [film for film in annotated if film.boxes] or list(annotated)
    shown = [shown[i * len(shown) // films] for i in range(min(films, len(shown)))]
    spec = PreprocessSpec(size=-(-size // 32) * 32, shape="stride", enlarge=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    augmented_sheet(
        ((film, letterbox(read(annotated.image_path(film)), spec)) for film in shown),
        output,
        seed=seed,
        copies=copies,
    )
    typer.echo(f"fracture: {len(shown)} films in {output}", err=True)


def _check(output: Path, data: Path, own: Callable[[bytes], bool]) -> None:
    from fracture.runs.outputs import Protected, check_output

    check_output(output, Protected.of([data]), option=f"writing {output.name}", own=own)


def tell_failures(failures: Sequence[Any], what: str) -> None:
    """Name the films that failed, and leave with exit code 1 where there are any; they ``have no part in`` what?"""
    for failure in failures:
        typer.echo(f"fracture: {failure.source}: {failure.error}", err=True)
    if failures:
        typer.echo(f"{len(failures)} films could not be read and have no part in {what}", err=True)
        raise typer.Exit(1)


def read_set(data: Path, file_format: str, options: list[str] | None) -> AnnotatedSet:
    """The set of a command line's DATA, ``--format`` and ``-o``."""
    from fracture.data.readers import options_of, read_annotations

    return read_annotations(data, file_format, **options_of(options))
