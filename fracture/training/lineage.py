"""What a network had been through before the training that a record tells of: its ancestors' presentations and time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fracture.errors import FractureError
from fracture.training.records import read_record

_SUMS: Final = ("presentations", "optimizer_steps", "seconds", "cpu_seconds")


def description_of(file: Path) -> dict[str, Any] | None:
    """The record of a network's run, or its entry in a card, from the file's folder; None where nothing tells of it.

    Raises:
        ConfigurationError: There is one, and it cannot be read.
    """
    own, card = file.with_suffix(".json"), file.with_name("card.json")
    if own.is_file():
        return read_record(own)
    entries = read_record(card).get("members", ()) if card.is_file() else ()
    found = [one for one in entries if isinstance(one, dict) and one.get("file") == file.name]
    return dict(found[0]) if found else None


def trained_before(source: object) -> dict[str, Any]:
    """What a record's ``start`` says of the trainings behind its starting point; empty where nothing is known.

    Args:
        source: Where the tensors come from, as a configuration has it: a file, or the name of a starting point.

    Returns:
        ``{"trained": {"seeds": "71, 11", "presentations": 36000, ...}}``: seeds latest first, the rest summed over all
        trainings that are known of, where each of them tells it.
    """
    file = Path(str(source))
    if file.suffix != ".safetensors" or not file.is_file():
        return {}
    try:
        told = description_of(file)
    except FractureError:  # a start needs no description, and so none that can be read
        return {}
    record = told.get("training") if told else None
    if not isinstance(record, Mapping) or "seed" not in record:
        return {}
    start = record.get("start")
    earlier = start.get("trained", {}) if isinstance(start, Mapping) else {}
    sums = {
        name: round(sum(float(one.get(name) or 0) for one in (record, earlier)), 1)
        for name in _SUMS
        if record.get(name) is not None and (not earlier or name in earlier)
    }
    seeds = [str(one) for one in (record["seed"], earlier.get("seeds")) if one is not None]
    return {"trained": {"seeds": ", ".join(seeds), **sums}}
