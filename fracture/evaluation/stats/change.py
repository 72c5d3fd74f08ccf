"""Change between two visits: what progressed, by how much, and whether beyond what two readings differ by anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fracture.errors import EvaluationError
from fracture.evaluation.stats.record import Record


def repeatability(first: ArrayLike, second: ArrayLike) -> float:
    """How far two readings of what did not change lie apart in 95 of 100: 1.96 standard deviations of the differences.

    The half width of the limits of agreement (Bland and Altman 1986), around 0: two readings of one reader have no
    bias between them.

    Args:
        first: Scores, float (n,).
        second: Scores (n,) of the same, read again.

    Raises:
        EvaluationError: Fewer than two pairs, or lengths that differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size < 2:
        raise EvaluationError("repeated readings are two vectors of one length", got=f"{a.shape} and {b.shape}")
    return float(1.96 * np.sqrt(np.mean((a - b) ** 2)))


@dataclass(frozen=True, slots=True)
class Change(Record):
    """What became of one score, or of a sum.

    Attributes:
        column: Its name.
        before, after: Expected scores.
        difference: After minus before.
        limit: What two readings of what did not change differ by in 95 of 100.
        verdict: ``"progressed"`` or ``"improved"`` beyond the limit, else ``"within repeatability"``.
    """

    column: str
    before: float
    after: float
    difference: float
    limit: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Progress(Record):
    """Change between two visits.

    Attributes:
        joints: Every score that both visits have, the largest difference first.
        sums: Sums over these.
        missing: Columns that only one visit has; they count nowhere.
        note: What must be said beside it.
    """

    joints: tuple[Change, ...]
    sums: tuple[Change, ...]
    missing: tuple[str, ...]
    note: str = ""

    @property
    def progressed(self) -> tuple[str, ...]:
        """Scores that progressed beyond repeatability."""
        return tuple(one.column for one in self.joints if one.verdict == "progressed")

    def lines(self) -> list[str]:
        """For a terminal: the sums, and the joints that changed beyond repeatability."""
        moved = [one for one in self.joints if one.verdict != "within repeatability"]
        shown = [
            f"{one.column:20s} {one.before:6.2f} -> {one.after:6.2f} ({one.difference:+.2f}, limit {one.limit:.2f}): "
            f"{one.verdict}"
            for one in (*self.sums, *moved)
        ]
        unchanged = len(self.joints) - len(moved)
        more = [f"{len(self.missing)} columns are known at one visit only"] if self.missing else []
        more += [self.note] if self.note else []
        return [*shown, f"{unchanged} joints within repeatability", *more]


def progress_of(
    before: Mapping[str, float],
    after: Mapping[str, float],
    limits: Mapping[str, float],
    sums: Mapping[str, Sequence[str]],
    *,
    note: str = "",
) -> Progress:
    """Compare two visits score by score.

    Of many scores some pass a 95 % limit by chance: about one in twenty where nothing changed. The limit of a sum takes
    the errors for independent (ours): it is the root of the sum of the squared limits.

    Args:
        before, after: Scores by name.
        limits: What a score that did not change differs by, for each name that may occur.
        sums: Names that a sum adds up, as far as both visits have them.
        note: What must be said beside it.

    Raises:
        EvaluationError: A name without a limit, or none that both visits have.
    """
    if unknown := sorted({*before, *after} - set(limits)):
        raise EvaluationError("unknown columns", got=", ".join(unknown[:8]))
    both = [name for name in limits if name in before and name in after]
    if not both:
        raise EvaluationError("the visits have no column in common", hint="give the side of each film")
    single = [_change(name, before[name], after[name], limits[name]) for name in both]
    added = []
    for what, names in sums.items():
        if chosen := [name for name in names if name in both]:
            first, last = (sum(visit[name] for name in chosen) for visit in (before, after))
            added.append(_change(what, first, last, float(np.sqrt(sum(limits[name] ** 2 for name in chosen)))))
    ordered = sorted(single, key=lambda one: -abs(one.difference))
    return Progress(tuple(ordered), tuple(added), tuple(sorted(set(before) ^ set(after))), note)


def _change(name: str, before: float, after: float, limit: float) -> Change:
    gap = float(after - before)
    verdict = "within repeatability" if abs(gap) <= limit else "progressed" if gap > 0 else "improved"
    return Change(name, float(before), float(after), gap, limit, verdict)
