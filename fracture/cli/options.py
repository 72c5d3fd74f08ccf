"""Options that several commands have, in one wording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fracture.results.folder import ObjectFolder

Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, or patterns in quotes.")]
SeriesPaths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Each a folder of one study or series, or a file.")
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="OUT.jsonl", help="Write JSON lines here instead of stdout.")
]
Overlay = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a PNG with boxes for each film, in the films' own folders below DIR."),
]
SeriesOverlay = Annotated[
    Path | None, typer.Option("--overlay", metavar="DIR", help="Write a PNG of what was found for each path here.")
]
Number = Annotated[
    int | None, typer.Option(min=0, help="Which series of each path, from 0; by default the one that fits best.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write a page to browse the films (index.html), tables (CSV, Parquet) and a record of the run here; "
        "without --json, the JSON lines too.",
    ),
]
Dicom = Annotated[
    Path | None,
    typer.Option("--dicom", metavar="OUT", help="Write DICOM objects of each film into its own folder below OUT."),
]
Objects = Annotated[
    str, typer.Option("--objects", metavar="KIND,...", help="Which DICOM objects: of sr, sc, gsps, seg, ko.")
]
NewStudy = Annotated[
    bool,
    typer.Option("--new-study", help="Give each film that is not DICOM a study of its own, without a patient's name."),
]
Deidentify = Annotated[
    Path | None,
    typer.Option(
        "--deidentify",
        metavar="KEY",
        help="Put the objects into the study of the copy that `fracture deidentify --key KEY` makes of a film.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume the run that wrote --json; films that are done are skipped.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the films that would be read, and what is left out.")]
WeightsName = Annotated[str | None, typer.Option("--weights", help="Name of shipped weights, or a folder with a card.")]
Region = Annotated[
    list[str] | None, typer.Option(help="Anatomical region shown, for all films; may be given more than once.")
]
Candidates = Annotated[bool, typer.Option("--candidates", help="Also list every box of the map, however weak.")]
OperatingPointName = Annotated[
    str, typer.Option(help="high_sensitivity or high_specificity: what decides 'fractured'.")
]
Fast = Annotated[
    bool,
    typer.Option("--fast", help="Run only the members that the card names for this; the card states what this costs."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Films per batch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")]
PrecisionName = Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", help="auto, torch, openvino or onnx (extras of these names, on the CPU only; onnx in float32 only)."
    ),
]
Window = Annotated[
    str, typer.Option(help="DICOM window: auto, raw, percentile, or the number of one of the file's windows.")
]
Frame = Annotated[int | None, typer.Option(help="Frame of multi-frame files, from 0.")]
Allow = Annotated[list[str] | None, typer.Option(help="Also accept this modality (CT, MR, ...); '*' accepts all.")]
Workers = Annotated[int, typer.Option(min=0, help="Threads that read ahead.")]


def objects_of(out: Path | None, objects: str, new_study: bool, deidentify: Path | None = None) -> ObjectFolder | None:
    """The folder for DICOM objects, None where none are asked for; what is wrong with the request is told at once."""
    if out is None:
        return None
    from fracture.results.folder import ObjectFolder

    kinds = [kind.strip() for kind in objects.split(",") if kind.strip()]
    rules = None
    if deidentify is not None:
        from fracture.deidentification import Rules, read_key

        rules = Rules(read_key(deidentify))
    return ObjectFolder(out, kinds, new_study, rules)


def window_of(text: str) -> str | int:
    """A window's name, or the number of one of the file's windows."""
    return int(text) if text.isdecimal() else text
