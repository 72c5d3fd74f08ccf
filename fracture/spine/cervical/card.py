"""The card of the cervical wing's weights, and where they are found."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from fracture.schema import Share
from fracture.spine.card import ScoreTest
from fracture.spine.cervical.spec import FractureSpec, LevelSpec
from fracture.wing.card import BaseCard, NetworkFile, Section
from fracture.wing.store import Store


class Thresholds(Section):
    """From which probability on a level, or the patient, is called fractured."""

    level: Share = 0.5
    patient: Share = 0.5


class Scaling(Section):
    """From the judge's logits to probabilities, fitted on necks apart (``evaluate --scale``).

    Attributes:
        level: Slope and intercept of a level's logit.
        patient: Slopes of the patient's own logit and of the highest scaled one of a level, and the intercept.
    """

    level: tuple[float, float] = Field(default=(1.0, 0.0), strict=False)
    patient: tuple[float, float, float] = Field(default=(1.0, 0.0, 0.0), strict=False)


class CervicalCard(BaseCard):
    """What is said about the two networks of the neck."""

    FILE: ClassVar[str] = "cervical_card.json"

    format: Literal["fracture-cervical-card/1"] = "fracture-cervical-card/1"
    finder: NetworkFile[LevelSpec]
    judge: NetworkFile[FractureSpec]
    scaling: Scaling = Scaling()
    thresholds: Thresholds = Thresholds()
    data: dict[str, JsonValue] = Field(default={})
    metrics: dict[str, JsonValue] = Field(default={})
    self_test: ScoreTest | None = None


STORE = Store(CervicalCard, "cervical-small", "cervical networks", "`fracture spine cervical assemble`")
