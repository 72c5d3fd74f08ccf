"""The card of a set of joint networks: what is not a tensor. :mod:`fracture.wing.card` says how strict it is."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from fracture.joints.layout import HAND
from fracture.schema import JsonObject, Line, Name, Share
from fracture.wing.card import BaseCard, Section, Tolerance, WeightFile
from fracture.wing.store import Store, Weights


class NetworkCard(WeightFile):
    """A network that finds points."""

    training: JsonObject = Field(default_factory=dict)


class ScoreCard(WeightFile):
    """The two networks of a family of joints that score damage, and what they are."""

    model: JsonObject
    training: JsonObject = Field(default_factory=dict)


class PartCard(Section):
    """On what a part of the answer was trained and measured, for people."""

    trained_on: Line
    measured_on: Line = ""


class JointsTest(Section):
    """What the placer says in float32 about the self-test's crop: x and y of a hand's points, as shares of its side."""

    points: tuple[Share, ...] = Field(min_length=2 * len(HAND), max_length=2 * len(HAND), strict=False)
    center: Share
    tolerance: Tolerance = 0.01


class JointsCard(BaseCard):
    """The specification record of joint networks."""

    FILE: ClassVar[str] = "joints_card.json"

    format: Literal["fracture-joints-card"] = "fracture-joints-card"
    finder: NetworkCard
    placer: NetworkCard
    scores: dict[Name, ScoreCard] = Field(default_factory=dict)
    parts: dict[Name, PartCard] = Field(default_factory=dict)
    data: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    self_test: JointsTest | None = None

    @model_validator(mode="after")
    def _consistent(self) -> JointsCard:
        if len({part.file for part in self.files}) != len(self.files):
            raise ValueError("two networks name the same file")
        return self

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Of all networks."""
        return self.finder, self.placer, *self.scores.values()


STORE = Store(JointsCard, "joints-small", "joint networks", "`fracture joints train`")
JointsWeights: TypeAlias = Weights[JointsCard]
