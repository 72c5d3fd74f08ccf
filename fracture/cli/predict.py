"""``fracture predict``: files in, JSON lines out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from fracture.cli.inputs import expand
from fracture.errors import ConfigurationError, FractureError

if TYPE_CHECKING:
    from fracture.ensemble import Precision
    from fracture.prediction import Failure, Prediction

__all__ = ["leave_stdout", "predict"]


def predict(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, or patterns in quotes.")],
    region: Annotated[
        list[str] | None, typer.Option(help="Anatomical region shown, for all films; may be given more than once.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Name of shipped weights, or a folder with a card.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT.jsonl", help="Write JSON lines here instead of stdout.")
    ] = None,
    overlay: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a PNG with boxes for each film.")] = None,
    candidates: Annotated[bool, typer.Option("--candidates", help="Add every box of the map, however weak.")] = False,
    operating_point: Annotated[
        str, typer.Option(help="high_sensitivity or high_specificity: what decides 'fractured'.")
    ] = "high_sensitivity",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    fast: Annotated[
        bool, typer.Option("--fast", help="Run only the members that the card names for this; it says what that loses.")
    ] = False,
    window: Annotated[
        str, typer.Option(help="DICOM window: auto, raw, percentile, or the number of one of the file's windows.")
    ] = "auto",
    frame: Annotated[int | None, typer.Option(help="Frame of multi-frame files, from 0.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Also accept this modality (CT, MR, ...); '*' accepts all.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Films looked at together.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read ahead.")] = 2,
) -> None:
    """Find fractures on radiographs: one JSON line per input, in input order.

    Exit code 0: all inputs were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot
    be written.
    """
    files = expand(paths)
    # Everything that can be wrong with the request is found out before the first film is read.
    folder = _made(overlay) if overlay is not None else None
    from fracture.detector import load

    detector = load(weights, device=device, precision=cast("Precision", precision), fast=fast)
    results = detector.predict_many(
        files,
        region=region or None,
        operating_point=operating_point,
        candidates=candidates,
        batch_size=batch_size,
        workers=workers,
        keep=folder is not None,
        window=int(window) if window.isdecimal() else window,
        frame=frame,
        allow=tuple(allow or ()),
    )
    failed = unwritten = 0
    names = _OverlayNames()
    with _output(json_file) as out:
        for result in _with_progress(results, len(files)):
            # One line at a time and flushed, and before anything else is tried: what was computed is not lost if the
            # overlay, a later film, or the user stops the run.
            _write_line(out, json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False))
            if not result.ok:
                failed += 1
                typer.echo(f"fracture: {type(result.error).__name__}: {result.error}", err=True)
            elif folder is not None:
                try:
                    result.save_overlay(folder / names(result.source))
                except FractureError as error:
                    unwritten += 1
                    typer.echo(f"fracture: {result.source}: no overlay: {error}", err=True)
    if failed:
        typer.echo(f"fracture: {failed} of {len(files)} inputs could not be read", err=True)
    if unwritten:
        typer.echo(f"fracture: {unwritten} overlays could not be written", err=True)
    if failed or unwritten:
        raise typer.Exit(1)


def _write_line(out: TextIO, line: str) -> None:
    try:
        out.write(line + "\n")
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if out is sys.stdout:
            leave_stdout()
        raise _unwritable(error) from error


def leave_stdout() -> None:
    """Send what is left in standard output's buffer nowhere, so that the interpreter does not fail on it at the end."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a file behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritable(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        "the results cannot be written", got=error.strerror, hint="make room, or choose another --json"
    )


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            "the folder for overlays cannot be made",
            got=f"{folder} ({error.strerror})",
            hint="choose another --overlay",
        ) from error
    return folder


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            "the file for results cannot be written", got=f"{path} ({error.strerror})", hint="choose another --json"
        ) from error
    try:
        yield stream
    finally:
        try:
            stream.close()  # writes what is left, and fails again where writing failed before
        except OSError as error:
            raise _unwritable(error) from error


def _with_progress(results: Iterator[Prediction | Failure], total: int) -> Iterator[Any]:
    """A bar on a terminal, nothing in a pipe."""
    from tqdm import tqdm

    return iter(tqdm(results, total=total, unit="film", file=sys.stderr, disable=not sys.stderr.isatty()))


class _OverlayNames:
    """A file name for each source, unique in the folder: two `1.dcm` of different folders must not overwrite."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def __call__(self, source: str) -> str:
        stem = re.sub(r"[^\w.-]+", "_", Path(source).name) or "film"
        name, count = f"{stem}.png", 1
        while name in self._used:
            count += 1
            name = f"{stem}-{count}.png"
        self._used.add(name)
        return name
