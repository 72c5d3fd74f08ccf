"""From a study to the series that is taken, and why, and from weights to their reader: what both spine wings do alike.

A wing says what its networks are, which series it prefers, and what it makes of one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch

from fracture.errors import NotARadiographError, SeriesError
from fracture.io.ahead import source_name
from fracture.spine.frame import frame_of
from fracture.spine.kinds import Kind
from fracture.spine.planes import Plane, oriented
from fracture.spine.result import SpineResult
from fracture.spine.series import Found, Stack, find_series
from fracture.wing.card import WeightFile
from fracture.wing.engine_choice import Engine
from fracture.wing.networks import NetworkReader
from fracture.wing.reader import Inputs
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


class SeriesReader(NetworkReader[T, P, R]):
    """Reads studies (folders), series, NIfTI files, and volumes: the first network finds the spine's parts, the second,
    if there is one, judges them."""

    record: ClassVar[type[Any]] = SpineSeries
    networks: ClassVar[Mapping[str, tuple[str, Callable[[Any], Any]]]]
    """By the card's field, the finder first: the run's stage that it comes from, and what builds it by its model."""
    wanted: ClassVar[Wanted]

    def __init__(self, card: Any, *networks: Any, device: torch.device, dtype: torch.dtype, engine: Engine = "torch"):
        super().__init__(card, *networks, device=device, dtype=dtype, engine=engine)
        self.finder = self.runners[0]
        self.judge: Any = self.runners[1] if len(self.runners) > 1 else None

    @classmethod
    def networks_of(cls, card: Any) -> list[tuple[WeightFile, Callable[[], Any]]]:
        """Those of the fields that are not None."""
        parts = [(getattr(card, field), build) for field, (_, build) in cls.networks.items()]
        return [(part, functools.partial(build, part.model)) for part, build in parts if part is not None]

    @classmethod
    def fields_of(cls, run: Path) -> Mapping[str, str]:
        """Those that the card needs, and others that the run has."""
        needed = {field for field, info in cls.store.card.model_fields.items() if info.is_required()}
        stages = {field: stage for field, (stage, _) in cls.networks.items()}
        return {f: stage for f, stage in stages.items() if f in needed or Path(run, f"{stage}.json").exists()}

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
