"""The card of the lumbar wing's weights, and where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from fracture.schema import Share
from fracture.spine.lumbar.spec import DiscSpec
from fracture.wing.card import BaseCard, Section, Tolerance, WeightFile
from fracture.wing.store import Store

__all__ = ["STORE", "DiscFile", "DiscTest", "LumbarCard"]


class NetworkSpec(Section):
    """See :class:`fracture.spine.lumbar.spec.DiscSpec`."""

    trunk: Literal["mobilenetv2_100"] = "mobilenetv2_100"
    channels: Annotated[int, Field(ge=1, le=1024)] = 48
    norm: Literal["batch", "frozen"] = "frozen"
    geometry: Literal["torchvision"] = "torchvision"

    @property
    def spec(self) -> DiscSpec:
        """As networks are built from it."""
        return DiscSpec(**self.model_dump())


class DiscFile(WeightFile):
    """The finder: its file, what it is, and how it was trained."""

    model: NetworkSpec = NetworkSpec()
    training: dict[str, JsonValue] = Field(default={})


class DiscTest(Section):
    """Of the self-test picture: the best score of a disc, of L5/S1, and the mean of the map of discs."""

    scores: tuple[Share, Share, Share] = Field(strict=False)
    tolerance: Tolerance = 0.01

    def numbers(self) -> list[float]:
        """The scores as a list."""
        return [float(value) for value in self.scores]


class LumbarCard(BaseCard):
    """What is said about a finder of discs."""

    FILE: ClassVar[str] = "lumbar_card.json"

    format: Literal["fracture-lumbar-card/1"] = "fracture-lumbar-card/1"
    finder: DiscFile
    data: dict[str, JsonValue] = Field(default={})
    metrics: dict[str, JsonValue] = Field(default={})
    self_test: DiscTest | None = None

    @property
    def files(self) -> Sequence[WeightFile]:
        """The finder's."""
        return (self.finder,)


STORE = Store(LumbarCard, "lumbar-small", "lumbar networks", "`fracture spine lumbar assemble`")
