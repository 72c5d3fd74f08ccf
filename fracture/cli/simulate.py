"""``fracture simulate``: radiographs with known fractures, for examples, tests and pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; created if missing.")],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many films.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal films.")] = 0,
    kind: Annotated[
        str,
        typer.Option(
            help="films (of any region), hips (pelvic films, six classes), joints (hands with damage "
            "painted at known joints), lumbar (sagittal MR) or cervical (CT of the neck, NIfTI)."
        ),
    ] = "films",
    file_format: Annotated[
        str | None, typer.Option("--format", help="dicom (default), png or both; cervical nifti, all others png.")
    ] = None,
    fracture_rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Share of films with a fracture, 0.5 by default; only for films and cervical."
        ),
    ] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only this region; may be given more than once.")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Height and width in pixels; by default hips 640, lumbar 320; joints' height, 768."),
    ] = None,
    mix: Annotated[
        list[str] | None, typer.Option(help="For hips: CLASS=SHARE; may be given more than once, others are left out.")
    ] = None,
) -> None:
    """Write simulated radiographs with their annotations (COCO) into a folder."""
    from fracture.errors import ConfigurationError
    from fracture.runs.progress import progress_bar
    from fracture.simulate import write_dataset, write_hips, write_joints, write_lumbar, write_necks

    uses = {
        "films": ("--region", "--fracture-rate"),
        "hips": ("--size", "--mix"),
        "joints": ("--size",),
        "lumbar": ("--size",),
        "cervical": ("--fracture-rate",),
    }
    if kind not in uses:
        raise ConfigurationError("unknown kind of data set", got=repr(kind), allowed=tuple(uses))
    given = {"--region": region, "--fracture-rate": fracture_rate, "--size": size, "--mix": mix}
    for option, value in given.items():
        if value and option not in uses[kind]:
            raise ConfigurationError(f"{option} does not apply to --kind {kind}", got=value)
    only = "nifti" if kind == "cervical" else "png"
    if kind != "films" and file_format not in (None, only):
        raise ConfigurationError(f"{kind} are written as {only}", got=repr(file_format), hint="leave --format out")
    rate = 0.5 if fracture_rate is None else fracture_rate
    with progress_bar(n) as bar:

        def progress(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        if kind == "cervical":
            write_necks(directory, n, seed=seed, fracture_rate=rate, progress=progress)
        elif kind == "lumbar":
            write_lumbar(directory, n, seed=seed, side=320 if size is None else size, progress=progress)
        elif kind == "joints":
            height = 768 if size is None else size
            write_joints(directory, n, seed=seed, size=(height, height * 5 // 6), progress=progress)
        elif kind == "hips":
            side = 640 if size is None else size
            write_hips(directory, n, seed=seed, size=(side, side), mix=_mix(mix), progress=progress)
        else:
            write_dataset(
                directory,
                n,
                seed=seed,
                format=file_format or "dicom",
                fracture_rate=rate,
                regions=region or None,
                progress=progress,
            )
    typer.echo(f"fracture: {n} films and annotations.json in {directory}", err=True)


def _mix(entries: list[str] | None) -> dict[str, float] | None:
    """``CLASS=SHARE`` entries as a mapping."""
    from fracture.errors import ConfigurationError

    if not entries:
        return None
    shares: dict[str, float] = {}
    for entry in entries:
        name, _, share = entry.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise ConfigurationError("--mix needs CLASS=SHARE", got=repr(entry), hint="--mix normal=0.5") from None
    return shares
