"""From sources to results, each source's trouble its own: what the readers of all wings do alike.

1. The request is checked at the call: options, regions, numbers.
2. Threads take sources in ahead (:mod:`fracture.io.ahead`), prepare them, and check that they are what they should be.
3. The networks take those of equal prepared shape together; where that fails, each alone.
4. Each is judged.

A source may be a film (:class:`FilmReader`), a series of slices, or several films of a patient: :meth:`ReaderBase.take`
is the step that a wing brings along. Whatever one source raises on this way is its :class:`Failure`; only a lack of
memory, an interrupt, and what the caller's own iterator raises end a batch, the latter after the results of the sources
before it.
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from fracture.errors import ConfigurationError, FractureError, meant, unforeseen
from fracture.io.ahead import ahead, source_name
from fracture.io.radiograph import Radiograph
from fracture.io.reading import read
from fracture.regions import DEFAULT_TREE, RegionTree
from fracture.wing.result import Failure
from fracture.wing.rules import check_pixels
from fracture.wing.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.io.reading import Source

__all__ = [
    "FilmInputs",
    "FilmReader",
    "Inputs",
    "ReaderBase",
    "Record",
    "Taken",
    "check_options",
    "kept_readers",
    "shape_groups",
]

_READING = tuple(name for name in inspect.signature(read).parameters if name not in ("source", "region", "tree"))
_SINGLE = (str, bytes, bytearray, memoryview, os.PathLike, Radiograph, Volume)


class Record(Protocol):
    """What a source becomes when it is taken in: a ``Radiograph``, a ``Volume``, or a wing's own."""

    @property
    def source(self) -> str:
        """What results call the source."""


class Inputs(Protocol):
    """What the networks of a wing take for one source, where it is more than an array."""

    @property
    def shape_key(self) -> object:
        """Sources with equal keys can share a batch."""


class FilmInputs(Inputs, Protocol):
    """What the networks of a wing take for one film."""

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of the image within the dark padding, in whole source pixels."""


class Timed(Protocol):
    """A dataclass that knows its source's name and the time that was spent on it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def source(self) -> str: ...

    @property
    def seconds(self) -> float: ...


S = TypeVar("S", bound=Record)
P = TypeVar("P", bound="Inputs | NDArray[Any]")
F = TypeVar("F", bound=FilmInputs)
E = TypeVar("E", bound=Timed)
R = TypeVar("R", bound=Timed)
A = TypeVar("A")
Q = TypeVar("Q")


@dataclass(frozen=True, slots=True, eq=False)
class Taken(Generic[S, P]):
    """A source between being taken in and the networks.

    Attributes:
        record: As it was read.
        inputs: As it was prepared.
        warnings: What speaks against its being what it should be.
        seconds: Time spent so far.
    """

    record: S
    inputs: P
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def source(self) -> str:
        """What results call it."""
        return self.record.source


class ReaderBase(ABC, Generic[S, P, E]):
    """A reader: ``S`` is what a source becomes, ``P`` what the networks take for it, ``E`` what they say.

    A wing gives :meth:`take`, :meth:`prepare` and :meth:`examine`. Where ``E`` is the result already, :meth:`predict`
    and :meth:`predict_many` are those from here.
    """

    single_dims: ClassVar[int] = 2
    """An array of so many dimensions, or fewer, is one source; one of more is several."""

    @abstractmethod
    def take(self, source: Any, **reading: Any) -> S:
        """Read one source; called from several threads.

        Args:
            source: Whatever the wing reads.
            **reading: Its keyword parameters are the reader's options.

        Raises:
            InputError: It cannot be used.
        """

    @abstractmethod
    def prepare(self, record: S, /) -> P:
        """Preprocess one record; called from several threads.

        Raises:
            InputError: It cannot be prepared.
        """

    @abstractmethod
    def examine(self, taken: Sequence[Taken[S, P]], /) -> list[E]:
        """Run the networks on those of one shape; the time that this takes is added to theirs afterwards."""

    def check(self, record: S, inputs: P, /) -> tuple[str, ...]:  # noqa: ARG002 - a wing's own may use them
        """What speaks against a source's being what the networks know, as warnings; nothing where not overridden.

        Args:
            record: What was read.
            inputs: What the networks get of it.
        """
        return ()

    def concluding(self) -> Callable[[E], Any]:
        """The last step, from what :meth:`examine` gives to the result; as it is where not overridden.

        A wing's own may have keyword parameters: they are options of :meth:`predict` and :meth:`predict_many`, checked
        at their call.
        """
        return _as_it_is

    def predict(self, source: Any, **options: Any) -> Any:
        """Judge one source.

        Args:
            source: What :meth:`take` takes.
            **options: Those of :meth:`take` and of :meth:`concluding`.

        Raises:
            InputError: It cannot be used.
            ConfigurationError: An unknown option, or a malformed value of one.
        """
        conclude, reading = self._split(options)
        self._check_request(self.predict, reading)
        return self._one(source, conclude, **reading)

    def predict_many(
        self, sources: Iterable[Any], *, batch_size: int = 8, workers: int = 2, keep: bool = False, **options: Any
    ) -> Iterator[Any]:
        """Judge many sources, lazily, in order, in constant memory.

        Args:
            sources: Any iterable of what :meth:`take` takes.
            batch_size: Sources that the networks look at together.
            workers: Threads that read ahead; 0 reads in the calling thread.
            keep: Keep pixels in the results.
            **options: Those of :meth:`take` and of :meth:`concluding`, of all sources.

        Yields:
            One result per source, or a :class:`Failure` for one that cannot be used.

        Raises:
            ConfigurationError: One source instead of several, an unknown option, or a number out of range.
        """
        conclude, reading = self._split(options)
        self._check_request(self.predict_many, reading)
        last = conclude if keep else lambda found: conclude(found).drop_pixels()
        return self._many(sources, last, batch_size=batch_size, workers=workers, **reading)

    def _split(self, options: Mapping[str, Any]) -> tuple[Callable[[E], Any], dict[str, Any]]:
        """The last step with its options, and the others."""
        own = _keywords(self.concluding)
        conclude = self.concluding(**{name: value for name, value in options.items() if name in own})
        return conclude, {name: value for name, value in options.items() if name not in own}

    def _one(self, source: Any, conclude: Callable[[E], R], **reading: Any) -> R:
        """Take one film through all steps.

        Raises:
            FractureError: Anything that is wrong with the film.
        """
        start = time.perf_counter()
        with unforeseen(source_name(source)):
            (found,) = self.examine([self._taken(source, **reading)])
            return replace(conclude(found), seconds=time.perf_counter() - start)

    def _many(
        self,
        sources: Iterable[Any],
        conclude: Callable[[E], R],
        *,
        batch_size: int,
        workers: int,
        **reading: Any,
    ) -> Iterator[R | Failure]:
        """Take many films through all steps, lazily, in order, in constant memory; the request is checked at the call.

        Args:
            sources: Any iterable of what :meth:`take` takes.
            conclude: The last step, from what the networks said to the result.
            batch_size: Films that the networks look at together.
            workers: Threads that read ahead; 0 reads in the calling thread.
            **reading: Options of :meth:`take`.

        Raises:
            ConfigurationError: One source instead of several, or a number out of range.
        """
        single = isinstance(sources, _SINGLE) or hasattr(sources, "read")  # a file would be taken for its lines
        single |= isinstance(sources, np.ndarray) and sources.ndim <= self.single_dims
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
        sources: Iterator[Any],
        conclude: Callable[[E], R],
        batch_size: int,
        workers: int,
        reading: Mapping[str, Any],
    ) -> Iterator[R | Failure]:
        raised: list[Exception] = []

        def source_by_source() -> Iterator[Any]:
            try:
                yield from sources
            except Exception as error:  # noqa: BLE001 - the caller's own; raised again below
                raised.append(error)

        prepare = functools.partial(_tried, self._taken, **reading)
        for batch in _batches(ahead(source_by_source(), prepare, workers, 2 * batch_size + workers), batch_size):
            films = [film for film in batch if isinstance(film, Taken)]
            found = dict(zip(map(id, films), self._examined(films), strict=True))
            for film in batch:
                yield film if isinstance(film, Failure) else _concluded(found.pop(id(film)), conclude)
        if raised:
            raise raised[0]

    def _taken(self, source: Any, **reading: Any) -> Taken[S, P]:
        """Read and prepare one source, and check whether it is what it should be.

        Raises:
            InputError: It cannot be used.
        """
        start = time.perf_counter()
        with unforeseen(source_name(source), quote=False):
            record = self.take(source, **reading)
        with unforeseen(record.source):
            inputs = self.prepare(record)
            warnings = self.check(record, inputs)
        return Taken(record, inputs, warnings, time.perf_counter() - start)

    def _check_request(self, method: Callable[..., Any], reading: Mapping[str, Any]) -> object:
        """Refuse what :meth:`take` does not know, at the call.

        Raises:
            ConfigurationError: An unknown option.
        """
        check_options(method, reading, [*_keywords(self.take), *_keywords(self.concluding)])
        return None

    def _examined(self, films: Sequence[Taken[S, P]]) -> list[E | Failure]:
        """What is known of each film once the networks have run, those of one shape together."""
        found: dict[int, E | Failure] = {}
        for group in shape_groups([film.inputs for film in films]):
            found.update(zip(group, self._together([films[i] for i in group]), strict=True))
        return [found[index] for index in range(len(films))]

    def _together(self, films: Sequence[Taken[S, P]]) -> list[E | Failure]:
        start = time.perf_counter()
        try:
            with unforeseen(films[0].record.source):
                outputs = self.examine(films)
        except FractureError as error:
            if len(films) > 1:  # one film's fault is not its neighbors'
                return [self._together([film])[0] for film in films]
            return [Failure.of(films[0].record.source, error, films[0].seconds + time.perf_counter() - start)]
        share = (time.perf_counter() - start) / len(films)
        return [replace(out, seconds=film.seconds + share) for film, out in zip(films, outputs, strict=True)]


class FilmReader(ReaderBase[Radiograph, F, E]):
    """A reader of films: what :func:`fracture.read` takes, with its options and regions.

    Attributes:
        tree: The regions known.
    """

    tree: RegionTree = DEFAULT_TREE

    def take(self, source: Source, **reading: Any) -> Radiograph:
        """Read one film; see :func:`fracture.read`."""
        return read(source, tree=self.tree, **reading)

    def stated(self, film: Radiograph) -> dict[str, Any]:
        """The fields that results of films have, of a reader with a ``card``; see ``FilmResult``."""
        card: Any = getattr(self, "card")  # noqa: B009 - a wing's own
        return {
            "source": film.source,
            "width": film.width,
            "height": film.height,
            "model": card.name,
            "model_version": card.version,
            "weights_checksum": card.checksum,
            "radiograph": film,
        }

    def check(self, radiograph: Radiograph, inputs: F, /) -> tuple[str, ...]:
        """What the pixels say against a musculoskeletal radiograph, as warnings; see :func:`check_pixels`."""
        return check_pixels(radiograph, inputs.crop)

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
        check_options(method, reading, [*_READING, *_keywords(self.concluding)])
        # Reading a film that is one already only looks at the options.
        return read(_BLANK, region=region, tree=self.tree, **reading).regions


def check_options(function: Callable[..., Any], reading: Mapping[str, Any], known: Sequence[str] = _READING) -> None:
    """Refuse options that a function would hand on to one that does not know them.

    Args:
        function: What was called; its own keyword parameters are among what is allowed.
        reading: What it was given beyond them.
        known: What may be handed on; the options of :func:`fracture.read` where left out.

    Raises:
        ConfigurationError: An unknown option; it names the one that was meant, as far as that can be guessed.
    """
    if not (unknown := sorted(set(reading) - set(known))):
        return
    allowed = sorted({*_keywords(function), *known})
    hint = meant(unknown[0], allowed)
    raise ConfigurationError("unknown options", got=", ".join(unknown), allowed=allowed, hint=hint)


def shape_groups(films: Iterable[Inputs | NDArray[Any]]) -> list[list[int]]:
    """Indices of films grouped by shape, groups in order of first appearance; ``films`` have any shape and dtype."""
    groups: dict[object, list[int]] = {}
    for index, film in enumerate(films):
        groups.setdefault(film.shape if isinstance(film, np.ndarray) else film.shape_key, []).append(index)
    return list(groups.values())


def kept_readers(load: Callable[..., Q]) -> Callable[..., Q]:
    """Readers that are loaded once and kept, two of them: what a wing's ``predict`` without a reader uses.

    Args:
        load: As a reader's ``load``.

    Returns:
        A function of weights (a name, a folder, or None), ``device`` and ``precision``.
    """

    @functools.lru_cache(maxsize=2)
    def opened(weights: str | None, device: str, precision: str) -> Q:
        return load(weights, device=device, precision=precision)

    def reader(weights: str | os.PathLike[str] | None, device: str = "auto", precision: str = "auto") -> Q:
        return opened(None if weights is None else os.fspath(weights), device, precision)

    return reader


def _keywords(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]


_BLANK = Radiograph(np.zeros((1, 1), np.float32))


def _as_it_is(found: A) -> A:
    return found


def _tried(film: Callable[..., Taken[S, P]], source: Any, **reading: Any) -> Taken[S, P] | Failure:
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
