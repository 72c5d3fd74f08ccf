"""The card of the lumbar wing's weights, and where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from fracture.schema import Share
from fracture.spine.specs import CenterSpec, SliceSpec
from fracture.wing.card import BaseCard, Section, Tolerance, WeightFile
from fracture.wing.store import Store


class DiscFile(WeightFile):
    """The finder: its file, what it is, and how it was trained."""

    model: CenterSpec = CenterSpec()
    training: dict[str, JsonValue] = Field(default={})


class GraderFile(WeightFile):
    """The grader: its file, what it is, and how it was trained."""

    model: SliceSpec = SliceSpec()
    training: dict[str, JsonValue] = Field(default={})


class DiscTest(Section):
    """Of the self-test picture: the best score of a disc, of L5/S1, and the mean of the map of discs; then, with a
    grader, the probability of severe of each condition on a level of formulas."""

    scores: Annotated[tuple[Share, ...], Field(strict=False, min_length=3, max_length=8)]
    tolerance: Tolerance = 0.01

    def numbers(self) -> list[float]:
        """The scores as a list."""
        return [float(value) for value in self.scores]


class LumbarCard(BaseCard):
    """What is said about a finder of discs, and of a grader if there is one."""

    FILE: ClassVar[str] = "lumbar_card.json"

    format: Literal["fracture-lumbar-card/1"] = "fracture-lumbar-card/1"
    finder: DiscFile
    grader: GraderFile | None = None
    data: dict[str, JsonValue] = Field(default={})
    metrics: dict[str, JsonValue] = Field(default={})
    self_test: DiscTest | None = None

    @property
    def files(self) -> Sequence[WeightFile]:
        """The finder's, and the grader's."""
        return (self.finder,) if self.grader is None else (self.finder, self.grader)


STORE = Store(LumbarCard, "lumbar-small", "lumbar networks", "`fracture spine lumbar assemble`")
