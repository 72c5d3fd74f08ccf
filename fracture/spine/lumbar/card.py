"""The card of the lumbar wing's weights, and where they are found."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from fracture.spine.card import ScoreTest
from fracture.spine.specs import CenterSpec, SliceSpec
from fracture.wing.card import BaseCard, NetworkFile
from fracture.wing.store import Store


class LumbarCard(BaseCard):
    """What is said about a finder of discs, and of a grader if there is one."""

    FILE: ClassVar[str] = "lumbar_card.json"

    format: Literal["fracture-lumbar-card/1"] = "fracture-lumbar-card/1"
    finder: NetworkFile[CenterSpec]
    grader: NetworkFile[SliceSpec] | None = None
    data: dict[str, JsonValue] = Field(default={})
    metrics: dict[str, JsonValue] = Field(default={})
    self_test: ScoreTest | None = None


STORE = Store(LumbarCard, "lumbar-small", "lumbar networks", "`fracture spine lumbar assemble`")
