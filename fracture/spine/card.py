"""Parts of the cards of both spine wings; no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fracture.schema import Share
from fracture.wing.card import Section, Tolerance


class ScoreTest(Section):
    """Numbers from 0 to 1 that the networks give for inputs made of formulas, which never change."""

    scores: Annotated[tuple[Share, ...], Field(strict=False, min_length=3, max_length=8)]
    tolerance: Tolerance = 0.01
