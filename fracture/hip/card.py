"""The card of a pair of hip networks: everything about them that is no tensor.

``weights/<name>/hip_card.json`` stands beside two safetensors files. The file's name differs from the detector's card,
so that neither is taken for the other. An unknown key is an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fracture.card import FileName, Sha256, _Strict
from fracture.errors import CardError, FractureError
from fracture.hip.classes import CLASSES
from fracture.hip.crops import CropSpec
from fracture.hip.localizer import NMS_IOU, Rules
from fracture.hip.spec import ClassifierSpec, LocalizerSpec
from fracture.preprocess.spec import PreprocessSpec

__all__ = ["CARD_FILE", "ClassCard", "ClassifierCard", "HipCard", "LocalizerCard", "RulesCard", "Threshold"]

CARD_FILE = "hip_card.json"
CARD_VERSION = 1
_LARGEST_CARD = 4 * 2**20  # bytes


class RulesCard(_Strict):
    """The fields of :class:`fracture.hip.localizer.Rules`."""

    score: float = Field(default=0.3, ge=0, le=1)
    iou: float = Field(default=NMS_IOU, ge=0, le=1)
    overlap: float = Field(default=0.4, ge=0, le=1)
    least_area: float = Field(default=0.004, ge=0, le=1)
    most_area: float = Field(default=0.9, ge=0, le=1)
    least_visible: float = Field(default=0.4, ge=0, le=1)

    def rules(self) -> Rules:
        """The rules."""
        return Rules(**self.model_dump())


class _Stage(_Strict):
    file: FileName
    sha256: Sha256
    model: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)


class LocalizerCard(_Stage):
    """Stage one: its network, what it is fed, which of its boxes are hips."""

    preprocess: dict[str, Any]
    rules: RulesCard = RulesCard()

    @property
    def model_spec(self) -> LocalizerSpec:
        """The network's specification."""
        return LocalizerSpec.from_dict(self.model)

    @property
    def preprocess_spec(self) -> PreprocessSpec:
        """What it is fed, before the plane is made three."""
        return PreprocessSpec.from_dict(self.preprocess)


class ClassifierCard(_Stage):
    """Stage two: its network and how hips are cut out for it."""

    crop: dict[str, Any]
    classes: tuple[str, ...] = CLASSES

    @field_validator("classes")
    @classmethod
    def _six(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != CLASSES:
            raise ValueError(f"must be {', '.join(CLASSES)}, in this order")
        return value

    @property
    def model_spec(self) -> ClassifierSpec:
        """The network's specification."""
        return ClassifierSpec.from_dict(self.model)

    @property
    def crop_spec(self) -> CropSpec:
        """How hips are cut out."""
        return CropSpec.from_dict(self.crop)


class Threshold(_Strict):
    """A threshold and where it comes from; reached at value >= threshold."""

    threshold: float = Field(ge=0, le=1)
    method: str
    data: str = ""
    positives: int = Field(default=0, ge=0)
    negatives: int = Field(default=0, ge=0)
    sensitivity: float | None = Field(default=None, ge=0, le=1)
    specificity: float | None = Field(default=None, ge=0, le=1)
    date: str = ""


class ClassCard(_Strict):
    """On what one class was trained and measured, for people."""

    trained_on: str
    measured_on: str = ""


class HipTest(_Strict):
    """What the networks say in float32 about the self-test film's whole area taken as a right hip's box."""

    probabilities: tuple[float, ...] = Field(min_length=6, max_length=6)
    best_score: float = Field(ge=0, le=1)
    tolerance: float = Field(default=0.01, gt=0)


class HipCard(_Strict):
    """The specification record of a pair of hip networks."""

    format: Literal["fracture-hip-card"] = "fracture-hip-card"
    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str
    created: str
    description: str
    license: str
    attribution: tuple[str, ...]
    intended_use: str
    limitations: tuple[str, ...]
    localizer: LocalizerCard
    classifier: ClassifierCard
    fracture: Threshold
    advise_imaging: Threshold | None = None
    classes: dict[str, ClassCard] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    self_test: HipTest | None = None

    @model_validator(mode="after")
    def _consistent(self) -> HipCard:
        if self.localizer.file == self.classifier.file:
            raise ValueError("both stages name the same file")
        if unknown := sorted(set(self.classes) - set(CLASSES)):
            raise ValueError(f"no such classes: {', '.join(unknown)}")
        return self

    @property
    def label(self) -> str:
        """Name and version, as a result quotes them."""
        return f"{self.name} {self.version}"

    @classmethod
    def read(cls, folder: Path) -> HipCard:
        """Read ``folder/hip_card.json``.

        Raises:
            CardError: No card, no JSON, or not what the schema asks for; the message names every fault.
        """
        path = folder / CARD_FILE
        try:
            if path.stat().st_size > _LARGEST_CARD:
                raise CardError(f"{path} is too large for a card", allowed=f"{_LARGEST_CARD} bytes")
            text = path.read_text(encoding="utf-8")
            document = json.loads(text)
        except FileNotFoundError:
            raise CardError(
                f"{folder} holds no {CARD_FILE}", hint="pass the folder of a pair of hip networks"
            ) from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise CardError(f"{path} cannot be read as JSON", got=type(error).__name__) from error
        if isinstance(document, dict) and document.get("format_version", CARD_VERSION) != CARD_VERSION:
            raise CardError(
                f"{path} is a card of another format version",
                got=document.get("format_version"),
                allowed=CARD_VERSION,
                hint="install the version of fracture that wrote it",
            )
        try:
            card = cls.model_validate_json(text)
            _ = (card.localizer.model_spec, card.localizer.preprocess_spec)
            _ = (card.classifier.model_spec, card.classifier.crop_spec)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc']) or 'card'}: {fault['msg']}" for fault in error.errors()
            )
            raise CardError(f"{path} does not follow the card's schema", got=faults) from error
        except FractureError as error:
            raise CardError(f"{path}: {error}") from error
        return card

    def write(self, folder: Path) -> Path:
        """Write ``folder/hip_card.json`` atomically and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path, draft = folder / CARD_FILE, folder / (CARD_FILE + ".part")
        draft.write_text(
            json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        draft.replace(path)
        return path
