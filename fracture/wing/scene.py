"""What a result shows, as data: pages with boxes, points, heat and a caption. Any wing makes it; one overlay draws it.

A film is one page, a study or a volume several. Coordinates are continuous pixels of the page with pixel edges, x right
and y down. A page says nothing that stems from the file: no name, id, date, nor path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError

__all__ = [
    "NOTE",
    "Heat",
    "Look",
    "Page",
    "Scene",
    "SceneBox",
    "ScenePoint",
    "as_gray",
    "digits",
    "grid_on",
    "suspicion",
]

NOTE = "Research use only; not a medical device."

Look: TypeAlias = Literal["sure", "doubt", "weak", "calm"]
"""``sure``: a solid frame in the color of alarm; ``doubt``: the same, dotted (Guermazi et al. 2022); ``weak``: thin and
dotted; ``calm``: a solid frame around something that is not a finding. Form tells them apart as well as color."""


@dataclass(frozen=True, slots=True)
class SceneBox:
    """A frame.

    Attributes:
        x0, y0, x1, y1: Edges in pixels of the page.
        look: How it is drawn.
        label: A word or number beside it; empty for none.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    look: Look = "sure"
    label: str = ""


@dataclass(frozen=True, slots=True)
class ScenePoint:
    """A mark at a place.

    Attributes:
        x, y: In pixels of the page.
        look: How it is drawn.
        label: A word beside it; empty for none.
    """

    x: float
    y: float
    look: Look = "calm"
    label: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Values on a grid of their own, laid over the page.

    Attributes:
        values: float32 (h, w), in [0, 1]; 0 is left clear.
        scale_x, scale_y: Pixels of the page per cell.
        offset_x, offset_y: Where the grid's upper left corner lies on the page.
    """

    values: NDArray[np.float32]
    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One picture with what is said about it.

    Attributes:
        pixels: uint8 (height, width).
        verdict: The one line that a reader must not miss.
        lines: What else is said, in plain words; wrapped where it is drawn.
        alarm: Whether the verdict is a finding; None where there is no decision.
        boxes: Drawn in order, those later above those before.
        points: Likewise, above all boxes.
        heats: Laid over the picture before anything is drawn.
    """

    pixels: NDArray[np.uint8]
    verdict: str
    lines: tuple[str, ...] = ()
    alarm: bool | None = None
    boxes: tuple[SceneBox, ...] = ()
    points: tuple[ScenePoint, ...] = ()
    heats: tuple[Heat, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The pages of one result, at least one, in reading order.

    Raises:
        ConfigurationError: No page.
    """

    pages: tuple[Page, ...]

    def __post_init__(self) -> None:
        if not self.pages:
            raise ConfigurationError("a scene needs a page", got="none")


def suspicion(probability: float, threshold: float) -> float:
    """How suspicious a film is for a person: 0 to 1, and 0.5 is the threshold in use.

    A score of 0.05 reads like "surely nothing" and is a finding where the threshold is 0.04. Ours: the odds of the
    score over the odds of the threshold, as a probability; it keeps the order, and its ends.

    >>> round(suspicion(0.05, 0.04), 2), suspicion(0.04, 0.04), suspicion(0.0, 0.04)
    (0.56, 0.5, 0.0)
    """
    if probability in (0.0, 1.0) and probability != threshold:
        return float(probability)
    odds, limit = probability * (1 - threshold), threshold * (1 - probability)
    return odds / (odds + limit) if odds + limit > 0 else 0.5


def as_gray(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """A film's pixels (height, width) for a page, uint8: as they are, or from floating point in [0, 1].

    Raises:
        ConfigurationError: Another type.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ConfigurationError(
            "an image to draw on has another type",
            got=pixels.dtype,
            allowed="uint8, or floating point in [0, 1]",
            hint="pass fracture.read(array)",
        )
    shown = np.fmin(np.fmax(pixels, 0), 1)  # what is no number is 0
    shown *= 255
    return np.asarray(np.rint(shown, out=shown), np.uint8)


def grid_on(heat: Heat, page: tuple[int, int], picture: tuple[int, int]) -> NDArray[np.float32]:
    """A grid's values on a picture of the whole page, bilinear, 0 off the grid.

    Args:
        heat: The grid.
        page: (width, height) of the page.
        picture: (width, height) of the picture.

    Returns:
        float32 (height, width) of the picture, in [0, 1].
    """
    import cv2  # results are read without it

    (wide, high), (rows, columns) = picture, heat.values.shape
    # From pixel centers of the picture to sample positions of the grid, whose sample j stands at j + 1/2.
    step_x, step_y = page[0] / wide / heat.scale_x, page[1] / high / heat.scale_y
    first_x, first_y = 0.5 * step_x - heat.offset_x / heat.scale_x, 0.5 * step_y - heat.offset_y / heat.scale_y
    place = np.array([[step_x, 0, first_x - 0.5], [0, step_y, first_y - 0.5]])
    values = np.clip(heat.values, 0, 1, dtype=np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = np.asarray(cv2.warpAffine(values, place, picture, flags=how, borderMode=cv2.BORDER_REPLICATE), np.float32)
    x, y = first_x + step_x * np.arange(wide), first_y + step_y * np.arange(high)
    laid[:, (x < 0) | (x > columns)] = 0
    laid[(y < 0) | (y > rows)] = 0
    return laid


def digits(value: float) -> str:
    """Two decimals, more where two would hide that a number is neither 0 nor 1."""
    if 0.005 <= value < 0.995 or value in (0.0, 1.0) or not math.isfinite(value):
        return f"{value:.2f}"
    return f"{value:.3g}" if value < 0.5 else f"{math.floor(value * 1000) / 1000:.3f}"
