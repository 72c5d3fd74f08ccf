"""From sources to results, one film's trouble its own: what the readers of all wings do alike.

1. The request is checked at the call: options, regions, numbers.
2. Threads read films ahead (:mod:`fracture.io.ahead`), prepare them and look whether they are radiographs at all.
3. The networks take films of equal prepared shape together; where that fails, each alone.
4. Each film is judged.

Whatever one film raises on this way is its :class:`Failure`; only a lack of memory, an interrupt, and what the caller's
own iterator raises end a batch, the latter after the results of the films before it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from fracture.errors import ConfigurationError, FractureError, unforeseen
from fracture.io.ahead import ahead, source_name
from fracture.io.radiograph import Radiograph
from fracture.io.reading import read
from fracture.regions import DEFAULT_TREE, RegionTree
from fracture.wing.result import Failure
from fracture.wing.rules import check_pixels

if TYPE_CHECKING:
    from fracture.io.reading import Source

__all__ = ["Film", "Inputs", "ReaderBase", "check_options", "shape_groups"]

_READING = tuple(name for name in inspect.signature(read).parameters if name not in ("source", "region", "tree"))
_SINGLE = (str, bytes, bytearray, memoryview, os.PathLike, Radiograph)


class Inputs(Protocol):
    """What the networks of a wing take for one film."""

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the image within the dark padding, in whole source pixels."""

    @property
    def shape_key(self) -> object:
        """Films with equal keys can share a batch."""


class _Timed(Protocol):
    """A dataclass that knows its film's name and the time that was spent on it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def source(self) -> str: ...

    @property
    def seconds(self) -> float: ...


P = TypeVar("P", bound=Inputs)
E = TypeVar("E", bound=_Timed)
R = TypeVar("R", bound=_Timed)
A = TypeVar("A")


@dataclass(frozen=True, slots=True, eq=False)
class Film(Generic[P]):
    """A film between reading and the networks.

    Attributes:
        radiograph: As it was read.
        inputs: As it was prepared.
        warnings: What its pixels say against its being a radiograph.
        seconds: Time spent so far.
    """

    radiograph: Radiograph
    inputs: P
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


class ReaderBase(ABC, Generic[P, E]):
    """A reader of films: ``P`` is what its networks take for one, ``E`` what is known once they have run.

    Attributes:
        tree: The regions known.
    """

    tree: RegionTree = DEFAULT_TREE

    @abstractmethod
    def prepare(self, radiograph: Radiograph) -> P:
        """Preprocess one film; called from several threads.

        Raises:
            InputError: It cannot be prepared.
        """

    @abstractmethod
    def examine(self, films: Sequence[Film[P]]) -> list[E]:
        """Run the networks on films of one ``shape_key``; the time that this takes is added to theirs afterwards."""

    def _one(self, source: Source, conclude: Callable[[E], R], **reading: Any) -> R:
        """One film all the way.

        Raises:
            FractureError: Whatever is wrong with it.
        """
        start = time.perf_counter()
        with unforeseen(source_name(source)):
            (found,) = self.examine([self._film(source, **reading)])
            return replace(conclude(found), seconds=time.perf_counter() - start)

    def _many(
        self,
        sources: Iterable[Source],
        conclude: Callable[[E], R],
        *,
        batch_size: int,
        workers: int,
        **reading: Any,
    ) -> Iterator[R | Failure]:
        """Many films, lazily, in order, in constant memory; the request is checked at the call.

        Args:
            sources: Any iterable of what :func:`fracture.read` takes.
            conclude: The last step, from what the networks said to the result.
            batch_size: Films that the networks look at together.
            workers: Threads that read ahead; 0 reads in the calling thread.
            **reading: Options of :func:`fracture.read`.

        Raises:
            ConfigurationError: One source instead of several, or a number out of range.
        """
        single = isinstance(sources, _SINGLE) or hasattr(sources, "read")  # a file would be taken for its lines
        single |= isinstance(sources, np.ndarray) and sources.ndim < 3
        try:
            taken = iter(() if single else sources)
        except TypeError:
            single = True
        if single:
            raise ConfigurationError(
                "predict_many takes several sources", got=source_name(sources), hint="put one source into a list"
            )
        if batch_size < 1 or workers < 0:
            raise ConfigurationError(
                "predict_many needs at least one film per batch and no negative number of workers",
                got=f"batch_size={batch_size}, workers={workers}",
            )
        return self._results(taken, conclude, batch_size, workers, reading)

    def _results(
        self,
        sources: Iterator[Source],
        conclude: Callable[[E], R],
        batch_size: int,
        workers: int,
        reading: Mapping[str, Any],
    ) -> Iterator[R | Failure]:
        raised: list[Exception] = []

        def taken() -> Iterator[Source]:
            try:
                yield from sources
            except Exception as error:  # noqa: BLE001 - the caller's own; it is raised below
                raised.append(error)

        prepare = functools.partial(_tried, self._film, **reading)
        for batch in _batches(ahead(taken(), prepare, workers, 2 * batch_size + workers), batch_size):
            films = [film for film in batch if isinstance(film, Film)]
            found = dict(zip(map(id, films), self._examined(films), strict=True))
            for film in batch:
                yield film if isinstance(film, Failure) else _concluded(found.pop(id(film)), conclude)
        if raised:
            raise raised[0]

    def _film(self, source: Source, **reading: Any) -> Film[P]:
        """Read and prepare one film, and look whether it is a radiograph.

        Raises:
            InputError: It cannot be used.
        """
        start = time.perf_counter()
        with unforeseen(source_name(source), quote=False):
            radiograph = read(source, tree=self.tree, **reading)
        with unforeseen(radiograph.source):
            inputs = self.prepare(radiograph)
            warnings = check_pixels(radiograph, inputs.crop)
        return Film(radiograph, inputs, warnings, time.perf_counter() - start)

    def _check_request(
        self, method: Callable[..., Any], reading: Mapping[str, Any], region: str | Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """What is wrong with the request is said at the call, not at the first film.

        Args:
            method: What was called.
            reading: Options of :func:`fracture.read` that it was given.
            region: The region that it was given.

        Returns:
            The regions that the caller names.

        Raises:
            RegionError: An unknown region.
            ConfigurationError: An unknown option, or a malformed value of one.
        """
        check_options(method, reading)
        # Reading a film that is one already only looks at the options.
        return read(_BLANK, region=region, tree=self.tree, **reading).regions

    def _examined(self, films: Sequence[Film[P]]) -> list[E | Failure]:
        """What is known of each film once the networks have run, those of one shape together."""
        found: dict[int, E | Failure] = {}
        for group in shape_groups([film.inputs for film in films]):
            found.update(zip(group, self._together([films[i] for i in group]), strict=True))
        return [found[index] for index in range(len(films))]

    def _together(self, films: Sequence[Film[P]]) -> list[E | Failure]:
        start = time.perf_counter()
        try:
            with unforeseen(films[0].radiograph.source):
                outputs = self.examine(films)
        except FractureError as error:
            if len(films) > 1:  # one film's fault is not its neighbors'
                return [self._together([film])[0] for film in films]
            return [Failure.of(films[0].radiograph.source, error, films[0].seconds + time.perf_counter() - start)]
        share = (time.perf_counter() - start) / len(films)
        return [replace(out, seconds=film.seconds + share) for film, out in zip(films, outputs, strict=True)]


def check_options(function: Callable[..., Any], reading: Mapping[str, Any]) -> None:
    """Refuse options that a function would hand on to :func:`fracture.read`, which does not know them.

    Raises:
        ConfigurationError: An unknown option; it names the one that was meant, as far as that can be guessed.
    """
    if not (unknown := sorted(set(reading) - set(_READING))):
        return
    parameters = inspect.signature(function).parameters.values()
    allowed = sorted({p.name for p in parameters if p.kind is p.KEYWORD_ONLY} | set(_READING))
    near = difflib.get_close_matches(unknown[0], allowed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else None
    raise ConfigurationError("unknown options", got=", ".join(unknown), allowed=allowed, hint=hint)


def shape_groups(films: Iterable[Inputs]) -> list[list[int]]:
    """Indices of films grouped by shape, groups in order of first appearance."""
    groups: dict[object, list[int]] = {}
    for index, film in enumerate(films):
        groups.setdefault(film.shape_key, []).append(index)
    return list(groups.values())


_BLANK = Radiograph(np.zeros((1, 1), np.float32))


def _tried(film: Callable[..., Film[P]], source: Source, **reading: Any) -> Film[P] | Failure:
    start = time.perf_counter()
    try:
        return film(source, **reading)
    except FractureError as error:
        return Failure.of(source_name(source), error, time.perf_counter() - start)


def _concluded(found: E | Failure, conclude: Callable[[E], R]) -> R | Failure:
    if isinstance(found, Failure):
        return found
    try:
        with unforeseen(found.source):
            return conclude(found)
    except FractureError as error:
        return Failure.of(found.source, error, found.seconds)


def _batches(films: Iterator[A], size: int) -> Iterator[list[A]]:
    batch: list[A] = []
    for film in films:
        batch.append(film)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
