"""For people: a hand or forefoot drawn with its joints colored by score beside the film, and change between visits.

Scores are of networks that learned painted lesions; both reports say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.errors import ConfigurationError, EvaluationError
from fracture.evaluation.stats.change import Progress, progress_of
from fracture.joints.layout import AXES, BY_NAME, DAMAGES, WHOLES, Damage, columns_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fracture.joints.prediction import JointsLimb

CLAIM = "Damage scores are proven on painted lesions only."

_BONES = (*(("radcar", f"mcp{k}") for k in range(2, 6)), ("mc1", "mcp1"), ("radcar", "mc1"), ("radcar", "radius"))
_SHAPES: Mapping[Damage, str] = {"narrowing": "o", "erosion": "s"}


def draw_damage(pixels: NDArray[np.float32], limb: JointsLimb) -> Figure:
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
    for a, b in dict.fromkeys((*AXES.values(), *_BONES)):
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


def change(before: Mapping[str, float], after: Mapping[str, float], limits: Mapping[Damage, float]) -> Progress:
    """Compare two visits joint by joint; see :func:`fracture.evaluation.stats.change.progress_of`.

    Args:
        before: Column (``"LH_mcp_J__2"``) to score at the first visit.
        after: At the second.
        limits: Per damage what an unchanged joint differs by, see :func:`repeatability`; of foot erosion, which is
            counted to 10, twice as much.

    Raises:
        EvaluationError: No column that both have, an unknown one, or a limit that is missing or negative.
    """
    if not all(limits.get(damage, -1.0) >= 0 for damage in DAMAGES):
        raise EvaluationError("limits of narrowing and erosion are needed, of 0 or more", got=dict(limits))
    limit_of = {name: limits[column.damage] * (2 if column.maximum == 10 else 1) for name, column in BY_NAME.items()}
    sums = {str(what): [n for n, column in BY_NAME.items() if what in ("total", column.damage)] for what in WHOLES}
    return progress_of(before, after, limit_of, sums, note=CLAIM)
