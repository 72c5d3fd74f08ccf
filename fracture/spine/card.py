"""Parts of the cards of both spine wings; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from pydantic import Field, JsonValue

from fracture.schema import Share
from fracture.wing.card import BaseCard, Section, Tolerance, WeightFile

M = TypeVar("M", bound=Section)


class NetworkFile(WeightFile, Generic[M]):
    """A network: its file, what it is, and how it was trained."""

    model: M
    training: dict[str, JsonValue] = Field(default={})


class ScoreTest(Section):
    """Numbers from 0 to 1 that the networks give for inputs made of formulas, which never change."""

    scores: Annotated[tuple[Share, ...], Field(strict=False, min_length=3, max_length=8)]
    tolerance: Tolerance = 0.01


class SpineCard(BaseCard):
    """A card whose networks are fields of it; one that is None is not there."""

    @property
    def files(self) -> Sequence[WeightFile]:
        """Of every network."""
        return [part for name in type(self).model_fields if isinstance(part := getattr(self, name), WeightFile)]
