"""From a finished run to a folder of weights with a card that carries its self-test: what all wings do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fracture._version import __version__
from fracture.training.finished import copy_weights, for_card, read_finished
from fracture.wing.card import BaseCard
from fracture.wing.store import Store, Weights

C = TypeVar("C", bound=BaseCard)
Stages = Mapping[str, Mapping[str, Any]]


def assemble_card(
    store: Store[C],
    run: str | Path,
    out: str | Path,
    names: Sequence[str],
    describe: Callable[[Stages], Mapping[str, Any]],
    facts: Mapping[str, Any] | None,
    self_test: Callable[[Weights[C]], Any],
) -> C:
    """Write a folder of weights.

    Args:
        store: Of the wing.
        run: Run folder.
        out: The folder to write.
        names: Networks of the run that it takes over.
        describe: The wing's own fields of the card, and others than those written here, from what the run says of each.
        facts: Fields of the card that the caller sets, above all others.
        self_test: What the networks say, for the card.

    Returns:
        The card, as written.

    Raises:
        DataError: A network is missing or unfinished.
        CardError: Facts that no card has.
        ConfigurationError: ``out`` holds other weights, or is the folder of something else.
    """
    run, out, given = Path(run), Path(out), dict(facts or {})
    stages = read_finished(run, names)
    values: dict[str, Any] = {
        "version": "0",
        "created": datetime.now(UTC).date().isoformat(),
        "description": f"made by fracture {__version__}",
        "limitations": ["Measured only where the metrics below say so."],
        **_origin([stage["training"] for stage in stages.values()]),
        **describe(stages),
        **given,
    }
    store.check_place(out, str(values["name"]))
    card = store.card.parse(values, f"the card of these {store.kind}")
    copy_weights(run, names, out)
    card.model_copy(update={"self_test": self_test(Weights(out, card))}).write(out)
    return store.card.read(out)


def network_of(stages: Stages, name: str, *, without: Sequence[str] = ("license", "attribution")) -> dict[str, Any]:
    """A network's part of a card: its file with its SHA-256, its specification where it has one, and its training."""
    stage = stages[name]
    part = {"file": f"{name}.safetensors", "sha256": stage["sha256"]}
    part |= {"model": stage["model"]} if "model" in stage else {}
    return {**part, "training": for_card(stage["training"], without=without)}


def _origin(training: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """License and attribution of the films, by the last of the networks."""
    last = training[-1]
    return {
        "license": last.get("license") or "not stated",
        "attribution": [line for line in last.get("attribution", "").splitlines() if line],
    }
