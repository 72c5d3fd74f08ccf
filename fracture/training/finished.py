"""What a run folder holds once it is finished, as a folder of weights and its card take it over."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError, DataError
from fracture.regular import sha256_of
from fracture.training.records import read_record


def read_finished(run: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What ``<name>.json`` says of each finished network of a run.

    Raises:
        DataError: One is missing or unfinished, or its weights are not the file that its description names.
    """
    found = {}
    for name in names:
        weights = run / f"{name}.safetensors"
        try:
            facts, digest = read_record(weights.with_suffix(".json")), sha256_of(weights)
        except (OSError, ConfigurationError) as error:
            raise DataError(
                f"{run} holds no finished {name}", got=type(error).__name__, hint="let the training end"
            ) from error
        if facts.get("sha256") != digest:
            raise DataError(f"{weights} is not the file that {name}.json describes", got=f"SHA-256 {digest}")
        found[name] = facts
    return found


def copy_weights(run: Path, names: Sequence[str], folder: Path) -> None:
    """Copy the networks of a run into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(run / f"{name}.safetensors", folder / f"{name}.safetensors")


def for_card(training: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """A training record as a card keeps it: no rows per epoch, counts in the place of lists of tensor names, and no
    folder of the machine that it ran on, since they mean nothing elsewhere.

    Args:
        training: The record.
        without: Further keys to leave out.
    """
    kept = {key: value for key, value in training.items() if key not in ("history", *without)}
    if isinstance(start := kept.get("start"), dict):
        kept["start"] = {key: len(value) if isinstance(value, (list, tuple)) else value for key, value in start.items()}
        if isinstance(start.get("source"), str):
            kept["start"]["source"] = Path(start["source"]).name
    if isinstance(config := kept.get("config"), dict):
        config = dict(config)
        if isinstance(config.get("data"), dict):
            config["data"] = {**config["data"], "path": None, "cache": None}
            if isinstance(draws := config["data"].get("draws"), str):
                config["data"]["draws"] = Path(draws).name
        if isinstance(teacher := config.get("teacher"), dict):
            config["teacher"] = {**teacher, "networks": [Path(name).name for name in teacher.get("networks", ())]}
        if isinstance(config.get("init"), str):
            config["init"] = Path(config["init"]).name
        if isinstance(config.get("split"), dict) and isinstance(config["split"].get("file"), str):
            config["split"] = {**config["split"], "file": Path(config["split"]["file"]).name}
        kept["config"] = config
    return kept
