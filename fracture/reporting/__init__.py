"""What is said about weights: the model card, how robust they are, what differs between sites and with hardware.

>>> model_card(card, report=..., extras=(...), aims=...)     # Markdown, the same bytes from the same inputs
>>> measure_robustness([(detector, annotated)])              # AUC after the usual corruptions, against the clean one
>>> site_analysis("predictions.jsonl", "annotations.json")   # within each site, with and without hardware, balanced

Results are JSON with a ``format``; the model card takes them as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.reporting.aims import Aim as Aim, read_aims as read_aims
    from fracture.reporting.corruptions import CORRUPTIONS as CORRUPTIONS, Corruption as Corruption
    from fracture.reporting.page import model_card as model_card
    from fracture.reporting.robustness import (
        fold_judges as fold_judges,
        measure_robustness as measure_robustness,
        sample_films as sample_films,
    )
    from fracture.reporting.sites import site_analysis as site_analysis

lazy_names(globals())
