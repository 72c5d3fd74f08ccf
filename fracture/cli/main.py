"""The list of commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from fracture._version import __version__
from fracture.cli.defaults import defaults_for
from fracture.cli.streams import leave_stdout, prepare_streams, printable
from fracture.cli.words import in_options
from fracture.errors import FractureError

COMMANDS = {
    "predict": "cli.predict:predict",
    "info": "cli.info:info",
    "verify": "cli.verify:verify",
    "engines": "cli.engines:engines",
    "export": "cli.export:export",
    "simulate": "cli.simulate:simulate",
    "verify-data": "data.cli:verify_data",
    "split-data": "data.cli:split_data",
    "pack-data": "data.cli:pack_data",
    "cohort": "data.cli:cohort",
    "sample-test": "data.cli:sample_test",
    "augment-sheet": "data.cli:augment_sheet",
    "deidentify": "cli.deidentify:deidentify",
    "train": "training.cli:train",
    "adapt": "adapt.cli:adapt",
    "adapt-studies": "adapt.cli:adapt_studies",
    "finetune": "finetune.cli:finetune",
    "evaluate": "evaluation.cli:evaluate",
    "mine": "evaluation.cli:mine",
    "assemble": "calibration.cli:assemble",
    "calibrate": "calibration.cli:calibrate",
    "input-check": "input_check.cli:input_check",
    "model-card": "reporting.cli:model_card",
    "retrain": "retraining.cli:retrain",
    "serve": "serve.cli:serve",
    "hip": "cli.hip:hip",
    "archive": "cli.archive:archive",
    "joints": "cli.joints:joints",
    "dicom": "cli.dicom:dicom",
    "label": "label.cli:label",
    "node": "node.cli:node",
    "spine": "cli.spine:spine",
}
"""Each command's module in the library, and its function or group there."""
WITHIN = {"spine": "cli.cervical:cervical"}
"""A group within a group, which stands in a module of its own."""


class _Commands(MutableMapping[str, Any]):
    """Commands by name, each imported and parsed when it is asked for: a call needs one of them."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = _built(name, COMMANDS[name])
            if within := WITHIN.get(name):
                inner = within.rpartition(":")[2]
                self._built[name].commands[inner] = _built(inner, within)
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**COMMANDS, **self._built})

    def __len__(self) -> int:
        return len({**COMMANDS, **self._built})


class _Group(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        registered = self.commands
        self.commands = _Commands()
        self.commands.update(registered)


def _built(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"fracture.{module}"), attribute)
    one = typer.Typer(rich_markup_mode=None, add_completion=False)
    one.callback()(lambda: None)  # so that it is a group, with one command
    if isinstance(found, typer.Typer):
        one.add_typer(found, name=name)
    else:
        one.command(name)(found)
    group: Any = get_command(one)
    return group.commands[name]


app = typer.Typer(
    name="fracture",
    cls=_Group,
    help="Find fractures on radiographs. Research use only; this is not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fracture {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback tells it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find fractures on radiographs. Research use only; this is not a medical device."""
    context.default_map = defaults_for(context.command)


def main() -> None:
    """Entry point of the console script."""
    # torch makes half a million objects that stay: looking for garbage among them, after every 700 and at the end,
    # would cost a fourth of a call. Commands usually do so (mypy, Mercurial); the numbers are ours.
    gc.set_threshold(20_000, 10, 10)
    atexit.register(gc.freeze)
    prepare_streams()
    try:
        app()
    except FractureError as error:
        # What reaches this place concerns the request as a whole, not one input: weights, regions, settings.
        typer.echo(f"fracture: {type(error).__name__}: {printable(in_options(error))}", err=True)
        sys.exit(2)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        builds = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))
        typer.echo(
            f"fracture: {builds} come from different builds; install both with one command, from one index", err=True
        )
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output left (`fracture predict ... | head`): leave quietly.
        leave_stdout()
        sys.exit(1)
    except OSError as error:
        # Standard output that is closed or full, a folder that cannot be read: the system's word, not our fault.
        leave_stdout()
        typer.echo(f"fracture: {printable(str(error))}", err=True)
        sys.exit(2)
