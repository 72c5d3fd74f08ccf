"""What a wing is, and which there are: limbs and hips from here, others from any package that is installed.

A wing is registered by an entry point of the group ``fracture.wings`` that names a :class:`Wing`; limb and hip are so,
too. One that cannot be imported, or is not what it should be, is :class:`Broken`: it is named, and the others go on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable
from warnings import warn

from fracture.errors import ConfigurationError, FractureError, WeightsNotFoundError
from fracture.wing.store import C, Store, Weights

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path

    from fracture.wing.result import Failure
    from fracture.wing.scene import Scene

__all__ = [
    "BUILT_IN",
    "GROUP",
    "Broken",
    "BrokenWingWarning",
    "Reader",
    "Result",
    "Wing",
    "find_wing",
    "load_reader",
    "reader_wing",
    "registered",
]

GROUP = "fracture.wings"
BUILT_IN = {
    "limb": "fracture.limb.wing:WING",
    "hip": "fracture.hip.wing:WING",
    "lumbar": "fracture.spine.lumbar.wing:WING",
    "cervical": "fracture.spine.cervical.wing:WING",
    "joints": "fracture.joints.wing:WING",
}
"""Our own entry points, as ``setup.cfg`` states them; a source tree that was never installed has no others."""

R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Result(Protocol):
    """What a reader says of one source. :class:`fracture.wing.result.ResultBase` has most of it."""

    @property
    def ok(self) -> bool:
        """True; a ``Failure`` says False."""

    @property
    def source(self) -> str:
        """The source, as the caller gave it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Findings that a user should see."""

    @property
    def seconds(self) -> float:
        """Wall time from the source to the answer."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values: one line of a run."""

    def scene(self) -> Scene:
        """What there is to see, for the overlay.

        Raises:
            ConfigurationError: The pixels were dropped.
        """

    def drop_pixels(self) -> Result:
        """The same without pixels, for holding many of them."""


class Reader(Protocol[R_co]):
    """What reads sources. :class:`fracture.wing.reader.ReaderBase` has all but the wing's own steps."""

    def predict_many(
        self, sources: Iterable[Any], *, workers: int = 2, keep: bool = False, **reading: Any
    ) -> Iterator[R_co | Failure]:
        """One result per source, lazily and in order; a source that cannot be used gives a ``Failure``.

        Args:
            sources: Consumed as results are asked for.
            workers: Threads that read ahead.
            keep: Keep pixels and maps in each result.
            **reading: The reader's options.
        """


@dataclass(frozen=True)
class Wing(Generic[C]):
    """What the rest of the library asks of a wing. It imports torch in its functions, not at import.

    Attributes:
        name: As its entry point names it: small letters, digits, ``_`` and ``-``.
        store: Its card's class, the name of its default weights, and where they are.
        reader: Builds a reader from opened weights: ``reader(weights, *, device, precision)``, and ``engine`` where
            its networks run by :func:`fracture.wing.engines.make_runner`. :meth:`open` calls it.
        self_tests: For ``fracture verify``: builds the networks and compares what they say with the card, one line for
            each thing found; raises ``WeightsIntegrityError`` where they differ.
        kind: What its overlays show, the ``_kind`` of its results: one of another kind is not overwritten.
        series: Modalities whose series it reads as a whole, such as ``("MR",)``; empty for a wing that reads films.

    Raises:
        ConfigurationError: One of them is something else.
    """

    name: str
    store: Store[C]
    reader: Callable[..., Reader[Any]]
    self_tests: Callable[[Weights[C]], Iterator[str]]
    kind: str = "film"
    series: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        right = {
            "name": isinstance(self.name, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", self.name) is not None,
            "store": isinstance(self.store, Store),
            "reader": callable(self.reader),
            "self_tests": callable(self.self_tests),
        }
        if wrong := [part for part, well in right.items() if not well]:
            raise ConfigurationError(
                "a wing does not hold the contract",
                got=", ".join(f"{part}={ascii(getattr(self, part))[:80]}" for part in wrong),
                allowed="a short lower-case name, a Store, and two functions",
                hint="docs/extending.md shows a whole wing",
            )

    def open(
        self, weights: Weights[C], *, device: str = "auto", precision: str = "auto", engine: str = "auto"
    ) -> Reader[Any]:
        """A reader of these weights; ``engine`` as for :func:`fracture.load`.

        Raises:
            WeightsError: They cannot be used.
            ConfigurationError: An unknown device, precision or engine, or an engine that this wing does not have.
        """
        options: dict[str, Any] = {"device": device, "precision": precision}
        if "engine" in inspect.signature(self.reader).parameters:
            options["engine"] = engine
        elif engine not in ("auto", "torch"):
            raise ConfigurationError(
                f"the wing {self.name!r} runs on torch only", got=f"engine={engine!r}", allowed=("auto", "torch")
            )
        return self.reader(weights, **options)


def reader_wing(name: str, store: Store[C], reader: str, *, kind: str, series: tuple[str, ...] = ()) -> Wing[C]:
    """A wing whose reader is a :class:`fracture.wing.networks.NetworkReader`; it is imported when it is used.

    Args:
        name, store, kind, series: As of :class:`Wing`.
        reader: ``"module:class"``.
    """

    def found() -> Any:
        module, _, class_name = reader.partition(":")
        return getattr(import_module(module), class_name)

    def opened(weights: Weights[C], *, engine: str = "auto", **options: Any) -> Reader[Any]:
        made: Reader[Any] = found().opened(weights, engine=engine, **options)
        return made

    def self_tests(weights: Weights[C]) -> Iterator[str]:
        yield from found().verified(weights)

    return Wing(name, store, opened, self_tests, kind=kind, series=series)


@dataclass(frozen=True, slots=True)
class Broken:
    """A registered wing that cannot be used.

    Attributes:
        name: Of its entry point.
        target: What the entry point names, such as ``"knee.wing:WING"``.
        reason: Why it cannot be used.
    """

    name: str
    target: str
    reason: str

    def __str__(self) -> str:
        return f"the wing {self.name!r} ({self.target}) cannot be used: {self.reason}"


class BrokenWingWarning(UserWarning):
    """An installed wing cannot be used; the others go on."""


def registered() -> tuple[tuple[Wing[Any], ...], tuple[Broken, ...]]:
    """The wings, ours first and the others by name, and those that cannot be used."""
    found = {(entry.name, entry.value): entry for entry in entry_points(group=GROUP)}
    ours = [EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()]
    others = [found[key] for key in sorted(found) if key not in BUILT_IN.items()]
    wings: list[Wing[Any]] = []
    broken: list[Broken] = []
    for entry in [*ours, *others]:
        try:
            wings.append(_opened(entry, wings))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - another package's; whatever it raises, we continue
            reason = str(error) if isinstance(error, FractureError) else f"{type(error).__name__}: {error}"
            broken.append(Broken(entry.name, entry.value, reason))
    return tuple(wings), tuple(broken)


def find_wing(name_or_path: str | os.PathLike[str]) -> tuple[Wing[Any], Path]:
    """The wing that a set of weights is of, and the folder of the set.

    Raises:
        WeightsNotFoundError: No wing has weights of that name, nor a card at that path.
    """
    wings, broken = registered()
    for wing in wings:
        if (folder := wing.store.locate(name_or_path)) is not None:
            return wing, folder
    cards = f"pass a name, or a folder that holds {' or '.join(wing.store.card.FILE for wing in wings)}"
    raise WeightsNotFoundError(
        "no weights of that name, and no folder with a card at that path",
        got=ascii(str(name_or_path)),
        allowed=sorted(name for wing in wings for name in wing.store.available()),
        hint="; ".join([cards, *map(str, broken)]),
    )


def load_reader(
    name_or_path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto", engine: str = "auto"
) -> Reader[Any]:
    """Open weights of whichever wing they are.

    Args:
        name_or_path: A folder that holds a wing's card, or the name of a shipped set.
        device, precision, engine: As for :func:`fracture.load`.

    Raises:
        WeightsNotFoundError: No wing has weights of that name, nor a card at that path.
        WeightsError: They cannot be used.
        ConfigurationError: An unknown device, precision or engine, or an engine that the wing does not have.

    Warns:
        BrokenWingWarning: An installed wing cannot be used.
    """
    for one in registered()[1]:
        warn(str(one), BrokenWingWarning, stacklevel=2)
    wing, folder = find_wing(name_or_path)
    return wing.open(wing.store.open(folder), device=device, precision=precision, engine=engine)


def _opened(entry: EntryPoint, others: list[Wing[Any]]) -> Wing[Any]:
    wing = entry.load()
    if not isinstance(wing, Wing):
        raise ConfigurationError("its entry point does not name a Wing", got=type(wing).__name__)
    if wing.name != entry.name:
        raise ConfigurationError("its entry point has another name", got=entry.name, allowed=wing.name)
    for other in others:
        if wing.name == other.name or wing.store.card.FILE == other.store.card.FILE:
            raise ConfigurationError(
                f"its name or the name of its card is taken by {other.name!r}",
                got=f"{wing.name}, {wing.store.card.FILE}",
            )
    return wing
