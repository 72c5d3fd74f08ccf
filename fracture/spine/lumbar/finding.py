"""From the network's maps to discs with names: an ordered chain from L5/S1 upward.

Sources: the task and its five names, RSNA 2024. The rules are ours: discs follow each other at like distances on a
smooth curve; the map of L5/S1 says where counting begins; what does not fit on the chain is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fracture.simulate.lumbar import LEVELS
from fracture.spine.centers import Peak, peaks
from fracture.spine.chain import chain
from fracture.spine.picture import fit
from fracture.wing.result import GridToSource
from fracture.wing.runner import Runner

CHAIN = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1", "T11/T12", "T10/T11", "T9/T10")
"""Names in the order in which discs are counted; those above L1/L2 are named as if five vertebrae were lumbar."""

Naming: TypeAlias = Literal["clear", "doubtful", "none"]

LEAST_DISC = 0.3  # score of a disc (ours; the card's evaluation tells what it gives)
LEAST_LAST = 0.3  # of the map of L5/S1, where counting begins
DOUBT = 0.5  # a second place for L5/S1 with so much of the best one's score makes the names doubtful
_BELOW = 1.3  # of the distance between discs that L5/S1 lies above the lower edge, since the sacrum is below it (ours)


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc that was found.

    Attributes:
        x, y: Center in pixels of the slice, edges as everywhere.
        box: (x0, y0, x1, y1) there.
        score: Of the finder, in [0, 1]; no probability.
        last: How much it looks like L5/S1, in [0, 1].
        level: ``"L5/S1"`` and so on; empty where no L5/S1 was seen, or beyond the chain.
        place: (x, y, z) in millimeters of the patient; None of a picture, which has no place.
    """

    x: float
    y: float
    box: tuple[float, float, float, float]
    score: float
    last: float = 0.0
    level: str = ""
    place: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Discs:
    """The discs of one slice.

    Attributes:
        discs: On the chain, from the lowest upward.
        naming: ``"clear"``; ``"doubtful"`` where another disc may be L5/S1 (transitional anatomy looks so), or one is
            missing on the way; ``"none"`` where no L5/S1 was seen.
        remarks: Why, for people.
        candidates: All peaks of the map of discs, on the chain or not, the strongest first; without names.
    """

    discs: tuple[Disc, ...]
    naming: Naming
    remarks: tuple[str, ...] = ()
    candidates: tuple[Disc, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)


def find_discs(runner: Runner, pixels: NDArray[np.float32], spacing: tuple[float, float] = (1.0, 1.0)) -> Discs:
    """The discs of one sagittal slice: the network, its peaks, the chain. Training, measures and use come through here.

    Args:
        runner: Of the network.
        pixels: (rows, columns), any scale.
        spacing: From row to row and column to column.

    Raises:
        PixelValueError: A slice without contrast.
    """
    planes, grid = fit(pixels, spacing)
    return discs_from(runner.run({"x": planes[None]})["output"].float().cpu().numpy()[0], grid, pixels.shape[0])


def discs_from(maps: NDArray[np.float32], grid: GridToSource, rows: int) -> Discs:
    """The discs that the maps (4, h, w) of one slice of so many rows show, on the slice."""
    return name_discs([_placed(peak, grid) for peak in peaks(maps)], float(rows))


def _placed(peak: Peak, grid: GridToSource) -> Disc:
    wide, tall = peak.width / 2, peak.height / 2
    x0, y0, x1, y1 = grid.box(peak.x - wide, peak.y - tall, peak.x + wide, peak.y + tall)
    return Disc((x0 + x1) / 2, (y0 + y1) / 2, (x0, y0, x1, y1), peak.score, peak.last)


def name_discs(found: Sequence[Disc], bottom: float | None = None) -> Discs:
    """Put discs on a chain and name them.

    Args:
        found: All peaks, the strongest first.
        bottom: Lower edge of the slice; None where it is not known.
    """
    sure = [disc for disc in found if disc.score >= LEAST_DISC]
    links = chain(sure)
    remarks: list[str] = []
    named, naming = _counted(links, remarks, bottom)
    return Discs(tuple(named), naming, tuple(remarks), tuple(found))


def _counted(links: Sequence[Disc], remarks: list[str], bottom: float | None) -> tuple[list[Disc], Naming]:
    if not links:
        remarks.append("no disc was found")
        return [], "none"
    order = sorted(range(len(links)), key=lambda k: -links[k].last)
    start = order[0]
    if links[start].last < LEAST_LAST:
        remarks.append("L5/S1 was not seen, so the discs have no names; is the sacrum on the pictures?")
        return list(links), "none"
    gaps = [float(np.hypot(a.x - b.x, a.y - b.y)) for a, b in zip(links[start:], links[start + 1 :], strict=False)]
    if bottom is not None and gaps and bottom - links[start].y < _BELOW * float(np.median(gaps)):
        remarks.append(
            "the lowest disc lies so near the lower edge that there is no room for the sacrum, from which discs are "
            "counted, so they have no names; give pictures with the sacrum"
        )
        return list(links), "none"
    naming: Naming = "clear"
    rivals = [k for k in order[1:] if links[k].last >= DOUBT * links[start].last]
    if rivals:
        below = "below" if rivals[0] < start else "above"
        remarks.append(
            f"another disc, {abs(rivals[0] - start)} {below} it, may be L5/S1: names may be off by that many; "
            "transitional anatomy looks so, and only the whole spine or the ribs can tell"
        )
        naming = "doubtful"
    names = [""] * len(links)
    for k in range(start, len(links)):
        names[k] = CHAIN[k - start] if k - start < len(CHAIN) else ""
    wide = [k for k, gap in enumerate(gaps) if len(gaps) > 2 and gap > 1.5 * float(np.median(gaps))]
    if wide:
        remarks.append(f"a disc may have been missed above {CHAIN[wide[0]]}: names from there on may be one too low")
        naming = "doubtful"
    missing = [level for level in LEVELS if level not in names]
    if missing:
        remarks.append(f"not found: {', '.join(missing)}")
    return [replace(disc, level=name) for disc, name in zip(links, names, strict=True)], naming
