"""A run over many films: what ``fracture predict`` and ``fracture hip predict`` do alike."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import typer

from fracture._version import __version__
from fracture.cli.streams import check_stdout, leave_stdout, printable
from fracture.cli.words import in_options
from fracture.errors import ConfigurationError, FractureError, OutputError, unforeseen
from fracture.io.ahead import ahead
from fracture.runs.inputs import Inputs, collect
from fracture.runs.journal import Entry, Journal, encode, film_sha256, journaled, writing
from fracture.runs.outputs import Outputs, check_outputs, overlay_paths
from fracture.runs.progress import progress_bar
from fracture.wing.lines import flagged_of

if TYPE_CHECKING:
    import torch

    from fracture.gallery.report import Report
    from fracture.results.folder import ObjectFolder
    from fracture.wing.card import BaseCard

Group: TypeAlias = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]
"""From films to those of each study, by what results call it."""

_HASHING = 2  # threads that find out whether films changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is done with the films.

    Attributes:
        request: What decides the results, JSON-able: weights, device, options. A run is resumed only by an equal
            one.
        results: One result for each film, in order; consumes films as results are asked for. Of a run by study, one for
            each study, of its name and films.
        draw: Writes a result's overlay to a path.
        line: A result or a failure as the JSON line that is written.
    """

    request: Mapping[str, Any]
    results: Callable[[Iterable[Any]], Iterator[Any]]
    draw: Callable[[Any, str], None]
    line: Callable[[Any], dict[str, Any]]


def request_of(
    command: str, card: BaseCard, device: torch.device, dtype: torch.dtype, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What decides the results of a command: the library, the weights (the card holds their checksums), the options."""
    return {
        "command": command,
        "fracture": __version__,
        "weights": f"{card.label} (card {card.checksum})",
        "device": device.type,
        "precision": str(dtype).removeprefix("torch."),
        **options,
    }


def outputs_of(*, json_file: Path | None, report: Path | None, **others: Any) -> Outputs:
    """The outputs of a command; a report without ``--json`` holds the JSON lines too."""
    if report is not None and json_file is None:
        json_file = report / "results.jsonl"
    return Outputs(json_file=json_file, report=report, **others)


def run(
    paths: list[str],
    outputs: Outputs,
    make: Callable[[], Task],
    objects: ObjectFolder | None = None,
    group: Group | None = None,
    *,
    find: Callable[[Sequence[str]], Inputs] = collect,
) -> None:
    """Read the films at the given paths, write one line each, and report the outcome at the end.

    All faults of the request are found before the first film is read and before anything is written.

    Args:
        paths: Files, folders, patterns.
        outputs: Where to write.
        make: Loads the weights; called when all else is in order.
        objects: Where DICOM objects go, if they are wanted.
        group: From the films to those of each study, where a result is one of a study.
        find: What is read at the paths.

    Raises:
        ConfigurationError: No films, outputs that are inputs, results of an earlier run that is not resumed.
        OutputError: Results that cannot be written, or that another run writes.
        typer.Exit: Code 1, if a film failed or an overlay could not be written.
    """
    start = time.perf_counter()
    inputs = find(paths)
    if group is not None:
        inputs = replace(inputs, studies=group(inputs.films))
    overlays = overlay_paths(outputs.overlay, inputs.names, inputs.root) if outputs.overlay is not None else {}
    report = None
    if (folder := outputs.report) is None:
        check_outputs(outputs, inputs.films, overlays)
    else:
        from fracture.gallery.report import FILES, Report, check_report  # with its templates, where one is asked for

        check_outputs(outputs, inputs.films, overlays, [folder / name for name in FILES])
        check_report(folder, inputs.films, replace=outputs.resume or outputs.overwrite)
        report = Report(folder, len(inputs.names), outputs.kind)
    if told := inputs.told():
        _say(told)
    if outputs.dry_run:
        for name in inputs.names:
            typer.echo("\t".join(map(printable, dict.fromkeys((name, *inputs.films_of(name))))))
        for path, kind in inputs.left_out:
            _say(f"left out: {path}: {kind}")
        studies = f" in {len(inputs.studies)} studies" * bool(inputs.studies)
        _say(f"{len(inputs.films)} films{studies} would be read, {len(inputs.left_out)} left out")
        return
    if outputs.json_file is None:
        check_stdout()
    task = make()
    task.results(())  # tells what is wrong with the options
    overlay = None if outputs.overlay is None else os.fspath(outputs.overlay)
    with _sink(outputs, {**task.request, "overlay": overlay, **_asked(objects)}) as sink:
        places = {} if objects is None else objects.places(inputs.films, inputs.root)
        drawing = _Drawing(task.draw, overlays, report, objects, places)
        counts, lines = _run(task, inputs, drawing, sink)
        unwritten = counts.pop("unwritten") + drawing.finish()
        counts["left out"] = len(inputs.left_out)
        seconds = time.perf_counter() - start
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        summary = {**counts, "left_out_by_kind": inputs.counts, "seconds": round(seconds, 3), "ended": ended}
        sink.end(summary)
        if report is not None:
            report.finish(lines, {**task.request, "overlay": overlay}, summary)
    if unwritten:
        _say(f"of {unwritten} films or studies something could not be written")
    _say(", ".join(f"{count} {what}" for what, count in counts.items()) + f", {seconds:.1f} seconds")
    if report is not None:
        _say(f"report: {report.page}")
    if counts["failed"] or counts.get("films failed") or unwritten:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """The pictures of a run: an overlay for each film, and its place in the report."""

    draw: Callable[[Any, str], None]
    overlays: Mapping[str, str]
    report: Report | None
    objects: ObjectFolder | None = None
    places: Mapping[str, str] = field(default_factory=dict)

    def done(self, film: str, line: Mapping[str, Any]) -> bool:
        """Whether all pictures of a film are there."""
        path = self.overlays.get(film)
        there = path is None or (line["overlay"] == path and os.path.isfile(path))  # noqa: PTH113
        stored = self.objects is None or self.objects.kept(line)
        return there and stored and (self.report is None or self.report.piece(film).is_file())

    def add(self, result: Any, film: str, line: dict[str, Any]) -> bool:
        """Draw what is wanted of a result and name the overlay in its line; False where something could not be
        written, which costs no line and no other film."""
        written = True
        if self.overlays:
            line["overlay"] = None
        if self.objects is not None:
            line["dicom"] = None
        if not result.ok:
            return True
        if self.overlays:
            path = self.overlays[film]
            if written := self._tried(result, lambda: self._overlay(result, path)):
                line["overlay"] = path
        if (report := self.report) is not None:
            written &= self._tried(result, lambda: report.draw(result))
        if (objects := self.objects) is not None:
            made: list[str] = []
            stored = self._tried(
                result, lambda: made.extend(objects.add(result, Path(self.places[film]))), "DICOM objects"
            )
            line["dicom"] = made if stored else None
            written &= stored
        return written

    def finish(self) -> int:
        """The pages that need all films; how many could not be written."""
        try:
            with unforeseen("the summaries of the studies"):
                if self.objects is not None:
                    self.objects.finish()
        except FractureError as error:
            _say(f"no summary: {in_options(error)}")
            return 1
        return 0

    def _overlay(self, result: Any, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.draw(result, path)

    def _tried(self, result: Any, draw: Callable[[], object], what: str = "picture") -> bool:
        try:
            with unforeseen(result.source):
                draw()
        except (FractureError, OSError) as error:
            told = in_options(error) if isinstance(error, FractureError) else error
            _say(f"{result.source}: no {what}: {told}")
            return False
        return True


def _asked(objects: ObjectFolder | None) -> dict[str, str]:
    return {} if objects is None else {"dicom": os.fspath(objects.folder), "objects": ",".join(objects.objects)}


def _run(
    task: Task, inputs: Inputs, drawing: _Drawing, sink: Journal | _Stream
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The counts, and the lines where a report needs them."""
    films, lines = inputs.names, list[dict[str, Any]]()
    kept = _kept(sink.before, inputs, drawing)
    wanted = [film for film in films if film not in kept]
    done = next((k for k, film in enumerate(films) if film not in kept), len(films))
    sink.begin([kept[film].line for film in films[:done]])
    checksums: dict[str, str | None] = {}
    feed = _feed(wanted, inputs, checksums if isinstance(sink, Journal) else None)
    results = _told(task.results(feed), len(wanted), "study" if inputs.studies else "film")
    flagged = failed = unwritten = parts_failed = 0
    shared: set[str] | None = None
    try:
        for index, film in enumerate(films):
            if (entry := kept.get(film)) is None:
                result = next(results)
                line = task.line(result)
                unwritten += not drawing.add(result, film, line)
                failed += not result.ok
                parts = [one for one in getattr(result, "films", ()) if not one.ok]
                parts_failed += len(parts)
                for one in parts if result.ok else [result]:
                    _say(f"{type(one.error).__name__}: {in_options(one.error)}")
                entry = Entry(checksums.get(film), line)
            if index >= done:
                sink.add(entry)
            if drawing.report is not None:
                lines.append(entry.line)
            flagged += flagged_of(entry.line)
            if (warned := entry.line.get("warnings")) is not None:  # a failure has none
                shared = set(warned) if shared is None else shared.intersection(warned)
    except KeyboardInterrupt:
        if isinstance(sink, Journal):
            _say("interrupted; what was computed is written, and the same command with --resume continues")
        raise
    for warning in sorted(shared or ()):
        _say(f"warning on every film: {warning}")
    counts = {"studies" if inputs.studies else "films": len(films), "flagged": flagged, "failed": failed}
    if parts_failed:
        counts["films failed"] = parts_failed
    return {**counts, "unwritten": unwritten}, lines


def _kept(before: Mapping[str, Entry], inputs: Inputs, drawing: _Drawing) -> dict[str, Entry]:
    """Earlier results that are still valid: films that were read and whose bytes and pictures have not changed."""
    if not before:
        return {}
    films = dict.fromkeys(inputs.names)
    known = {*inputs.films, *(path for path, _ in inputs.left_out)}
    others = [source for source in before if source not in films]
    if strange := [source for source in others if source not in known and os.path.lexists(source)]:
        raise ConfigurationError(
            "--resume: there are results of films that are not among the paths now",
            got=f"{strange[0]}" + f" and {len(strange) - 1} more" * (len(strange) > 1),
            hint="give the same paths as before (films may be added), or another --json",
        )
    if others:
        _say(f"results of {len(others)} films that are gone are dropped")
    read = [film for film in films if film in before and not _any_failed(before[film].line)]
    kept = {}
    checksum_of = functools.partial(_sha256, inputs)
    for film, checksum in zip(read, ahead(read, checksum_of, _HASHING, 4 * _HASHING), strict=True):
        entry = before[film]
        if checksum is not None and checksum == entry.sha256 and drawing.done(film, entry.line):
            kept[film] = entry
    again = sum(film in before for film in films) - len(kept)
    _say(f"resuming: {len(kept)} of {len(films)} films are done" + f", {again} are done again" * bool(again))
    return kept


def _any_failed(line: Mapping[str, Any]) -> bool:
    """A film or study without a result, or a study of which a film has none: it is tried again."""
    return line["error"] is not None or bool(line.get("failed"))


def _sha256(inputs: Inputs, name: str) -> str | None:
    """A film's checksum; a study's is that of its films' checksums and paths, None where a film cannot be read."""
    if name not in inputs.studies:
        return film_sha256(name)
    found = {film: film_sha256(film) for film in inputs.films_of(name)}
    if None in found.values():
        return None
    return hashlib.sha256(encode(found)).hexdigest()


def _feed(
    names: list[str], inputs: Inputs, checksums: dict[str, str | None] | None
) -> Iterator[str | tuple[str, tuple[str, ...]]]:
    """The films or studies, each after its checksum was taken where these are kept: one that changes while it is read
    is computed again later."""
    checksum_of = functools.partial(_sha256, inputs)
    taken = ahead(names, checksum_of, _HASHING, 8 * _HASHING) if checksums is not None else itertools.repeat(None)
    for name, checksum in zip(names, taken, strict=False):
        if checksums is not None:
            checksums[name] = checksum
        yield (name, inputs.studies[name]) if name in inputs.studies else name


class _Stream:
    """Results to standard output, a pipe or a device: there is nothing to resume."""

    before: Mapping[str, Entry] = {}

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def begin(self, lines: list[dict[str, Any]]) -> None:
        """Nothing was before."""

    def add(self, entry: Entry) -> None:
        """One line at a time and flushed: what was computed is not lost if something stops the run."""
        with writing():
            self._stream.write(encode(entry.line).decode())
            self._stream.flush()

    def end(self, summary: Mapping[str, Any]) -> None:
        """The lines are all that is written."""


@contextlib.contextmanager
def _sink(outputs: Outputs, request: Mapping[str, Any]) -> Iterator[Journal | _Stream]:
    if (regular := outputs.regular) is not None:
        with journaled(regular, request, resume=outputs.resume, overwrite=outputs.overwrite) as journal:
            yield journal
    elif outputs.json_file is not None:
        with writing(), outputs.json_file.open("w", encoding="ascii") as stream:
            yield _Stream(stream)
    else:
        try:
            yield _Stream(sys.stdout)
        except OutputError:
            leave_stdout()
            raise


def _told(results: Iterator[Any], total: int, unit: str) -> Iterator[Any]:
    """The results, and how far they are."""
    with progress_bar(total, unit=unit) as bar:
        for result in results:
            yield result
            bar.update(1)


def _say(text: str) -> None:
    typer.echo(f"fracture: {printable(text)}", err=True)
