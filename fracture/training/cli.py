"""``fracture train``."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fracture.errors import ConfigurationError

EXIT_INTERRUPTED = 143  # 128 + SIGTERM: saved and left; the same command resumes


def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is resumed.")],
    data: Annotated[str | None, typer.Option(help="The annotated set (folder or file).")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Train only this member; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    init: Annotated[
        list[str] | None,
        typer.Option(help="Starting point: random, pretrained or a safetensors file; MEMBER=FILE for one member."),
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Folder for prepared films.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as loop.epochs=3, or MEMBER:loop.epochs=3; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    folds: Annotated[
        str | None,
        typer.Option(help="Train once for each fold, held out: how many, or the file of a split in folds."),
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="With --folds: trainings at a time.")] = None,
) -> None:
    """Train the networks of a recipe, once or for each fold of a split.

    Exit code 0: done; 143: stopped by a signal, saved; the same command resumes.
    """
    from fracture.training import Recipe, load_recipe, train as run

    loaded = load_recipe(recipe)
    changes = changes_of([config.name for config in loaded.members], init or (), set_ or (), cache)
    loaded = Recipe(loaded.name, tuple(config.replace(changes[config.name]) for config in loaded.members))
    if folds is not None:
        given = {"members": member or (), "init": init or (), "settings": set_ or (), "cache": cache, "device": device}
        _folds(recipe, data, out, folds, given, processes)
        return
    if processes is not None:
        raise ConfigurationError("--processes goes with --folds", hint="one training is one process")
    result = run(loaded, data, out=out, members=tuple(member or ()), device=device, progress=not quiet)
    for one in result.members:
        aucs = ", ".join(
            f"{part} AUC {auc:.4f}" for part, auc in one.facts["training"]["auc"].items() if auc is not None
        )
        typer.echo(f"{one.name}: {one.weights}" + (f" ({aucs})" if aucs else ""))
    if not result.finished:
        stopped()


def _folds(
    recipe: str, data: str | None, out: Path, folds: str, given: Mapping[str, Any], processes: int | None
) -> None:
    from fracture.training.folds import FoldRun, train_folds

    def told(one: FoldRun) -> None:
        code = f"exit code {one.code}, " if one.code else ""
        typer.echo(f"fold {one.fold}: {code}{one.said}")

    typer.echo(f"fracture: what the trainings say goes to {out}/fold*.log", err=True)
    done = train_folds(recipe, data, out=out, folds=folds, processes=processes, told=told, **given)
    if any(one.code for one in done):
        stopped()


def changes_of(
    names: Sequence[str], starts: Sequence[str], settings: Sequence[str], cache: str | None
) -> dict[str, dict[str, Any]]:
    """What ``--init``, ``--set`` and ``--cache`` change, as nested tables by member or stage.

    Raises:
        ConfigurationError: Not of the form ``section.key=value``, or no such member or stage.
    """
    changes: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in [*(f"{_target(start)}init={_value(start)}" for start in starts), *settings]:
        _put(changes, text)
    if cache is not None:
        for table in changes.values():
            table.setdefault("data", {})["cache"] = cache
    return changes


def stopped() -> NoReturn:
    """Say that a signal ended the training, and leave."""
    typer.echo("stopped as asked; everything is saved, and the same command resumes", err=True)
    sys.exit(EXIT_INTERRUPTED)


def _target(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}:" if equals else ""


def _value(text: str) -> str:
    return json.dumps(text.partition("=")[2] or text)


def _put(changes: dict[str, dict[str, Any]], text: str) -> None:
    """``"loop.epochs=3"`` into every member's table of changes, ``"a:loop.epochs=3"`` into that of member a.

    Values are written as in TOML, and a bare word is a string.

    Raises:
        ConfigurationError: Not of that form, or no such member.
    """
    path, equals, value = text.partition("=")
    member, colon, rest = path.partition(":")
    keys = [key.strip() for key in (rest if colon else path).split(".")]
    if not equals or not all(keys):
        raise ConfigurationError(
            "--set takes a setting and a value", got=text, allowed="section.key=value or MEMBER:section.key=value"
        )
    if colon and member not in changes:
        raise ConfigurationError("the recipe has no such member", got=member, allowed=changes)
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for table in [changes[member]] if colon else changes.values():
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigurationError("--set names a key below a setting that is not a section", got=text)
        table[keys[-1]] = parsed
