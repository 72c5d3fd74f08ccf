"""``fracture train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture.errors import ConfigurationError

__all__ = ["train"]

EXIT_INTERRUPTED = 143  # 128 + SIGTERM: saved and left; the same command goes on


def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    out: Annotated[Path, typer.Option(help="Run folder; a folder with an unfinished run is gone on with.")],
    data: Annotated[str | None, typer.Option(help="The annotated set (folder or file).")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Train only this member; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    init: Annotated[str | None, typer.Option(help="Starting point: random, pretrained, or a safetensors file.")] = None,
    cache: Annotated[str | None, typer.Option(help="Folder for prepared films.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, as loop.epochs=3; may be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train the networks of a recipe. Exit code 0: done; 143: asked to stop, saved, the same command goes on."""
    from fracture.training import load_recipe
    from fracture.training import train as run

    loaded = load_recipe(recipe)
    changes: dict[str, Any] = {}
    for text in set_ or []:
        _put(changes, text)
    if init is not None:
        changes["init"] = init
    if cache is not None:
        changes.setdefault("data", {})["cache"] = cache
    if changes:
        loaded = loaded.replace(changes)
    result = run(loaded, data, out=out, members=tuple(member or ()), device=device, progress=not quiet)
    for one in result.members:
        aucs = ", ".join(
            f"{part} AUC {auc:.4f}" for part, auc in one.facts["training"]["auc"].items() if auc is not None
        )
        typer.echo(f"{one.name}: {one.weights}" + (f" ({aucs})" if aucs else ""))
    if not result.finished:
        typer.echo("stopped as asked; everything is saved, and the same command goes on", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _put(changes: dict[str, Any], text: str) -> None:
    """``"loop.epochs=3"`` into nested tables; values are written as in TOML, and a bare word is a string."""
    import tomllib

    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigurationError("--set takes a setting and a value", got=text, allowed="section.key=value")
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    table = changes
    for key in keys[:-1]:
        table = table.setdefault(key, {})
    table[keys[-1]] = parsed
