"""The card beside a wing's weights: everything about them that is not a tensor, and how it is read and written.

A wing subclasses :class:`BaseCard`, names its file and its ``format``, and adds its fields. At every depth an unknown
key, a wrong type, a value out of range or a NaN is an error, not a note, so that a misspelt threshold cannot be
silently ignored. Only what is for people (``data``, ``metrics``, a network's ``training``) takes any JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fracture.atomic import write_text
from fracture.errors import CardError
from fracture.schema import STRICT, WHOLE, JsonObject, Line, Name, Share, faults_of, read_json

_VERSION = 1
_LARGEST = 4 * 2**20  # bytes; a card is text that people read


def _inside_the_folder(value: str) -> str:
    path = PurePosixPath(value)
    if len(path.parts) != 1 or "\\" in value or path.suffix != ".safetensors" or not value.isprintable():
        raise ValueError("must be the plain name of a .safetensors file in the card's own folder")
    return value


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(max_length=200), AfterValidator(_inside_the_folder)]
Lines = Annotated[tuple[Line, ...], Field(max_length=256, strict=False)]
Tolerance = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A part of a card: frozen, unknown keys and wrong types refused, no NaN."""

    model_config = ConfigDict(frozen=True, **STRICT)


M = TypeVar("M", bound=Section)


class WeightFile(Section):
    """A safetensors file of the card's folder."""

    file: FileName
    sha256: Sha256


class NetworkFile(WeightFile, Generic[M]):
    """A network: its file, what it is, and how it was trained."""

    model: M
    training: JsonObject = Field(default_factory=dict)


class PartCard(Section):
    """On what a part of the answer, such as a class, was trained and measured, for people."""

    trained_on: Line
    measured_on: Line = ""


class SelfTest(Section):
    """The probability that the networks give in float32 for the wing's fixed input; see ``fracture verify``."""

    probability: Share
    tolerance: Tolerance = 0.01


class BaseCard(Section):
    """What the card of any wing says."""

    FILE: ClassVar[str]
    """Name of the card's file, one per wing, so that none is taken for another's."""

    format: str
    format_version: Annotated[Literal[1], WHOLE] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: Name
    created: Annotated[str, Field(max_length=64)]
    description: Line
    license: Line
    attribution: Lines
    intended_use: Line
    limitations: Lines

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({part.file for part in self.files}) != len(self.files):
            raise ValueError("two networks name the same file")
        return self

    @property
    def label(self) -> str:
        """Name and version, as a result quotes them."""
        return f"{self.name} {self.version}"

    @property
    def files(self) -> Sequence[WeightFile]:
        """Every file that the card describes: its fields that are one, or that hold some in order or by name."""
        fields = [getattr(self, name) for name in type(self).model_fields]
        held = [list(one.values()) if isinstance(one, dict) else one for one in fields]
        parts = [part for one in held for part in (one if isinstance(one, list | tuple) else (one,))]
        return [part for part in parts if isinstance(part, WeightFile)]

    @property
    def checksum(self) -> str:
        """SHA-256 of all that the card says, the checksums of its files among it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @classmethod
    def parse(cls, document: object, source: str) -> Self:
        """A card from JSON values.

        Raises:
            CardError: Of another version, or not what the schema asks for; the message names every fault.
        """
        if isinstance(document, dict) and document.get("format_version", _VERSION) != _VERSION:
            raise CardError(
                f"{source} is a card of another format version",
                got=document.get("format_version"),
                allowed=_VERSION,
                hint="install the version of fracture that wrote it",
            )
        try:
            return cls.model_validate_json(json.dumps(document))
        except ValidationError as error:
            raise CardError(f"{source} does not follow the card's schema", got=faults_of(error)) from error
        except (TypeError, ValueError) as error:
            raise CardError(f"{source} holds what JSON does not", got=error) from error

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the card in a folder.

        Raises:
            CardError: No card, no JSON, or not what the schema asks for; the message names every fault.
        """
        path = folder / cls.FILE
        return cls.parse(read_json(path, limit=_LARGEST, error=CardError), str(path))

    def write(self, folder: Path) -> Path:
        """Write the card atomically and return its path.

        Raises:
            OutputError: It cannot be written.
        """
        path = folder / self.FILE
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
        return path
