"""Checking a pair of hip networks from end to end: card, checksums, tensors, and answers that must not change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fracture.errors import WeightsIntegrityError
from fracture.hip.assembly import self_test
from fracture.hip.card import HipCard
from fracture.hip.store import HipWeights

__all__ = ["verify_hip_weights"]


def verify_hip_weights(folder: Path) -> Iterator[str]:
    """Check the networks in a folder, one line for each thing found in order.

    Raises:
        CardError: The card is malformed.
        WeightsIntegrityError: A checksum, a tensor or an answer differs from the card.
    """
    card = HipCard.read(folder)
    yield f"card {card.label}"
    weights = HipWeights(folder, card)
    for stage in (card.localizer, card.classifier):
        count = sum(tensor.numel() for tensor in weights.tensors(stage).values())
        yield f"{stage.file}: SHA-256 {stage.sha256[:12]}..., {count / 1e6:.2f} million numbers"
    found = self_test(weights)
    yield "networks built and filled"
    expected = card.self_test
    if expected is None:
        yield "self-test: the card states none"
        return
    pairs = [*zip(found.probabilities, expected.probabilities, strict=True), (found.best_score, expected.best_score)]
    gap = max(abs(here - there) for here, there in pairs)
    if gap > expected.tolerance:
        raise WeightsIntegrityError(
            "the self-test film is read differently here than where the networks were made",
            got=f"a difference of {gap:.5f}",
            allowed=f"{expected.tolerance}",
            hint="compare the versions in `fracture info` with those in the card",
        )
    yield f"self-test: largest difference {gap:.5f}"
