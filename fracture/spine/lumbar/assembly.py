"""From a finished run to a folder of weights with a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.spine.lumbar.card import STORE, DiscTest, LumbarCard
from fracture.spine.lumbar.reader import load_reader, self_test
from fracture.wing.assembly import Stages, assemble_card, network_of
from fracture.wing.store import Weights

_STAGE, _GRADES = "discs", "grades"


def assemble(run: str | Path, out: str | Path, facts: Mapping[str, Any] | None = None) -> LumbarCard:
    """Write a folder that :func:`fracture.wing.contract.load_reader` opens.

    Args:
        run: Run folder of :func:`fracture.spine.lumbar.training.train`, finished; with a grader if
            :func:`fracture.spine.lumbar.grade_training.train_grades` left one there.
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
        graded = {"grader": network_of(stages, _GRADES)} if _GRADES in stages else {}
        return {"name": "lumbar", "intended_use": use, "finder": network_of(stages, _STAGE), **graded}

    def test(weights: Weights[LumbarCard]) -> DiscTest:
        return self_test(load_reader(weights, device="cpu", precision="float32", engine="torch"))

    names = (_STAGE, _GRADES) if Path(run, f"{_GRADES}.json").exists() else (_STAGE,)
    return assemble_card(STORE, run, out, names, describe, facts, test)
