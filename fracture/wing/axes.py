"""A page of a scene on matplotlib axes, in the page's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fracture.wing.overlay import COLORS, HEAT, ORANGE
from fracture.wing.scene import Page, grid_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def _share(look: str) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in COLORS[look])  # type: ignore[index]
