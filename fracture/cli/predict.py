"""``fracture predict``: files in, JSON lines out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fracture.cli import options as opt
from fracture.cli.reading import Reading, reads_films
from fracture.errors import ConfigurationError

if TYPE_CHECKING:
    from fracture.cli.run import Task
    from fracture.limb.study import Rule
    from fracture.wing.contract import Wing

_POINT = "high_sensitivity"


@reads_films()
def predict(
    reading: Reading,
    region: opt.Region = None,
    candidates: opt.Candidates = False,
    operating_point: opt.OperatingPointName = _POINT,
    fast: opt.Fast = False,
    batch_size: opt.BatchSize = 8,
    by_study: Annotated[
        bool,
        typer.Option(
            "--by-study",
            help="One result per study: DICOM films of one study, body part and side; or a folder's pictures.",
        ),
    ] = False,
    studies: Annotated[
        Path | None,
        typer.Option(metavar="TABLE.csv", help="With --by-study: which study each film belongs to (image,study)."),
    ] = None,
    study_rule: Annotated[
        str,
        typer.Option(
            help="How films of a study are fused: mean, or (most sensitive), and (most specific), or a file of "
            "`fracture adapt-studies`."
        ),
    ] = "mean",
) -> None:
    """Find fractures on radiographs: one JSON line per input, or per study, in input order.

    Weights of another wing (hips, joints, ...) read films in their own way, and refuse options that only the fracture
    detector has.

    Exit code 0: all inputs were read; 1: some failed, the others are written; 2: wrong usage, or results that cannot
    be written.
    """
    own = {"region": region or None, "operating_point": operating_point, "candidates": candidates}

    if reading.weights is not None:
        from fracture.wing.contract import find_wing

        wing, folder = find_wing(reading.weights)
        if wing.name != "limb":
            foreign = {**own, "fast": fast, "by_study": by_study}
            changed = [name for name, value in foreign.items() if value not in (None, False, _POINT)]
            _by_wing(reading, wing, folder, changed)
            return

    def task() -> Task:
        from fracture.limb.attention import Attention
        from fracture.limb.detector import Detector

        detector = Detector.load(
            reading.weights, device=reading.device, precision=reading.precision, fast=fast, engine=reading.engine
        )
        recorded: dict[str, Any] = {"fast": fast}
        many: Callable[..., Iterator[Any]] = detector.predict_many
        if by_study:
            rule = Attention.read(study_rule) if study_rule.endswith(".json") else cast("Rule", study_rule)
            many = functools.partial(detector.predict_studies, rule=rule)
            recorded["study_rule"] = rule if isinstance(rule, str) else rule.to_dict()
        many = functools.partial(many, batch_size=batch_size)
        return reading.task("predict", detector.card, many, own, recorded=recorded, failed=None)

    if studies is not None and not by_study:
        raise ConfigurationError("--studies says what --by-study judges together", hint="give --by-study too")
    if not by_study:
        reading.run(task)
        return
    from fracture.cli.studies import group_films

    if reading.objects is not None:
        raise ConfigurationError("--dicom stores the results of single films", hint="run once more without --by-study")
    reading = replace(reading, outputs=replace(reading.outputs, kind="study"))
    reading.run(task, functools.partial(group_films, table=studies))


def _by_wing(reading: Reading, wing: Wing[Any], folder: Path, foreign: Sequence[str]) -> None:
    """Films read by another wing's weights; options that stand at their defaults are not passed on, since a wing's
    reader need not have them."""
    if foreign:
        raise ConfigurationError(
            f"{folder} holds weights of the wing {wing.name!r}, which has no such option",
            got=", ".join(f"--{name.replace('_', '-')}" for name in foreign),
            hint="leave it out",
        )
    given = {name: value for name, value in reading.options.items() if value not in ("auto", None, ())}
    asked = replace(reading, options=given, outputs=replace(reading.outputs, kind=wing.kind))

    def task() -> Task:
        opened = wing.store.open(folder)
        reader = wing.open(opened, device=asked.device, precision=asked.precision, engine=asked.engine)
        return asked.task(f"predict {wing.name}", opened.card, reader.predict_many, {})

    asked.run(task)
