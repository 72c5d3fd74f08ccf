"""From a finished run to a folder of weights with a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.spine.lumbar.card import STORE, DiscTest, LumbarCard
from fracture.spine.lumbar.reader import load_reader, self_test
from fracture.wing.assembly import Stages, assemble_card, network_of
from fracture.wing.store import Weights

__all__ = ["assemble"]

_STAGE = "discs"


def assemble(run: str | Path, out: str | Path, facts: Mapping[str, Any] | None = None) -> LumbarCard:
    """Write a folder that :func:`fracture.wing.contract.load_reader` opens.

    Args:
        run: Run folder of :func:`fracture.spine.lumbar.training.train`, finished.
        out: The folder to write.
        facts: Fields of the card to set: ``name``, ``version``, ``description``, ``license``, ``attribution``,
            ``intended_use``, ``limitations``, ``data``, ``metrics``.

    Returns:
        The card, as written.

    Raises:
        DataError, CardError, ConfigurationError: As for :func:`fracture.wing.assembly.assemble_card`.
    """

    def describe(stages: Stages) -> Mapping[str, Any]:
        use = "Research on MR of the lumbar spine; not a medical device."
        return {"name": "lumbar", "intended_use": use, "finder": network_of(stages, _STAGE)}

    def test(weights: Weights[LumbarCard]) -> DiscTest:
        return self_test(load_reader(weights, device="cpu", precision="float32", engine="torch"))

    return assemble_card(STORE, run, out, (_STAGE,), describe, facts, test)
