"""``fracture model-card``: the page about a set of weights, made and not typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture.atomic import write_text
from fracture.errors import ConfigurationError

__all__ = ["model_card"]


def model_card(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights, or a folder.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder (or report.json) of `fracture evaluate` for these weights.")
    ] = None,
    extra: Annotated[
        list[Path] | None, typer.Option(help="Results in JSON (robustness, sites, cost, ...); may be repeated.")
    ] = None,
    aims: Annotated[Path | None, typer.Option(help="TOML or JSON with what was aimed at.")] = None,
    misses: Annotated[Path | None, typer.Option(help="Markdown about the worst misses.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; to stdout where left out.")] = None,
) -> None:
    """Write a model card in Markdown from the weights' card and results in JSON: equal inputs, equal bytes."""
    from fracture.data.splits import Split
    from fracture.limb.store import open_weights
    from fracture.reporting import model_card as make
    from fracture.reporting import read_aims
    from fracture.runs.outputs import Protected, check_output

    opened = open_weights(weights)
    if out is not None:
        given = (report, aims, misses, *(extra or ()), *opened.folder.iterdir())
        inputs = Protected.of(path for path in given if path is not None)
        check_output(out, inputs, option="--out", own=lambda head: b"**Intended use.**" in head)
    folder_split = opened.folder / "split.json"
    arguments = ["fracture", "model-card", weights]
    for name, values in (("report", [report]), ("extra", extra or []), ("aims", [aims]), ("misses", [misses])):
        for value in values:
            arguments += [] if value is None else [f"--{name}", value.as_posix()]
    page = make(
        opened.card,
        report=None if report is None else _read_json(report / "report.json" if report.is_dir() else report),
        extras=tuple(_read_json(path) for path in extra or ()),
        aims=() if aims is None else read_aims(aims),
        misses="" if misses is None else _read_text(misses),
        split=Split.read(folder_split) if folder_split.is_file() else None,
        sizes={path.name: path.stat().st_size for path in sorted(opened.folder.glob("*.safetensors"))},
        command=shlex.join(arguments),
    )
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, page)
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written", got=error.strerror) from error
    typer.echo(f"fracture: {opened.card.label}, model card in {out}", err=True)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", got=type(error).__name__) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is no JSON", got=error.msg) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no JSON object", got=type(content).__name__)
    return content
