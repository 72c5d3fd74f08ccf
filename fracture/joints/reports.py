"""For people: a hand or forefoot drawn with its joints colored by score beside the film, and change between visits.

Scores are of networks that learned painted lesions; both reports say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fracture.errors import ConfigurationError, EvaluationError
from fracture.evaluation.stats.record import Record
from fracture.joints.layout import AXES, COLUMNS, Damage, Kind, Point, columns_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CLAIM", "Change", "Progress", "change", "draw_damage", "repeatability"]

CLAIM = "Damage scores are proven on painted lesions only."

_BONES = (*(("radcar", f"mcp{k}") for k in range(2, 6)), ("mc1", "mcp1"), ("radcar", "mc1"), ("radcar", "radius"))
_SHAPES: Mapping[Damage, str] = {"narrowing": "o", "erosion": "s"}


class _Limb(Protocol):
    @property
    def kind(self) -> Kind: ...

    @property
    def points(self) -> Mapping[str, Point]: ...

    @property
    def scores(self) -> Mapping[str, Any]: ...


def draw_damage(pixels: NDArray[np.float32], limb: _Limb) -> Figure:
    """The film, and beside it the limb as lines and joints: circles for narrowing, squares for erosion.

    Colors run from 0 to the highest score that the column can have; joints without a score are small and gray.

    Args:
        pixels: float32 (height, width) in [0, 1], the film.
        limb: A hand or forefoot of it: ``kind``, ``points`` and ``scores``, as of a result.

    Returns:
        A matplotlib figure with two panels that show the same part of the film at the same size.

    Raises:
        ConfigurationError: A limb without points.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    if not limb.points:
        raise ConfigurationError("a limb without points cannot be drawn")
    places = np.array(list(limb.points.values()))
    margin = 0.12 * float(np.ptp(places, axis=0).max())
    (left, top), (right, bottom) = places.min(axis=0) - margin, places.max(axis=0) + margin
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    film, drawing = figure.subplots(1, 2, sharex=True, sharey=True)
    film.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, pixels.shape[1], pixels.shape[0], 0))
    film.set(xlim=(left, right), ylim=(bottom, top), title="film", xticks=[], yticks=[])
    drawing.set(title="narrowing (circles) and erosion (squares)", aspect="equal", facecolor="0.97")
    for a, b in {*AXES.values(), *_BONES}:
        if a in limb.points and b in limb.points:
            drawing.plot(*zip(limb.points[a], limb.points[b], strict=True), color="0.8", lw=6, solid_capstyle="round")
    drawing.scatter(*places.T, s=12, color="0.6", zorder=2)
    shift = 0.016 * float(right - left)
    for column in columns_of(limb.kind):
        score = limb.scores.get(column.name)
        if score is None or column.point not in limb.points:
            continue
        x, y = limb.points[column.point]
        x += -shift if column.damage == "narrowing" else shift
        share = min(score.value / column.maximum, 1.0)
        drawing.scatter(
            *([x], [y]), c=[share], vmin=0, vmax=1, cmap="YlOrRd", marker=_SHAPES[column.damage], s=85,
            edgecolors="0.3", linewidths=0.6, zorder=3,
        )  # fmt: skip
        if score.value >= 0.5:
            side = -1 if column.damage == "narrowing" else 1
            text: dict[str, Any] = {"ha": "right" if side < 0 else "left", "va": "center", "fontsize": 7}
            drawing.annotate(f"{score.value:.1f}", (x, y), (7 * side, 0), textcoords="offset points", **text)
    bar = ScalarMappable(cmap="YlOrRd")
    bar.set_clim(0, 1)
    figure.colorbar(bar, ax=drawing, label="share of the highest score", shrink=0.7)
    figure.suptitle(CLAIM, fontsize=9)
    return figure


def repeatability(first: ArrayLike, second: ArrayLike) -> float:
    """How far two readings of an unchanged joint lie apart in 95 of 100: 1.96 standard deviations of the differences.

    The half width of the limits of agreement (Bland and Altman 1986), around 0: two readings of one reader have no
    bias between them.

    Args:
        first: (n,) scores.
        second: (n,) of the same joints, read again: other points, or the film turned, mirrored or rescaled.

    Raises:
        EvaluationError: Fewer than two pairs, or lengths that differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size < 2:
        raise EvaluationError("repeated readings are two vectors of one length", got=f"{a.shape} and {b.shape}")
    return float(1.96 * np.sqrt(np.mean((a - b) ** 2)))


@dataclass(frozen=True, slots=True)
class Change(Record):
    """What became of one joint, or of a sum.

    Attributes:
        column: A column of the challenge, or ``total``, ``erosion``, ``narrowing``.
        before, after: Expected scores.
        difference: After minus before.
        limit: What a reading of an unchanged joint differs by in 95 of 100.
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
        joints: Every column that both visits have, the largest difference first.
        sums: Total, erosion and narrowing over these columns.
        missing: Columns that only one visit has; they count nowhere.
    """

    joints: tuple[Change, ...]
    sums: tuple[Change, ...]
    missing: tuple[str, ...]

    @property
    def progressed(self) -> tuple[str, ...]:
        """Columns that progressed beyond repeatability."""
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
        return [*shown, f"{unchanged} joints within repeatability", *more, CLAIM]


def change(before: Mapping[str, float], after: Mapping[str, float], limits: Mapping[Damage, float]) -> Progress:
    """Compare two visits joint by joint.

    Of the many joints of a patient some pass a 95 % limit by chance: about one in twenty where nothing changed. The
    limit of a sum takes the joints' errors for independent (ours): it is the root of the sum of their squared limits.

    Args:
        before: Column (``"LH_mcp_J__2"``) to score at the first visit.
        after: At the second.
        limits: Per damage what an unchanged joint differs by, see :func:`repeatability`; of foot erosion, which is
            counted to 10, twice as much.

    Raises:
        EvaluationError: No column that both have, an unknown one, or a limit that is missing or negative.
    """
    known = {column.full(side): column for column in COLUMNS for side in ("left", "right")}
    both = [name for name in known if name in before and name in after]
    if unknown := sorted({*before, *after} - set(known)):
        raise EvaluationError("unknown columns", got=", ".join(unknown[:8]))
    if not both:
        raise EvaluationError("the visits have no column in common", hint="give the side of each film")
    if not all(limits.get(damage, -1.0) >= 0 for damage in ("narrowing", "erosion")):
        raise EvaluationError("limits of narrowing and erosion are needed, of 0 or more", got=dict(limits))
    limit_of = {name: limits[known[name].damage] * (2 if known[name].maximum == 10 else 1) for name in both}
    joints = sorted(
        (_change(name, before[name], after[name], limit_of[name]) for name in both),
        key=lambda one: -abs(one.difference),
    )
    sums = []
    for what in ("total", "erosion", "narrowing"):
        chosen = [name for name in both if what in ("total", known[name].damage)]
        if chosen:
            sums.append(_summed(what, before, after, chosen, limit_of))
    return Progress(tuple(joints), tuple(sums), tuple(sorted(set(before) ^ set(after))))


def _summed(
    what: str,
    before: Mapping[str, float],
    after: Mapping[str, float],
    chosen: Sequence[str],
    limit_of: Mapping[str, float],
) -> Change:
    limit = float(np.sqrt(sum(limit_of[name] ** 2 for name in chosen)))
    return _change(what, sum(before[name] for name in chosen), sum(after[name] for name in chosen), limit)


def _change(name: str, before: float, after: float, limit: float) -> Change:
    gap = float(after - before)
    verdict = "within repeatability" if abs(gap) <= limit else "progressed" if gap > 0 else "improved"
    return Change(name, float(before), float(after), gap, limit, verdict)
