"""For people: a hand or forefoot drawn with its joints colored by score beside the film, and change between visits.

Scores are of networks that learned painted lesions; both reports say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fracture.digits import AXES
from fracture.errors import ConfigurationError, EvaluationError
from fracture.evaluation.stats.change import Progress, progress_of
from fracture.joints.layout import BY_NAME, DAMAGES, SUMMED, Damage, columns_of
from fracture.wing.axes import Mark, plot_marks

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fracture.joints.prediction import JointsLimb

CLAIM = "Damage scores are proven on painted lesions only."

_BONES = (*(("radcar", f"mcp{k}") for k in range(2, 6)), ("mc1", "mcp1"), ("radcar", "mc1"), ("radcar", "radius"))


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
    points, marks = limb.points, []
    if not points:
        raise ConfigurationError("a limb without points cannot be drawn")
    lines = [(points[a], points[b]) for a, b in dict.fromkeys((*AXES.values(), *_BONES)) if {a, b} <= set(points)]
    for column in columns_of(limb.kind):
        score = limb.scores.get(column.name)
        if score is not None and column.point in points:
            text = f"{score.value:.1f}" if score.value >= 0.5 else ""
            share = min(score.value / column.maximum, 1.0)
            marks.append(Mark(points[column.point], share, text, column.damage == "narrowing"))
    title, label = "narrowing (circles) and erosion (squares)", "share of the highest score"
    return plot_marks(pixels, list(points.values()), lines, marks, title=title, label=label, note=CLAIM)


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
    return progress_of(before, after, limit_of, SUMMED, note=CLAIM)
