"""``fracture predict``: files in, JSON lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fracture.cli import options as opt

if TYPE_CHECKING:
    from fracture.cli.run import Task
    from fracture.models.devices import Precision


def predict(
    paths: opt.Paths,
    region: Annotated[
        list[str] | None, typer.Option(help="Anatomical region shown, for all films; may be given more than once.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Name of shipped weights, or a folder with a card.")] = None,
    json_file: opt.Json = None,
    overlay: opt.Overlay = None,
    report: opt.Report = None,
    dicom: opt.Dicom = None,
    objects: opt.Objects = "sr,sc,gsps",
    new_study: opt.NewStudy = False,
    deidentify: opt.Deidentify = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    dry_run: opt.DryRun = False,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Also list every box of the map, however weak.")
    ] = False,
    operating_point: Annotated[
        str, typer.Option(help="high_sensitivity or high_specificity: what decides 'fractured'.")
    ] = "high_sensitivity",
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Run only the members that the card names for this; the card states what this costs."
        ),
    ] = False,
    window: opt.Window = "auto",
    frame: opt.Frame = None,
    allow: opt.Allow = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Films per batch.")] = 8,
    workers: opt.Workers = 2,
) -> None:
    """Find fractures on radiographs: one JSON line per input, in input order.

    Exit code 0: all inputs were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot
    be written.
    """
    from fracture.cli.run import Task, outputs_of, request_of, run

    outputs = outputs_of(
        json_file=json_file,
        overlay=overlay,
        report=report,
        dicom=dicom,
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    options: dict[str, Any] = {
        "region": region or None,
        "operating_point": operating_point,
        "candidates": candidates,
        "window": opt.window_of(window),
        "frame": frame,
        "allow": tuple(allow or ()),
    }

    def task() -> Task:
        from fracture.limb.detector import Detector

        detector = Detector.load(weights, device=device, precision=cast("Precision", precision), fast=fast)
        networks = detector.ensemble
        return Task(
            request=request_of("predict", detector.card, networks.device, networks.dtype, {**options, "fast": fast}),
            results=lambda films: detector.predict_many(
                films, batch_size=batch_size, workers=workers, keep=outputs.drawn, **options
            ),
            draw=lambda result, path: result.save_overlay(path),
            line=lambda result: cast("dict[str, Any]", result.to_dict()),
        )

    run(paths, outputs, task, opt.objects_of(dicom, objects, new_study, deidentify))
