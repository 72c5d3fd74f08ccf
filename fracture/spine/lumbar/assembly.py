"""From a finished run to a folder of weights with a card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fracture._version import __version__
from fracture.spine.lumbar.card import STORE, LumbarCard
from fracture.spine.lumbar.reader import load_reader, self_test
from fracture.training.finished import copy_weights, for_card, read_finished
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
        DataError: The run is not finished.
        CardError: Facts that no card has.
        ConfigurationError: ``out`` holds other weights, or is the folder of something else.
    """
    run, out = Path(run), Path(out)
    STORE.check_place(out, str(dict(facts or {}).get("name", "lumbar")))
    stage = read_finished(run, (_STAGE,))[_STAGE]
    training = stage["training"]
    values: dict[str, Any] = {
        "name": "lumbar",
        "version": "0",
        "created": datetime.now(UTC).date().isoformat(),
        "description": f"made by fracture {__version__}",
        "license": training["license"] or "not stated",
        "attribution": [line for line in training["attribution"].splitlines() if line],
        "intended_use": "Research on MR of the lumbar spine; not a medical device.",
        "limitations": ["Measured only where the metrics below say so."],
        "finder": {
            "file": f"{_STAGE}.safetensors",
            "sha256": stage["sha256"],
            "model": stage["model"],
            "training": for_card(training, without=("license", "attribution")),
        },
        **dict(facts or {}),
    }
    card = LumbarCard.parse(values, "the lumbar card of these facts")
    copy_weights(run, (_STAGE,), out)
    reader = load_reader(Weights(out, card), device="cpu", precision="float32")
    card.model_copy(update={"self_test": self_test(reader)}).write(out)
    return LumbarCard.read(out)
