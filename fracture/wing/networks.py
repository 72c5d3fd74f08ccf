"""From weights to their reader, from the reader to its self-test, and from a run to weights: readers made of networks.

A wing says which networks its card names, how each is built, and which stage of a run each comes from.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar

import torch

from fracture.models.devices import Precision, resolve_device
from fracture.models.persistence import filled
from fracture.wing.assembly import Stages, assemble_card, network_of
from fracture.wing.card import WeightFile
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import make_runner, resolve_engine
from fracture.wing.reader import Inputs, ReaderBase, Record, Timed
from fracture.wing.runner import Runner
from fracture.wing.store import Store, Weights
from fracture.wing.verification import compare_tests

if TYPE_CHECKING:
    from numpy.typing import NDArray

S = TypeVar("S", bound=Record)
P = TypeVar("P", bound="Inputs | NDArray[Any]")
E = TypeVar("E", bound=Timed)
Fields: TypeAlias = Mapping[str, "str | Mapping[str, str]"]
"""Which stage of a run each field of a card is of; a field may hold several networks by name."""


class NetworkReader(ReaderBase[S, P, E]):
    """A reader of what networks say; :attr:`runners` run them.

    Args:
        card: Of the weights.
        *networks: In the order of :meth:`networks_of`; the last ones may be missing. One that has a module
            ``lowered`` runs only that in ``dtype``, and all else in float32.
        device: Where they run.
        dtype: Their precision.
        engine: What runs them; see :mod:`fracture.wing.engines`.
    """

    store: ClassVar[Store[Any]]
    purpose: ClassVar[str]
    """The card's ``intended_use`` where nothing else is said."""
    float32: ClassVar[bool] = False
    """Whether the networks run in float32 whatever precision is asked for."""
    layout: ClassVar[torch.memory_format] = torch.preserve_format

    def __init__(
        self, card: Any, *networks: Any, device: torch.device, dtype: torch.dtype = torch.float32,
        engine: Engine = "torch",
    ) -> None:  # fmt: skip
        self.card, self.device, self.dtype = card, device, dtype
        files = [part.file for part, _ in self.networks_of(card)]
        runners: list[Runner] = []
        for k, network in enumerate(networks):
            ready, name = network.eval().to(device), PurePath(files[k]).stem if k < len(files) else ""
            getattr(ready, "lowered", ready).to(dtype)
            if self.layout is not torch.preserve_format:
                ready = ready.to(memory_format=self.layout)
            call = getattr(ready, "packed", ready)  # what shapes do not depend on, where forward is not that
            runners.append(make_runner(call, device=device, dtype=dtype, engine=engine, name=name))
        self.runners = tuple(runners)

    @classmethod
    @abstractmethod
    def networks_of(cls, card: Any) -> Sequence[tuple[WeightFile, Callable[[], Any]]]:
        """The networks that a card names, in the order in which the reader takes them, and what builds each."""

    @classmethod
    @abstractmethod
    def fields_of(cls, run: Path) -> Fields:
        """The card's networks as a finished run has them: what is missing and may be is left out."""

    @classmethod
    def described(cls, stages: Stages, run: Path) -> Mapping[str, Any]:
        """Further fields of a new card, from what a run says of each stage; none where not overridden.

        Args:
            stages: What the run says of each network.
            run: Its folder.
        """
        del stages, run
        return {}

    @abstractmethod
    def self_test(self) -> Any:
        """What the networks say of inputs made of formulas, which never change: the card's ``self_test``."""

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        engine: Engine = "auto",
    ) -> Self:
        """Load a reader from shipped networks or a folder; nothing is fetched.

        Args:
            name_or_path: Name of a shipped set, or a folder with a card and its safetensors files.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
            precision: As for :func:`fracture.load`; not used by networks that run in float32 alone.
            engine: As for :func:`fracture.load`.

        Raises:
            WeightsNotFoundError: No such set.
            CardError: The card does not follow the schema.
            WeightsIntegrityError: A weight file is not what its card describes.
            ConfigurationError: An unknown device, precision or engine.
        """
        return cls.opened(cls.store.open(name_or_path), device=device, precision=precision, engine=engine)

    @classmethod
    def opened(
        cls, weights: Weights[Any], *, device: str = "auto", precision: Precision = "auto", engine: Engine = "auto"
    ) -> Self:
        """A reader from opened weights; options as for :func:`fracture.load`.

        Raises:
            WeightsError: They cannot be used.
            ConfigurationError: No such device, precision or engine.
        """
        where, card = resolve_device(device), weights.card
        engine, dtype = resolve_engine(
            engine, checksum=card.checksum, device=where, precision=precision, float32=cls.float32
        )
        made = [
            filled(build, weights.tensors(part), source=str(weights.folder / part.file))
            for part, build in cls.networks_of(card)
        ]
        return cls(card, *made, device=where, dtype=dtype, engine=engine)

    @classmethod
    def tested(cls, weights: Weights[Any]) -> Any:
        """The self-test of weights, by torch in float32 on the CPU."""
        return cls.opened(weights, device="cpu", precision="float32", engine="torch").self_test()

    @classmethod
    def verified(cls, weights: Weights[Any]) -> Iterator[str]:
        """For ``fracture verify``."""
        reader = cls.opened(weights, device="cpu", precision="float32", engine="torch")
        yield "networks built and filled"
        expected = weights.card.self_test
        # Without one nothing runs here: an export is what the self-test runs, and has nothing to compare with.
        yield "self-test: the card states none" if expected is None else compare_tests(reader.self_test(), expected)

    @classmethod
    def assemble(cls, run: str | Path, out: str | Path, facts: Mapping[str, Any] | None = None) -> Any:
        """Make a folder of weights with a card out of a finished run.

        Args:
            run: Run folder; a network that the card can be without may be missing.
            out: The folder to write, which :func:`fracture.wing.contract.load_reader` opens.
            facts: Fields of the card to set: ``name``, ``version``, ``description``, ``license``, ``attribution``,
                ``intended_use``, ``limitations``, ``data``, ``metrics``, and the wing's own.

        Returns:
            The card, as written.

        Raises:
            DataError, CardError, ConfigurationError: As for :func:`fracture.wing.assembly.assemble_card`.
        """
        fields = cls.fields_of(Path(run))
        names = [name for at in fields.values() for name in ([at] if isinstance(at, str) else at.values())]

        def describe(done: Stages) -> Mapping[str, Any]:
            made = {
                field: network_of(done, at)
                if isinstance(at, str)
                else {key: network_of(done, stage) for key, stage in at.items()}
                for field, at in fields.items()
            }
            use = {"name": cls.store.default.partition("-")[0], "intended_use": cls.purpose}
            return {**use, **made, **cls.described(done, Path(run))}

        return assemble_card(cls.store, run, out, names, describe, facts, cls.tested)
