"""Checking weights from end to end: card, checksums, tensors, thresholds, and a score that must come out the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fracture.card import Card
from fracture.detector import Detector
from fracture.ensemble import Ensemble
from fracture.errors import WeightsIntegrityError
from fracture.fast import fast_view
from fracture.store import Weights, read_tensors, self_test_film

__all__ = ["verify_weights"]


def verify_weights(folder: Path) -> Iterator[str]:
    """Check the weights in a folder, one line for each thing found in order.

    Raises:
        CardError: The card, its operating points or its box parameters are malformed.
        WeightsIntegrityError: A checksum, a tensor or the self-test's score differs from the card.
    """
    card = Card.read(folder)
    yield f"card {card.label}, {len(card.members)} members"
    weights = Weights(folder, card)
    for member in card.members:
        count = sum(tensor.numel() for tensor in read_tensors(weights, member).values())
        yield f"{member.file}: SHA-256 {member.sha256[:12]}..., {count / 1e6:.2f} million numbers"
    ensemble = Ensemble.load(weights, device="cpu", precision="float32")
    detector = Detector(ensemble, card)
    yield f"networks built and filled; operating points at {', '.join(detector.operating_points.nodes) or 'no node'}"
    if (check := card.input_check) is not None:  # read and checked with the members
        yield f"{check.file}: SHA-256 {check.sha256[:12]}..., input check on {check.member}, limit {check.limit:.2f}"
    yield _self_test(detector, "self-test")
    if card.fast is not None:
        view = fast_view(card)
        fast = Ensemble.load(Weights(folder, view), device="cpu", precision="float32")
        yield _self_test(Detector(fast, view), f"fast subset of {len(view.members)}, self-test")


def _self_test(detector: Detector, what: str) -> str:
    expected = detector.card.self_test
    if expected is None:
        return f"{what}: the card states none"
    probability = detector.predict(self_test_film()).probability
    if abs(probability - expected.probability) > expected.tolerance:
        raise WeightsIntegrityError(
            f"{what}: the self-test film scores differently here than where the weights were made",
            got=f"{probability:.5f}",
            allowed=f"{expected.probability:.5f} within {expected.tolerance}",
            hint="compare the versions in `fracture info` with those in the card",
        )
    return f"{what}: {probability:.5f} (card: {expected.probability:.5f})"
