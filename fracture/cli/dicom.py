"""``fracture dicom``: DICOM objects of results that were computed earlier."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture.cli import options as opt
from fracture.cli.streams import printable
from fracture.cli.words import in_options
from fracture.errors import ConfigurationError, FractureError, UnreadableDataError, unforeseen

dicom = typer.Typer(
    name="dicom",
    help="Results as DICOM objects. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dicom.callback()
def _group() -> None:
    """Results as DICOM objects. Research use only."""


@dicom.command("results")
def results(
    jsonl: Annotated[Path, typer.Argument(metavar="JSONL", help="What `fracture predict` or `hip predict` wrote.")],
    sources: Annotated[list[str], typer.Argument(metavar="SOURCES...", help="The films: files, folders, patterns.")],
    out: Annotated[Path, typer.Option("--dicom", metavar="OUT", help="Folder for the objects.")],
    objects: opt.Objects = "sr,sc,gsps",
    new_study: opt.NewStudy = False,
    deidentify: opt.Deidentify = None,
    frame: opt.Frame = None,
) -> None:
    """Make DICOM objects of results computed earlier; a line's film is found by its path, else by its name.

    Lines keep no probability map: for `seg`, run `fracture predict --dicom OUT --objects seg`. Exit code 0: all were
    made; 1: some could not be made, the others are written; 2: wrong usage.
    """
    from fracture.data.files import load_json_lines
    from fracture.runs.inputs import collect

    folder = opt.objects_of(out, objects, new_study, deidentify)
    if folder is None:  # --dicom is required
        return
    if "seg" in folder.objects:
        raise ConfigurationError(
            "JSON lines keep no probability map, so there is nothing to make seg of",
            hint="run fracture predict PATH... --dicom OUT --objects seg",
        )
    inputs = collect(sources)
    places = folder.places(inputs.films, inputs.root)
    done = failed = 0
    for where, line in load_json_lines(jsonl):
        if "source" not in line:
            raise UnreadableDataError(f"{jsonl}, {where}: no result of a film")
        name = str(line["source"])
        try:
            with unforeseen(name):
                film = inputs.named((line.get("frame") or {}).get("file") or name)  # of a series, the slice's file
                folder.add(_result(line), Path(places[film]), source=film, frame=frame)
            done += 1
        except FractureError as error:
            failed += 1
            typer.echo(f"fracture: {printable(name)}: no DICOM objects: {printable(in_options(error))}", err=True)
    folder.finish()
    typer.echo(f"fracture: {done} films, {failed} without objects", err=True)
    if failed:
        raise typer.Exit(1)


def _result(line: Mapping[str, Any]) -> Any:
    if (error := line.get("error")) is not None:
        raise ConfigurationError("the film failed, so there is no result", got=error.get("message"))
    kinds = {"hips": "hip.prediction:HipFilm", "limbs": "joints.prediction:JointsFilm"}
    kinds |= {"discs": "spine.lumbar.result:LumbarSpine", "vertebrae": "spine.cervical.result:CervicalSpine"}
    found = next((kind for key, kind in kinds.items() if key in line), "limb.prediction:Prediction")
    room, _, name = found.partition(":")
    return getattr(import_module(f"fracture.{room}"), name).from_dict(line)
