"""Names of radiographic views, collapsed to frontal, lateral and oblique (Jones et al. 2020, Table 1)."""

from __future__ import annotations

from collections.abc import Iterable

from fracture import regions

VIEWS = ("frontal", "lateral", "oblique")


def collapse_view(name: str | None) -> str | None:
    """One of ``"frontal"``, ``"lateral"``, ``"oblique"`` for a view's name; None for one that is not known.

    The nine names of the paper's test set first, then the abbreviations that DICOM and consoles use
    (``fracture.regions``).
    """
    if not name:
        return None
    return regions.collapse_view(name) or regions.view_from_dicom(name)


def collapse_views(names: Iterable[str]) -> tuple[str, ...]:
    """Every known view among ``names``, collapsed, without repetition, in the order of ``VIEWS``."""
    found = {collapse_view(name) for name in names}
    return tuple(view for view in VIEWS if view in found)
