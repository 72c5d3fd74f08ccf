"""From a study to the series that is taken, and why, and from weights to their reader: what both spine wings do alike.

A wing says what its networks are, which series it prefers, and what it makes of one.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch

from fracture.errors import NotARadiographError, SeriesError
from fracture.io.ahead import source_name
from fracture.models.devices import Precision, resolve_device
from fracture.models.persistence import filled
from fracture.spine.card import ScoreTest
from fracture.spine.frame import frame_of
from fracture.spine.kinds import Kind
from fracture.spine.planes import Plane, oriented
from fracture.spine.result import SpineResult
from fracture.spine.series import Found, Stack, find_series
from fracture.wing.assembly import Stages, assemble_card, network_of
from fracture.wing.engine_choice import Engine
from fracture.wing.engines import make_runner, resolve_engine
from fracture.wing.reader import Inputs, ReaderBase
from fracture.wing.runner import Runner
from fracture.wing.store import Store, Weights
from fracture.wing.verification import compare
from fracture.wing.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SpineSeries:
    """What is read of one spine.

    Attributes:
        source: What results call it.
        volume: In the wing's plane.
        series, reason: What was taken, and why.
        stack: What it was read from; None of a picture or a volume that was given.
        placed: Whether it lies in the patient; a picture, a volume of one slice, does not.
        warnings: What a user should see.
    """

    source: str
    volume: Volume
    series: str
    reason: str
    stack: Stack | None = None
    placed: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which series a wing takes.

    Attributes:
        modality, plane: Of them.
        order: What fits best goes first: whether a kind does, and what the reason then says.
        nifti: What it says of a NIfTI file, which comes last.
        hint: Where there is none.
        turned: Whether DICOM series of another plane are turned into this one; NIfTI files always are.
    """

    modality: str
    plane: Plane
    order: tuple[tuple[Callable[[Kind], bool], str], ...]
    nifti: str
    hint: str
    turned: bool = True

    def choose(self, found: Found) -> tuple[Stack, str]:
        """The series that is taken, of several that fit alike that of most slices; and why.

        Raises:
            SeriesError: None fits.
        """
        for fits, reason in self.order:
            if fitting := [one for one in found.series if one.kind is not None and fits(one.kind)]:
                more = f", the one of most slices of {len(fitting)}" if len(fitting) > 1 else ""
                told = fitting[0].kind
                how = f" (told by its {told.told_by})" if told is not None and told.told_by else ""
                return fitting[0], f"{reason}{more}{how}"
        if nifti := [one for one in found.series if one.kind is None]:
            return nifti[0], self.nifti
        raise SeriesError(
            f"no {self.plane} {self.modality} series", got="; ".join(map(str, found.series)), hint=self.hint
        )


T = TypeVar("T", bound=SpineSeries)
P = TypeVar("P", bound="Inputs | NDArray[Any]")
R = TypeVar("R", bound=SpineResult)


class SeriesReader(ReaderBase[T, P, R]):
    """Reads studies (folders), series, NIfTI files, and volumes.

    Args:
        card: Of the weights.
        finder: The network that finds the spine's parts.
        judge: What judges them, if there is one.
        device: Where they run.
        dtype: Their precision.
        engine: What runs them; see :mod:`fracture.wing.engines`.
    """

    record: ClassVar[type[Any]] = SpineSeries
    store: ClassVar[Store[Any]]
    networks: ClassVar[Mapping[str, tuple[str, Callable[[Any], Any]]]]
    """By the card's field, the finder first: the run's stage that it comes from, and what builds it by its model."""
    purpose: ClassVar[str]
    wanted: ClassVar[Wanted]

    def __init__(
        self,
        card: Any,
        finder: Any,
        judge: Any = None,
        *,
        device: torch.device,
        dtype: torch.dtype,
        engine: Engine = "torch",
    ) -> None:
        self.card, self.device, self.dtype = card, device, dtype
        files = [part.file for field in self.networks if (part := getattr(card, field)) is not None]
        made = []
        for k, network in enumerate([finder] if judge is None else [finder, judge]):
            ready, name = network.eval().to(device, dtype), PurePath(files[k]).stem if k < len(files) else ""
            call = getattr(ready, "packed", ready)  # what shapes do not depend on, where forward is not that
            made.append(make_runner(call, device=device, dtype=dtype, engine=engine, name=name))
        self.finder: Runner = made[0]
        self.judge: Any = made[1] if judge is not None else None

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
        engine, dtype = resolve_engine(engine, checksum=card.checksum, device=where, precision=precision)
        made = []
        for field, (_, build) in cls.networks.items():
            if (part := getattr(card, field)) is not None:
                made.append(filled(functools.partial(build, part.model), weights.tensors(part), source=part.file))
        return cls(card, *made, device=where, dtype=dtype, engine=engine)

    @abstractmethod
    def self_test(self) -> ScoreTest:
        """What the networks say of inputs made of formulas, which never change."""

    @classmethod
    def verified(cls, weights: Weights[Any]) -> Iterator[str]:
        """For ``fracture verify``."""
        reader, expected = (
            cls.opened(weights, device="cpu", precision="float32", engine="torch"),
            weights.card.self_test,
        )
        yield "networks built and filled"
        if expected is None:
            yield "self-test: the card states none"
            return
        yield compare("self-test", reader.self_test().scores, expected.scores, expected.tolerance)

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
        needed = {field for field, info in cls.store.card.model_fields.items() if info.is_required()}
        stages = {field: stage for field, (stage, _) in cls.networks.items()}
        stages = {f: stage for f, stage in stages.items() if f in needed or Path(run, f"{stage}.json").exists()}

        def describe(done: Stages) -> Mapping[str, Any]:
            use = {"name": cls.store.default.partition("-")[0], "intended_use": cls.purpose}
            return use | {field: network_of(done, stage) for field, stage in stages.items()}

        def test(weights: Weights[Any]) -> ScoreTest:
            return cls.opened(weights, device="cpu", precision="float32", engine="torch").self_test()

        return assemble_card(cls.store, run, out, tuple(stages.values()), describe, facts, test)

    def taken(self, source: Any, number: int | None, kinds: Mapping[str, str] | None = None) -> tuple[T, Found | None]:
        """What is read of a source, and the study that it was found in.

        Args:
            source: A folder with the series of a study, one file or several files of a series, or a ``Volume``.
            number: Which series, as ``fracture.spine.find_series`` counts them; None chooses, see :class:`Wanted`.
            kinds: What series are, by the names of their folders, where the files do not say.

        Raises:
            SeriesError: No series of the wing's kind, or a broken one.
            NotARadiographError: It is of another modality.
            InputError: It cannot be read.
        """
        plane, name = self.wanted.plane, source_name(source)
        if isinstance(source, Volume):
            said: dict[str, Any] = {"series": "the volume that was given", "reason": "it was given"}
            return self.record(
                source=source.source, volume=oriented(source, plane), warnings=source.warnings, **said
            ), None
        found = find_series(source).of_kinds(kinds or {})
        if number is None:
            stack, reason = self.wanted.choose(found)
        else:
            stack, reason = found.one(name, number=number), "it was asked for"
        if stack.kind is not None and stack.kind.modality != self.wanted.modality:
            allowed = self.wanted.modality
            raise NotARadiographError(f"{name}: no {allowed} series", got=str(stack.kind), allowed=allowed)
        read = stack.read()
        volume = oriented(read.volume, plane) if self.wanted.turned or not stack.frames else read.volume
        volume = replace(volume, source=name)
        notes = (*found.warnings, *volume.warnings)
        if read.tilt and self.wanted.modality == "CT":
            notes += (f"the gantry was tilted by {read.tilt:.1f} degrees; that is taken into account",)
        series = "a NIfTI file" if stack.kind is None else str(stack.kind)
        said = {"series": series, "reason": reason, "stack": stack, "warnings": notes}
        return self.record(source=name, volume=volume, **said), found

    def stated(self, record: T, number: int, pixels: NDArray[Any], warnings: Sequence[str]) -> dict[str, Any]:
        """The fields that all results of spines have.

        Args:
            record: What was taken.
            number: The slice that is shown.
            pixels: uint8, of that slice.
            warnings: Beside those of the record.
        """
        return {
            "source": record.source,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "series": record.series,
            "reason": record.reason,
            "slice": (number, len(record.volume.voxels)),
            "model": self.card.name,
            "model_version": self.card.version,
            "weights_checksum": self.card.checksum,
            "warnings": (*record.warnings, *warnings),
            "pixels": pixels,
            "frame": None if record.stack is None else frame_of(record.stack, record.volume, number),
        }
