"""What came of one delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """Delivered, asked for (the answer comes by itself), or refused for a reason."""

    refused: str = ""
    asked: bool = False


DELIVERED, ASKED = Outcome(), Outcome(asked=True)


class Unreachable(Exception):  # noqa: N818 - it says that others are left, and never leaves this package
    """The target does not answer; ``before`` has what came of the jobs before."""

    def __init__(self, why: str, before: Mapping[int, Outcome] | None = None) -> None:
        super().__init__(why)
        self.before: Mapping[int, Outcome] = before or {}
