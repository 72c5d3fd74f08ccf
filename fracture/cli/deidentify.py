"""``fracture deidentify``: films in, de-identified copies out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fracture.cli import options as opt
from fracture.cli.streams import printable
from fracture.cli.words import in_options

if TYPE_CHECKING:
    from fracture.deidentification import Rules
    from fracture.deidentification.pixels import PixelBox
    from fracture.runs.inputs import Inputs


def deidentify(
    paths: opt.Paths,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write the copies here, in the films' own folders.")],
    key: Annotated[
        Path, typer.Option(metavar="FILE", help="Key of the pseudonyms; made (mode 0600) if it is not there. Keep it.")
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Make this area black on every film; may be given more than once."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Areas to make black on single films: columns film (path or name), x0, y0, x1, y1; one row per area.",
        ),
    ] = None,
    outside_field: Annotated[
        bool, typer.Option("--outside-field", help="Make everything outside of the exposed field black.")
    ] = False,
    dates: Annotated[
        str, typer.Option(help="remove, or shift: back by the same 1 to 3650 days for a patient.")
    ] = "remove",
    keep_institution: Annotated[
        bool, typer.Option("--keep-institution", help="Keep the institution's name rather than a pseudonym.")
    ] = False,
    rename: Annotated[
        bool, typer.Option("--rename", help="Give folders and files pseudonyms too; otherwise they keep their names.")
    ] = False,
    allow: opt.Allow = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep copies that this very request made before.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace copies that were made before.")] = False,
    dry_run: opt.DryRun = False,
) -> None:
    """Write copies of DICOM films without the patient's identity (docs/deidentify.md says what this does not cover).

    Exit code 0: all films were written; 1: some failed, the others are written; 2: wrong usage.
    """
    from fracture.deidentification import Rules, deidentify as make, read_key
    from fracture.deidentification.film import request_token, save
    from fracture.deidentification.pixels import checked_boxes
    from fracture.errors import ConfigurationError, FractureError, unforeseen
    from fracture.io.files import MAX_BYTES, open_bytes
    from fracture.runs.inputs import collect
    from fracture.runs.kinds import read_head
    from fracture.runs.progress import progress_bar

    start = time.perf_counter()
    if resume and overwrite:
        raise ConfigurationError("--resume keeps the earlier copies, --overwrite replaces them", hint="give one")
    everywhere = checked_boxes([_box(text) for text in box]) if box else ()
    inputs = collect(paths)
    single = _boxes_of(boxes, inputs) if boxes else {}
    if Path(key).resolve().is_relative_to(out.resolve()):
        raise ConfigurationError("--key lies within --out", got=key, hint="keep it apart from what you give away")
    if told := inputs.told():
        _say(told)
    if dry_run:
        for film in inputs.films:
            typer.echo(printable(film))
        _say(f"{len(inputs.films)} films would be read, {len(inputs.left_out)} left out")
        return
    _check_places(_places(out, inputs, None), inputs, key, replace=resume or overwrite)
    rules = Rules(read_key(key), dates, keep_institution)
    places = _places(out, inputs, rules if rename else None)
    _check_places(places, inputs, key, replace=resume or overwrite)
    failed = before = 0
    with progress_bar(len(places)) as bar:
        for done, (film, place) in enumerate(places.items()):
            bar.update(done - bar.n)
            black = (*everywhere, *single.get(film, ())) or None
            try:
                with unforeseen(film, quote=False):
                    if resume and place.is_file():
                        token = request_token(rules, open_bytes(film, MAX_BYTES)[0], black, outside_field)
                        if token.encode() in read_head(os.fspath(place)):
                            before += 1
                            continue
                    copy = make(
                        film,
                        key=rules.key,
                        dates=dates,
                        keep_institution=keep_institution,
                        boxes=black,
                        outside_field=outside_field,
                        allow=allow or (),
                    )
                    save(copy, place)
            except FractureError as error:
                failed += 1
                _say(f"{type(error).__name__}: {in_options(error)}")
    words = f"{len(places)} films, {failed} failed" + f", {before} done before" * resume
    _say(f"{words}, {len(inputs.left_out)} left out, {time.perf_counter() - start:.1f} seconds")
    if not rename:
        _say("folders and files keep their names; --rename hides them")
    if failed:
        raise typer.Exit(1)


def _say(text: str) -> None:
    typer.echo(f"fracture: {printable(text)}", err=True)


def _box(text: str) -> tuple[float, ...]:
    from fracture.errors import ConfigurationError

    try:
        return tuple(float(edge) for edge in text.split(","))
    except ValueError:
        raise ConfigurationError("--box takes four numbers", got=repr(text), hint="--box 0,0,400.5,60") from None


def _boxes_of(path: Path, inputs: Inputs) -> dict[str, tuple[PixelBox, ...]]:
    """The places of each film that the table names. A film that is not there is an error."""
    from fracture.data.files import as_number, load_csv
    from fracture.deidentification.pixels import checked_boxes
    from fracture.errors import DataError

    edges = ("x0", "y0", "x1", "y1")
    found: dict[str, list[PixelBox]] = {}
    for number, row in enumerate(load_csv(path, required=("film", *edges)).rows, 1):
        box = [value for edge in edges if (value := as_number(row.get(edge, ""))) is not None]
        if not row["film"] or len(box) < len(edges):
            raise DataError(f"{path}: row {number} holds no place", got=row, allowed="a film and four numbers")
        found.setdefault(inputs.named(row["film"]), []).extend(checked_boxes([box]))
    return {film: tuple(places) for film, places in found.items()}


def _places(out: Path, inputs: Inputs, rules: Rules | None) -> dict[str, Path]:
    """Where each film's copy goes: the folders mirrored, each name as it is (``.gz`` left out) or a pseudonym."""
    from fracture.runs.outputs import overlay_paths

    places = overlay_paths(out, inputs.films, inputs.root, rename=lambda name: name.removesuffix(".gz"))
    if rules is None:
        return {film: Path(place) for film, place in places.items()}
    parts = {film: Path(place).relative_to(out).parts for film, place in places.items()}
    return {
        film: out.joinpath(*(rules.pseudonym("name", name) for name in names[:-1]))
        / f"{rules.pseudonym('name', names[-1])}.dcm"
        for film, names in parts.items()
    }


def _check_places(places: Mapping[str, Path], inputs: Inputs, key: Path, *, replace: bool) -> None:
    """Nothing but an earlier copy may be replaced, and that only if it is asked for."""
    from fracture.deidentification.film import OWN_CLASS
    from fracture.errors import ConfigurationError
    from fracture.runs.outputs import Protected, check_output

    protected = Protected.of([*inputs.films, *(path for path, _ in inputs.left_out), key])
    for place in places.values():
        head = check_output(place, protected, option="--out", own=lambda head: OWN_CLASS.encode() in head)
        if head and not replace:
            raise ConfigurationError(
                "--out holds copies of an earlier run",
                got=place,
                hint="--resume keeps those that this request made, --overwrite replaces them",
            )
