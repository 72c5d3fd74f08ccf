"""The card of a pair of hip networks: everything about them that is not a tensor.

``weights/<name>/hip_card.json`` stands beside two safetensors files; :mod:`fracture.wing.card` says how strict it is.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fracture.hip.classes import CLASSES
from fracture.hip.crops import CropSpec
from fracture.hip.spec import ClassifierSpec, LocalizerSpec, Rules
from fracture.preprocess.spec import PreprocessSpec
from fracture.schema import JsonObject, Line, Share, spec_of
from fracture.wing.card import BaseCard, PartCard, Section, Tolerance, WeightFile

CARD_FILE = "hip_card.json"
FIXED = "fixed"
"""How the method of a threshold begins that was found on no hip."""


class LocalizerCard(WeightFile):
    """Stage one: its network, what it is fed, which of its boxes are hips."""

    model: Annotated[JsonObject, spec_of(LocalizerSpec)]
    training: JsonObject = Field(default_factory=dict)
    preprocess: Annotated[JsonObject, spec_of(PreprocessSpec)]
    rules: Annotated[JsonObject, spec_of(Rules)] = Rules().to_dict()

    @property
    def model_spec(self) -> LocalizerSpec:
        """The network's specification."""
        return LocalizerSpec.from_dict(self.model)

    @property
    def preprocess_spec(self) -> PreprocessSpec:
        """What it is fed, before the plane is made three."""
        return PreprocessSpec.from_dict(self.preprocess)

    @property
    def chosen_by(self) -> Rules:
        """Which of its boxes are hips."""
        return Rules.from_dict(self.rules)


class ClassifierCard(WeightFile):
    """Stage two: its network and how hips are cut out for it."""

    model: Annotated[JsonObject, spec_of(ClassifierSpec)]
    training: JsonObject = Field(default_factory=dict)
    crop: Annotated[JsonObject, spec_of(CropSpec)]
    classes: tuple[str, ...] = Field(default=CLASSES, strict=False)

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


class Threshold(Section):
    """A threshold and where it comes from; reached at value >= threshold."""

    threshold: Share
    method: Line
    data: Line = ""
    positives: int = Field(default=0, ge=0)
    negatives: int = Field(default=0, ge=0)
    sensitivity: Share | None = None
    specificity: Share | None = None
    date: Line = ""

    @property
    def placeholder(self) -> bool:
        """Whether it was found on no hip."""
        return self.method.startswith(FIXED)


class HipTest(Section):
    """What the networks say in float32 about the self-test film's whole area taken as a right hip's box."""

    probabilities: tuple[Share, ...] = Field(min_length=len(CLASSES), max_length=len(CLASSES), strict=False)
    best_score: Share
    tolerance: Tolerance = 0.01


class HipCard(BaseCard):
    """The specification record of a pair of hip networks."""

    FILE: ClassVar[str] = CARD_FILE

    format: Literal["fracture-hip-card"] = "fracture-hip-card"
    localizer: LocalizerCard
    classifier: ClassifierCard
    fracture: Threshold
    advise_imaging: Threshold | None = None
    classes: dict[str, PartCard] = Field(default_factory=dict)
    data: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    self_test: HipTest | None = None

    @model_validator(mode="after")
    def _consistent(self) -> HipCard:
        if unknown := sorted(set(self.classes) - set(CLASSES)):
            raise ValueError(f"no such classes: {', '.join(unknown)}")
        return self
