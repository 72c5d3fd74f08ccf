"""From a run folder to a set of joint networks with a card that ``fracture.joints.load`` opens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError
from fracture.joints.card import JointsCard
from fracture.joints.store import STORE, JointsWeights
from fracture.regular import sha256_of
from fracture.training.driver import read_record

__all__ = ["assemble"]

_FACTS = {
    "version": "0.1.0",
    "description": "Points of hands and forefeet",
    "license": "That of the films it was trained on",
    "intended_use": "Research on radiographs of hands and feet. This is no medical device.",
    "limitations": ["Not measured: the card holds what the training wrote"],
    "attribution": [
        "Trunk of both networks: hand landmark model (full) of MediaPipe Hands, Google, Apache-2.0",
    ],
}


def assemble(run: str | Path, out: str | Path, name: str, facts: Mapping[str, Any] | None = None) -> JointsCard:
    """Write a folder of joint networks from a finished run, with its self-test.

    Args:
        run: Run folder with ``finder`` and ``placer``; score networks as ``scores_<family>`` where there are any.
        out: Folder to write.
        name: Of the weights.
        facts: Fields of the card.

    Raises:
        ConfigurationError: A stage is not finished, or something else lies in ``out``.
        CardError: A field that the card does not have.
    """
    from fracture.joints.reader import self_test

    source, folder = Path(run), Path(out)
    STORE.check_place(folder, name)
    if missing := [stage for stage in ("finder", "placer") if not (source / f"{stage}.json").exists()]:
        raise ConfigurationError(f"{source} is not finished", got=f"missing: {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)

    def part(stage: str) -> dict[str, Any]:
        shutil.copyfile(source / f"{stage}.safetensors", folder / f"{stage}.safetensors")
        record = read_record(source / f"{stage}.json")
        training = {
            key: record["training"][key] for key in ("config", "epochs", "seconds") if key in record["training"]
        }
        described = {"file": f"{stage}.safetensors", "sha256": sha256_of(folder / f"{stage}.safetensors")}
        return {**described, "training": training} | ({"model": record["model"]} if "model" in record else {})

    scores = {path.stem.removeprefix("scores_"): part(path.stem) for path in sorted(source.glob("scores_*.json"))}
    document = {
        "format": "fracture-joints-card",
        "name": name,
        "created": datetime.now(UTC).date().isoformat(),
        **_FACTS,
        **(facts or {}),
        "finder": part("finder"),
        "placer": part("placer"),
        "scores": scores,
    }
    card = JointsCard.parse(json.loads(json.dumps(document)), str(folder / JointsCard.FILE))
    test = self_test(JointsWeights(folder, card))
    card = card.model_copy(update={"self_test": test})
    card.write(folder)
    return card
