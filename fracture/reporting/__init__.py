"""What is said about weights: the model card, how robust they are, what differs between sites and with hardware.

>>> model_card(card, report=..., extras=(...), aims=...)     # Markdown, the same bytes from the same inputs
>>> measure_robustness([(detector, annotated)])              # AUC after the usual corruptions, against the clean one
>>> site_analysis("predictions.jsonl", "annotations.json")   # within each site, with and without hardware, balanced

Results are JSON with a ``format``; the model card takes them as they are.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracture.reporting.aims import Aim, read_aims
    from fracture.reporting.corruptions import CORRUPTIONS, Corruption
    from fracture.reporting.page import model_card
    from fracture.reporting.robustness import fold_judges, measure_robustness, sample_films
    from fracture.reporting.sites import site_analysis

__all__ = [
    "CORRUPTIONS",
    "Aim",
    "Corruption",
    "fold_judges",
    "measure_robustness",
    "model_card",
    "read_aims",
    "sample_films",
    "site_analysis",
]

_HOMES = {
    "Aim": "aims",
    "CORRUPTIONS": "corruptions",
    "Corruption": "corruptions",
    "fold_judges": "robustness",
    "measure_robustness": "robustness",
    "model_card": "page",
    "read_aims": "aims",
    "sample_films": "robustness",
    "site_analysis": "sites",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the command line can list its commands without numpy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
