"""From a run folder to a set of joint networks with a card that ``fracture.joints.load`` opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fracture.joints.card import STORE, JointsCard
from fracture.joints.scoring import FAMILIES
from fracture.wing.assembly import Stages, assemble_card, network_of

_TRUNK = "Trunk of the point networks: hand landmark model (full) of MediaPipe Hands, Google, Apache-2.0"


def assemble(run: str | Path, out: str | Path, facts: Mapping[str, Any] | None = None) -> JointsCard:
    """Write a folder of joint networks from a run with ``finder`` and ``placer``; score networks where there are any.

    Args:
        run: Run folder of :func:`fracture.joints.train`.
        out: Folder to write.
        facts: Fields of the card to set: ``name``, ``version``, ``description``, ``license``, ``attribution``,
            ``intended_use``, ``limitations``, ``parts``, ``data``, ``metrics``.

    Returns:
        The card, as written.

    Raises:
        DataError, CardError, ConfigurationError: As for :func:`fracture.wing.assembly.assemble_card`.
    """
    from fracture.joints.reader import self_test

    scored = {name: f"scores_{name}" for name in FAMILIES if (Path(run) / f"scores_{name}.json").exists()}

    def describe(stages: Stages) -> Mapping[str, Any]:
        judged = {family: stages[name]["training"].get("results", {}) for family, name in scored.items()}
        points = str(stages["placer"]["training"].get("set", "films with marked points"))
        painted = "lesions painted into films with marked points; no film with rheumatoid damage"
        return {
            "name": "joints",
            "intended_use": "Research on radiographs of hands and forefeet; not a medical device.",
            "limitations": [
                "Damage scores are proven on painted lesions only.",
                "Measured only where the metrics below say so.",
            ],
            "attribution": [_TRUNK],
            "finder": network_of(stages, "finder", model=False),
            "placer": network_of(stages, "placer", model=False),
            "scores": {family: network_of(stages, name) for family, name in scored.items()},
            "parts": {"points": {"trained_on": points}} | ({"scores": {"trained_on": painted}} if scored else {}),
            "metrics": {"scores": judged} if scored else {},
        }

    return assemble_card(STORE, run, out, ("finder", "placer", *scored.values()), describe, facts, self_test)
