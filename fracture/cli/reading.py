"""Commands that read films or series: what ``fracture predict`` and the commands of every wing have in common.

A wing's command is a function of a :class:`Reading` and of its own options. The options that all share, their checks,
the outputs, DICOM objects and the run itself stand here once; of series, :func:`predict_series` is the whole command.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from fracture.cli import options as opt

if TYPE_CHECKING:
    from fracture.cli.run import Group, Task
    from fracture.models.devices import Precision
    from fracture.results.folder import ObjectFolder
    from fracture.runs.inputs import Inputs
    from fracture.runs.outputs import Outputs
    from fracture.wing.card import BaseCard
    from fracture.wing.contract import Wing
    from fracture.wing.engine_choice import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was asked of a command that reads films or series, apart from the wing's own options.

    Attributes:
        paths: Files, folders, patterns.
        outputs: Where to write.
        objects: Where DICOM objects go, if they are wanted.
        weights: Name or folder; None for the wing's default.
        device, precision, engine: As for :func:`fracture.load`.
        workers: Threads that read ahead.
        options: How films are read: ``window``, ``frame``, ``allow``; of series ``number``.
    """

    paths: list[str]
    outputs: Outputs
    objects: ObjectFolder | None
    weights: str | None
    device: str
    precision: Precision
    engine: Engine
    workers: int
    options: dict[str, Any]

    def task(
        self,
        command: str,
        card: BaseCard,
        many: Callable[..., Iterator[Any]],
        own: Mapping[str, Any],
        *,
        recorded: Mapping[str, Any] | None = None,
        failed: Collection[str] | None = ("source", "seconds", "error"),
        shown: Mapping[str, Any] | None = None,
    ) -> Task:
        """What a wing's reader does with the films.

        Args:
            command: As it was given, for the record of the run.
            card: Of the weights.
            many: The reader's ``predict_many``.
            own: The wing's own options of it.
            recorded: What else decides the results.
            failed: What the line of a film says that could not be read; None for all that a failure states.
            shown: What overlays show, as for the results' ``save_overlay``.
        """
        from fracture.cli.run import Task, request_of
        from fracture.cli.words import line_of
        from fracture.models.devices import resolve_device
        from fracture.wing.engines import resolve_engine

        device = resolve_device(self.device)
        engine, dtype = resolve_engine(self.engine, checksum=card.checksum, device=device, precision=self.precision)
        deciding = dict(recorded or {}) if engine == "torch" else {**(recorded or {}), "engine": engine}
        options, drawing = {**own, **self.options}, dict(shown or {})

        def line(result: Any) -> dict[str, Any]:
            stated = line_of(result)
            return stated if result.ok or failed is None else {key: stated.get(key) for key in failed}

        return Task(
            request=request_of(command, card, device, dtype, {**options, **deciding}),
            results=lambda films: many(films, workers=self.workers, keep=self.outputs.drawn, **options),
            draw=lambda result, path: result.save_overlay(path, **drawing),
            line=line,
        )

    def run(self, make: Callable[[], Task], group: Group | None = None) -> None:
        """Read the films; ``make`` loads the weights and is called when all else is in order, ``group`` tells which
        films are of one study, where a result is one of a study."""
        from fracture.cli.run import run

        run(self.paths, self.outputs, make, self.objects, group)


def predict_series(reading: Reading, wing: Wing[Any], draw: Callable[[Any, str], None] | None = None) -> None:
    """The command of a wing that reads series: each path is one spine, a folder too; ``draw`` writes more than the
    overlay."""
    from fracture.cli.run import run

    def task() -> Task:
        weights = wing.store.open(reading.weights)
        reader: Any = wing.open(weights, device=reading.device, precision=reading.precision, engine=reading.engine)
        many = functools.partial(reader.predict_many, batch_size=1)
        made = reading.task(f"spine {wing.name} predict", weights.card, many, {})
        return made if draw is None else replace(made, draw=draw)

    run(reading.paths, reading.outputs, task, reading.objects, find=_as_they_are)


def _as_they_are(paths: Sequence[str]) -> Inputs:
    from fracture.runs.inputs import Inputs

    parents = [os.path.dirname(os.path.abspath(path)) for path in paths]  # noqa: PTH100, PTH120
    return Inputs(tuple(paths), (), os.path.commonpath(parents))


def reads_films(kind: str = "film", *, series: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function ``f(reading, *, own options)``: the shared options stand before and after its own.

    Args:
        kind: What its overlays show, the ``_kind`` of its results.
        series: It reads series.
    """
    ask = _of_series if series else _of_films

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(_options_of(function).values())[1:]
        shared = _options_of(ask)
        first, last = list(shared.values())[:2], list(shared.values())[2:]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            asked = ask(kind=kind, **{name: given.pop(name) for name in shared})
            function(asked, **given)

        signature = inspect.Signature([*first, *own, *last])
        command.__signature__ = signature  # type: ignore[attr-defined]  # typer builds the options from it
        command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return command

    return decorate


def _options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A function's parameters with their types resolved; ``kind`` is ours, not an option."""
    hints = get_type_hints(function, {**vars(inspect.getmodule(function)), "Reading": Reading}, include_extras=True)
    found = inspect.signature(function).parameters.values()
    return {
        p.name: p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for p in found
        if p.name != "kind"
    }


def _of_films(
    kind: str,
    *,
    paths: opt.Paths,
    weights: opt.WeightsName = None,
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
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
    engine: opt.EngineName = "auto",
    window: opt.Window = "auto",
    frame: opt.Frame = None,
    allow: opt.Allow = None,
    workers: opt.Workers = 2,
) -> Reading:
    from fracture.cli.run import outputs_of

    return Reading(
        paths=paths,
        outputs=outputs_of(
            json_file=json_file,
            overlay=overlay,
            report=report,
            dicom=dicom,
            resume=resume,
            overwrite=overwrite,
            dry_run=dry_run,
            kind=kind,
        ),
        objects=opt.objects_of(dicom, objects, new_study, deidentify),
        weights=weights,
        device=device,
        precision=cast("Precision", precision),
        engine=cast("Engine", engine),
        workers=workers,
        options={"window": opt.window_of(window), "frame": frame, "allow": tuple(allow or ())},
    )


def _of_series(
    kind: str,
    *,
    paths: opt.SeriesPaths,
    weights: opt.WeightsName = None,
    json_file: opt.Json = None,
    overlay: opt.SeriesOverlay = None,
    number: opt.Number = None,
    dicom: opt.Dicom = None,
    objects: opt.Objects = "sr,sc,gsps",
    deidentify: opt.Deidentify = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    dry_run: opt.DryRun = False,
    device: opt.Device = "auto",
    precision: opt.PrecisionName = "auto",
    engine: opt.EngineName = "auto",
    workers: opt.Workers = 1,
) -> Reading:
    given = {name: value for name, value in locals().items() if name != "number"}
    return replace(_of_films(**given), options={"number": number})
