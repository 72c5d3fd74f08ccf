"""Documents about weights: the model card, made from the weights' card and from results in JSON.

>>> model_card(card, report=..., extras=(...), aims=...)     # Markdown, the same bytes from the same inputs

A result is JSON with a ``format``; those of robustness, sites and transfer come from ``benchmarks/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.reporting.aims import Aim as Aim, read_aims as read_aims
    from fracture.reporting.page import model_card as model_card

lazy_names(globals())
