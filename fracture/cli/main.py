"""The list of commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fracture._version import __version__
from fracture.adapt.cli import adapt, adapt_studies
from fracture.calibration.cli import assemble, calibrate
from fracture.cli.archive import archive
from fracture.cli.cervical import cervical
from fracture.cli.defaults import defaults_for
from fracture.cli.deidentify import deidentify
from fracture.cli.dicom import dicom
from fracture.cli.engines import engines
from fracture.cli.export import export
from fracture.cli.hip import hip
from fracture.cli.info import info
from fracture.cli.joints import joints
from fracture.cli.predict import predict
from fracture.cli.simulate import simulate
from fracture.cli.spine import spine
from fracture.cli.streams import leave_stdout, prepare_streams, printable
from fracture.cli.verify import verify
from fracture.cli.words import in_options
from fracture.data.cli import augment_sheet, cohort, pack_data, sample_test, split_data, verify_data
from fracture.errors import FractureError
from fracture.evaluation.cli import evaluate
from fracture.finetune.cli import finetune
from fracture.input_check.cli import input_check
from fracture.label.cli import label
from fracture.node.cli import node
from fracture.reporting.cli import model_card
from fracture.retraining.cli import retrain
from fracture.serve.cli import serve
from fracture.training.cli import train

app = typer.Typer(
    name="fracture",
    help="Find fractures on radiographs. Research use only; this is not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("predict")(predict)
app.command("info")(info)
app.command("verify")(verify)
app.command("engines")(engines)
app.command("export")(export)
app.command("simulate")(simulate)
app.command("verify-data")(verify_data)
app.command("split-data")(split_data)
app.command("pack-data")(pack_data)
app.command("cohort")(cohort)
app.command("sample-test")(sample_test)
app.command("augment-sheet")(augment_sheet)
app.command("deidentify")(deidentify)
app.command("train")(train)
app.command("adapt")(adapt)
app.command("adapt-studies")(adapt_studies)
app.command("finetune")(finetune)
app.command("evaluate")(evaluate)
app.command("assemble")(assemble)
app.command("calibrate")(calibrate)
app.command("input-check")(input_check)
app.command("model-card")(model_card)
app.command("retrain")(retrain)
app.command("serve")(serve)
app.add_typer(hip)
app.add_typer(archive)
app.add_typer(joints)
app.add_typer(dicom)
app.add_typer(label)
app.add_typer(node)
spine.add_typer(cervical)
app.add_typer(spine)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fracture {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback tells it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Find fractures on radiographs. Research use only; this is not a medical device."""
    context.default_map = defaults_for(context.command)


def main() -> None:
    """Entry point of the console script."""
    prepare_streams()
    try:
        app()
    except FractureError as error:
        # What reaches this place concerns the request as a whole, not one input: weights, regions, settings.
        typer.echo(f"fracture: {type(error).__name__}: {printable(in_options(error))}", err=True)
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
