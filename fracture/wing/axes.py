"""With matplotlib: a page of a scene on axes, in its own pixels, and marks on a film's points beside the film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fracture.wing.overlay import COLORS, HEAT, ORANGE
from fracture.wing.scene import Page, grid_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Point = tuple[float, float]


def plot_page(page: Page, ax: Axes | None = None) -> Axes:
    """Draw a page; new axes where none are given."""
    from matplotlib.patches import Rectangle

    if ax is None:
        from matplotlib.pyplot import subplots

        ax = subplots(figsize=(6, 6), layout="constrained")[1]
    height, width = page.pixels.shape
    extent = (0.0, float(width), float(height), 0.0)
    ax.imshow(page.pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="antialiased")
    for heat in page.heats:
        tint = np.empty((height, width, 4), np.float32)
        tint[..., :3] = np.array(ORANGE, np.float32) / 255
        tint[..., 3] = HEAT * grid_on(heat, (width, height), (width, height))
        ax.imshow(tint, extent=extent)
    for box in page.boxes:
        color = _share(box.look)
        style, thick = (":" if box.look in ("doubt", "weak") else "-"), (1.2 if box.look == "weak" else 1.8)
        ax.add_patch(
            Rectangle((box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0, fill=False, ec=color, lw=thick, ls=style)
        )
        if box.label and box.look != "weak":
            ax.annotate(
                box.label,
                (box.x0, box.y0),
                xytext=(0, 3),
                textcoords="offset points",
                color=color,
                fontsize=8,
                clip_on=True,
                bbox={"facecolor": "black", "edgecolor": "none", "pad": 1},
            )
    for point in page.points:
        color = _share(point.look)
        ax.plot([point.x], [point.y], marker="o", mfc="none", mec=color, ms=6, ls="")
        if point.label:
            ax.annotate(
                point.label, (point.x, point.y), xytext=(5, 0), textcoords="offset points", color=color, fontsize=7
            )
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_title(page.verdict, fontsize=10)
    ax.set_axis_off()
    return ax


class Mark(NamedTuple):
    """At a point, (x, y) in pixels of the film: a color by a share of 1, and a text beside it or none; the first mark
    is a circle to the left, a second one a square to the right."""

    point: Point
    share: float
    text: str
    first: bool


def plot_marks(
    pixels: NDArray[np.float32], points: Sequence[Point], lines: Sequence[tuple[Point, Point]], marks: Sequence[Mark],
    *, title: str, label: str, note: str,
) -> Figure:  # fmt: skip
    """A film, and beside it the same part as lines and points with marks.

    Args:
        pixels: float32 (height, width) in [0, 1].
        points, lines, marks: What is drawn, (x, y) in pixels of the film; one point at least.
        title, label, note: Of the drawing, of the colors, and of both panels.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    places = np.array(points)
    margin = 0.12 * float(np.ptp(places, axis=0).max())
    (left, top), (right, bottom) = places.min(axis=0) - margin, places.max(axis=0) + margin
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    film, drawing = figure.subplots(1, 2, sharex=True, sharey=True)
    film.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, pixels.shape[1], pixels.shape[0], 0))
    film.set(xlim=(left, right), ylim=(bottom, top), title="film", xticks=[], yticks=[])
    drawing.set(title=title, aspect="equal", facecolor="0.97")
    for ends in lines:
        drawing.plot(*zip(*ends, strict=True), color="0.8", lw=6, solid_capstyle="round")
    drawing.scatter(*places.T, s=12, color="0.6", zorder=2)
    shades: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": "YlOrRd", "edgecolors": "0.3", "linewidths": 0.6}
    for (x, y), share, text, first in marks:
        way, shape, ha = (-1, "o", "right") if first else (1, "s", "left")
        x += way * 0.016 * float(right - left)
        drawing.scatter([x], [y], c=[share], marker=shape, s=85, zorder=3, **shades)
        if text:
            drawing.annotate(text, (x, y), (7 * way, 0), textcoords="offset points", ha=ha, va="center", fontsize=7)
    bar = ScalarMappable(cmap="YlOrRd")
    bar.set_clim(0, 1)
    figure.colorbar(bar, ax=drawing, label=label, shrink=0.7)
    figure.suptitle(note, fontsize=9)
    return figure


def _share(look: str) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in COLORS[look])  # type: ignore[index]
