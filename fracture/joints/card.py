"""The card of a set of joint networks: what is not a tensor. :mod:`fracture.wing.card` says how strict it is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fracture.joints.layout import COLUMNS, HAND, Damage, Family
from fracture.schema import JsonObject, Name, Share
from fracture.wing.card import BaseCard, NetworkFile, PartCard, Section, Tolerance, WeightFile
from fracture.wing.store import Store


class PointFile(WeightFile):
    """A network that finds points."""

    training: JsonObject = Field(default_factory=dict)


class ScoreSpec(Section):
    """The two networks of a family of joints that score damage.

    Attributes:
        family: Whose joints.
        width: Channels of the first map; the others have two and four times as many.
        located: Whether they have learned where lesions are, too.
    """

    family: Family
    width: Annotated[int, Field(ge=8, le=64, multiple_of=8)] = 16
    located: bool = False

    def levels(self, damage: Damage) -> int:
        """The highest score."""
        return max(c.maximum for c in COLUMNS if (c.family, c.damage) == (self.family, damage))


class JointsTest(Section):
    """What the placer says in float32 about the self-test's crop: x and y of a hand's points, as shares of its side."""

    points: tuple[Share, ...] = Field(min_length=2 * len(HAND), max_length=2 * len(HAND), strict=False)
    center: Share
    tolerance: Tolerance = 0.01


class JointsCard(BaseCard):
    """The specification record of joint networks."""

    FILE: ClassVar[str] = "joints_card.json"

    format: Literal["fracture-joints-card"] = "fracture-joints-card"
    finder: PointFile
    placer: PointFile
    scores: dict[Name, NetworkFile[ScoreSpec]] = Field(default_factory=dict)
    parts: dict[Name, PartCard] = Field(default_factory=dict)
    data: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    self_test: JointsTest | None = None


STORE = Store(JointsCard, "joints-small", "joint networks", "`fracture joints train`")
