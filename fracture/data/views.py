"""Names of radiographic views, collapsed to frontal, lateral and oblique (Jones et al. 2020, Table 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

__all__ = ["VIEWS", "collapse_view", "collapse_views"]

VIEWS = ("frontal", "lateral", "oblique")

# The paper's nine test views and how it collapses them, then the abbreviations that files use (our addition).
_COLLAPSED = MappingProxyType(
    {
        "frontal": "frontal",
        "frontal dorso plantar": "frontal",
        "frontal inlet outlet": "frontal",
        "axillary": "lateral",
        "frog leg lateral": "lateral",
        "lateral": "lateral",
        "y": "lateral",
        "oblique": "oblique",
        "oblique mortise": "oblique",
        "ap": "frontal",
        "pa": "frontal",
        "dp": "frontal",
        "dorso plantar": "frontal",
        "inlet outlet": "frontal",
        "inlet": "frontal",
        "outlet": "frontal",
        "anteroposterior": "frontal",
        "posteroanterior": "frontal",
        "antero posterior": "frontal",
        "postero anterior": "frontal",
        "lat": "lateral",
        "ll": "lateral",
        "rl": "lateral",
        "frog leg": "lateral",
        "frog lateral": "lateral",
        "cross table lateral": "lateral",
        "scapular y": "lateral",
        "scapula y": "lateral",
        "obl": "oblique",
        "mortise": "oblique",
        "llo": "oblique",
        "lao": "oblique",
        "rao": "oblique",
        "lpo": "oblique",
        "rpo": "oblique",
        "rlo": "oblique",
    }
)


def collapse_view(name: str | None) -> str | None:
    """One of ``"frontal"``, ``"lateral"``, ``"oblique"`` for a view's name; None for one that is not known.

    The nine names of the paper's test set and their collapse are stated there (Methods, "test dataset"); the
    abbreviations (AP, PA, mortise, scapular Y, ...) are our addition. Case and punctuation do not matter.
    """
    if not name:
        return None
    return _COLLAPSED.get(re.sub(r"[^a-z]+", " ", name.lower()).strip())


def collapse_views(names: Iterable[str]) -> tuple[str, ...]:
    """Every known view among ``names``, collapsed, without repetition, in the order of ``VIEWS``."""
    found = {collapse_view(name) for name in names}
    return tuple(view for view in VIEWS if view in found)
