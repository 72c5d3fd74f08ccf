"""``fracture archive``: manifest, run, status, merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracture.cli import options as opt
from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.archive.driver import SetAside
    from fracture.archive.run import Outcome
    from fracture.archive.shards import Done

archive = typer.Typer(
    name="archive",
    help="Read an archive of any size, each film once, with many processes or machines. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Out = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `fracture archive run`.")]


@archive.command("manifest")
def manifest(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Folders, files, patterns in quotes, a DICOMDIR, a Parquet table with a source column, "
            "a QIDO-RS query (https://host/dicom-web?Modality=DX).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The manifest to write: a JSON line for each film.")],
) -> None:
    """List the films of an archive. Exit code 0: written; 2: no films, or one is listed twice."""
    from fracture.archive.manifest import films_at, write_manifest

    films, told = films_at(paths)
    if told:
        typer.echo(f"fracture: {told}", err=True)
    typer.echo(f"{write_manifest(films, out)} films: {out}")


@archive.command("run")
def run(
    manifest_file: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Of `fracture archive manifest`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run; the same command goes on with it.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes of this machine.")] = 1,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler instead: tcp://host:8786, or its file.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Films per shard, the unit of work.")] = 1000,
    weights: opt.WeightsName = None,
    region: opt.Region = None,
    candidates: opt.Candidates = False,
    operating_point: opt.OperatingPointName = "high_sensitivity",
    fast: opt.Fast = False,
    dicom: opt.Dicom = None,
    objects: opt.Objects = "sr,sc,gsps",
    new_study: opt.NewStudy = False,
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
    engine: opt.EngineName = "auto",
    window: opt.Window = "auto",
    frame: opt.Frame = None,
    allow: opt.Allow = None,
) -> None:
    """Read all films of a manifest, each once; the same command goes on after any interruption.

    Exit code 0: all films were read; 1: some failed, or shards were set aside; 2: it cannot be done.
    """
    from fracture.archive.driver import SetAside
    from fracture.archive.run import run_archive
    from fracture.archive.shards import Settings
    from fracture.wing.contract import find_wing

    wing, folder = find_wing(weights or "fracatlas-small")
    if fast and wing.name != "limb":
        raise ConfigurationError(f"weights of the wing {wing.name!r} have no fast members", got="--fast")
    options: dict[str, Any] = {"window": opt.window_of(window), "frame": frame, "allow": tuple(allow or ())}
    own = {"region": region or None, "operating_point": operating_point, "candidates": candidates}
    unset = ("auto", None, (), False, "high_sensitivity")
    asked = {name: value for name, value in {**own, **options}.items() if value not in unset}
    made = opt.objects_of(dicom, objects, new_study)
    settings = Settings(
        weights=str(folder.resolve()),
        device=device,
        precision=precision,
        engine=engine,
        fast=fast,
        options=asked,
        threads=1 if workers > 1 and dask is None else 0,
        dicom=None if dicom is None else dicom.resolve(),
        objects=() if made is None else tuple(made.objects),
        new_study=new_study,
    )

    def told(one: Done | SetAside) -> None:
        text = f"set aside: {one.reason}" if isinstance(one, SetAside) else f"{one.films} films, {one.failed} failed"
        typer.echo(f"fracture: shard {one.shard}: {text}", err=True)

    found = run_archive(manifest_file, out, settings, workers=workers, dask=dask, shard_size=shard_size, told=told)
    _say(found)
    if found.failed or found.unwritten or found.set_aside:
        raise typer.Exit(1)


@archive.command("status")
def status(out: Out) -> None:
    """How far a run is. Exit code 0: done; 1: shards are left; 2: there is no run in the folder."""
    from fracture.archive.run import status as state

    found = state(out)
    _say(found)
    if found.done < found.shards:
        raise typer.Exit(1)


@archive.command("merge")
def merge(
    out: Out,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, or Parquet by the name's ending.")],
    partial: Annotated[bool, typer.Option("--partial", help="Write what there is, even if shards are left.")] = False,
) -> None:
    """Write all results in the manifest's order into one file. Exit code 0: written; 2: it cannot be."""
    from fracture.archive.run import merge as write

    typer.echo(f"{write(out, target, partial=partial)} films: {target}")


def _say(found: Outcome) -> None:
    typer.echo(
        f"{found.done} of {found.shards} shards, {found.read} of {found.films} films, {found.flagged} flagged, "
        f"{found.failed} failed"
    )
    for one in found.set_aside:
        typer.echo(
            f"fracture: shard {one.shard} was set aside: {one.reason}; the same command tries it again", err=True
        )
    if found.unwritten:
        typer.echo(f"fracture: DICOM objects of {found.unwritten} films could not be written", err=True)
