"""What a result is that can be stored in the film's study: every wing's result derives from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from fracture.errors import ConfigurationError
from fracture.io.reading import read
from fracture.results.kinds import DEFAULT
from fracture.wing.result import ResultBase, known_fields, plain_number
from fracture.wing.scene import as_gray

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fracture.io.radiograph import Radiograph
    from fracture.results.header import HeaderSource
    from fracture.results.labels import LabelMap


class Filmed(NamedTuple):
    """A result as its DICOM objects show it.

    Attributes:
        result: In pixels of the film, which its ``scene`` shows.
        film: That film.
        source: The film's file, its content, or its header; None where only its path is known.
        frame: The frame of it, from 0; None of a film of one frame.
    """

    result: Any
    film: Radiograph
    source: HeaderSource | None
    frame: int | None


class DicomResult(ResultBase):
    """A result with :meth:`to_dicom`; a wing gives ``to_dict``, ``read``, ``scene`` and the film as ``radiograph``.

    Attributes:
        _command: What writes its lines, for an error.
    """

    __slots__ = ()
    _command: ClassVar[str] = "predict"

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> Self:
        """A result from its JSON line; pixels are not in it.

        Raises:
            ConfigurationError: It is no line of a source that was read.
        """
        try:
            return cls(**known_fields(cls, line) | cls.read(line))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"no line of fracture {cls._command}", got=error) from error

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that are not as the line has them; none where not overridden."""
        del line
        return {}

    @property
    def mapped(self) -> bool:
        """Whether it holds what ``"seg"`` is made of."""
        return getattr(self, "probability_map", None) is not None

    def label_map(self) -> LabelMap | None:
        """Labels on the frames of its series; None of a result that has none."""
        return None

    def to_dicom(self, objects: Sequence[str] = DEFAULT, **options: Any) -> list[Dataset]:
        """DICOM objects in the study of the film; see :func:`fracture.results.to_dicom` for options and errors.

        Args:
            objects: Of ``"sr"``, ``"sc"``, ``"gsps"``, ``"seg"``, ``"ko"``.
            **options: ``source``, ``frame``, ``previous``, ``new_study``, ``comprehensive_3d``.
        """
        from fracture.results.objects import to_dicom

        return to_dicom(self, objects, **options)

    def filmed(self, source: HeaderSource | None, frame: int | None) -> Filmed:
        """The result with its film, which is read again where it holds none.

        Args:
            source: The film's file, its bytes, or data set; None: the path that was predicted.
            frame: As for ``fracture.read``.

        Raises:
            ConfigurationError: The film is not known.
            FractureError: It cannot be read any more.
        """
        film: Radiograph | None = getattr(self, "radiograph", None)
        if film is not None:
            return Filmed(self, film, source, film.frame if frame is None else frame)
        film = read(self.header_of(source), frame=frame, allow=("*",))
        changed: Any = {"radiograph": film}
        return Filmed(replace(self, **changed), film, source, film.frame if frame is None else frame)  # type: ignore[type-var]

    def header_of(self, source: HeaderSource | None) -> HeaderSource:
        """Where the film's header is.

        Raises:
            ConfigurationError: The film came without a file, and none is given.
        """
        if source is None and self.source.startswith("<"):
            raise ConfigurationError(
                f"{self.source}: the film's header is not known",
                hint="give source= the file or data set, or make a study of its own: new_study=True",
            )
        return self.source if source is None else source


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FilmResult(DicomResult):
    """One film and what was found on it; a wing adds its findings.

    Attributes:
        ok: True: the film was read and judged. ``if result.ok:`` tells a type checker that it is no ``Failure``.
        error: None; a ``Failure`` holds the error.
        source: The film, as the caller gave it.
        width, height: Its size in pixels.
        model, model_version: The weights.
        weights_checksum: SHA-256 of their card, which holds those of their files.
        seconds: Wall time from file to answer.
        warnings: Findings that a user should see.
        radiograph: The film itself, where it was kept.
    """

    ok: ClassVar[Literal[True]] = True
    error: ClassVar[None] = None
    _pixels = ("radiograph",)

    source: str
    width: int
    height: int
    model: str = ""
    model_version: str | None = None
    weights_checksum: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    radiograph: Radiograph | None = field(default=None, repr=False)

    def line(self, **found: Any) -> dict[str, Any]:
        """A JSON line with a wing's findings. Nothing in it stems from the patient's data but the path."""
        return {
            "source": self.source,
            "width": int(self.width),
            "height": int(self.height),
            **found,
            "model": self.model,
            "seconds": plain_number(self.seconds),
            "error": None,
            "model_version": self.model_version,
            "warnings": list(self.warnings),
            "weights_checksum": self.weights_checksum,
        }


def kept_pixels(source: str, film: Radiograph | None) -> NDArray[np.uint8]:
    """A film's pixels for a page.

    Raises:
        ConfigurationError: The film was dropped.
    """
    if film is None:
        raise ConfigurationError(f"{source}: this result does not hold its film", hint="predict with keep=True")
    return as_gray(film.pixels)
