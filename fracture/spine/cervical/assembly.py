"""From a finished run to a folder of weights with a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.spine.cervical.card import STORE, CervicalCard, NeckTest
from fracture.spine.cervical.reader import load_reader, self_test
from fracture.wing.assembly import Stages, assemble_card, network_of
from fracture.wing.store import Weights

_STAGES = ("levels", "fractures")


def assemble(run: str | Path, out: str | Path, facts: Mapping[str, Any] | None = None) -> CervicalCard:
    """Write a folder that :func:`fracture.wing.contract.load_reader` opens.

    Args:
        run: Run folder of :func:`fracture.spine.cervical.training.train`, finished.
        out: The folder to write.
        facts: Fields of the card to set: ``name``, ``version``, ``description``, ``license``, ``attribution``,
            ``intended_use``, ``limitations``, ``thresholds``, ``data``, ``metrics``.

    Returns:
        The card, as written.

    Raises:
        DataError, CardError, ConfigurationError: As for :func:`fracture.wing.assembly.assemble_card`.
    """

    def describe(stages: Stages) -> Mapping[str, Any]:
        use = "Research on CT of the cervical spine; not a medical device."
        networks = {"finder": network_of(stages, "levels"), "judge": network_of(stages, "fractures")}
        return {"name": "cervical", "intended_use": use, **networks}

    def test(weights: Weights[CervicalCard]) -> NeckTest:
        return self_test(load_reader(weights, device="cpu", precision="float32", engine="torch"))

    return assemble_card(STORE, run, out, _STAGES, describe, facts, test)
