"""Checking weights from end to end: card, checksums, tensors, and answers that must come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fracture.errors import WeightsIntegrityError
from fracture.io.radiograph import Radiograph
from fracture.wing.card import Section, SelfTest
from fracture.wing.contract import Wing, registered
from fracture.wing.reader import ReaderBase
from fracture.wing.store import C, Weights


def verify_weights(folder: Path) -> Iterator[str]:
    """Check the weights in a folder by the card that it holds, one line for each thing found in order.

    Raises:
        CardError: The card is malformed, or there is none.
        WeightsIntegrityError: A checksum, a tensor or an answer differs from the card.
    """
    wings, _ = registered()
    for wing in [wing for wing in wings if wing.store.locate(folder)] or wings[:1]:
        yield from _verify(wing, Weights(folder, wing.store.card.read(folder)))


def _verify(wing: Wing[C], weights: Weights[C]) -> Iterator[str]:
    yield f"card {weights.card.label}, {len(weights.card.files)} files"
    for part in weights.card.files:
        tensors = weights.tensors(part).values()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise WeightsIntegrityError(f"{part.file} holds NaN or infinite numbers")
        count = sum(tensor.numel() for tensor in tensors)
        yield f"{part.file}: SHA-256 {part.sha256[:12]}..., {count / 1e6:.2f} million numbers"
    yield from wing.self_tests(weights)


def compare(what: str, found: Sequence[float], expected: Sequence[float], tolerance: float) -> str:
    """One line about a self-test: its numbers, or of more than eight how far they are off.

    Raises:
        WeightsIntegrityError: A number is further from what the card says than its tolerance.
    """
    here, there = (", ".join(f"{value:.5f}" for value in values) for values in (found, expected))
    if not all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True)):
        raise WeightsIntegrityError(
            f"{what}: the self-test film scores differently here than where the weights were made",
            got=here,
            allowed=f"{there} within {tolerance}",
            hint="compare the versions in `fracture info` with those in the card",
        )
    if len(found) > 8:
        off = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        return f"{what}: {len(found)} numbers, at most {off:.5f} from the card's (allowed {tolerance:g})"
    return f"{what}: {here} (card: {there})"


def compare_tests(found: Section, expected: Section | None, what: str = "self-test") -> str:
    """One line about what a card's ``self_test`` says and what the networks say here: all their numbers in order.

    Raises:
        WeightsIntegrityError: See :func:`compare`.
    """
    if expected is None:
        return f"{what}: the card states none"
    return compare(what, _numbers(found), _numbers(expected), float(getattr(expected, "tolerance")))  # noqa: B009


def _numbers(test: Section) -> list[float]:
    """A self-test's numbers without their tolerance."""
    values = [value for name, value in test if name != "tolerance"]
    return [float(number) for value in values for number in (value if isinstance(value, tuple) else (value,))]


def self_test(reader: ReaderBase[Any, Any, Any], test: SelfTest | None, source: object, what: str = "self-test") -> str:
    """One line about a reader whose results have a ``probability``: what it says of a fixed source.

    Raises:
        WeightsIntegrityError: Something else than the card says.
    """
    found = reader.predict(source).probability
    if test is None:
        return f"{what}: the card states none; here {found:.5f}"
    return compare(what, [found], [test.probability], test.tolerance)


def self_test_film() -> Radiograph:
    """A fixed film made of formulas, for checking that weights compute here what they computed where they were made.

    It is drawn, not simulated, so that it never changes: a tube of bone in soft tissue with a dark oblique line.
    """
    y, x = np.mgrid[0:416, 0:320].astype(np.float64)
    axis = 160 + 14 * np.sin(y / 90)
    across = np.abs(x - axis)
    tissue = 0.22 * np.clip(1 - (across / 95) ** 2, 0, None) ** 0.5
    bone = 0.42 * np.clip(1 - (across / 38) ** 2, 0, None) ** 0.5
    marrow = 0.20 * np.clip(1 - (across / 24) ** 2, 0, None) ** 0.5
    line = 1 - 0.5 * np.exp(-(((y - 210 - 0.45 * (x - 160)) / 2.5) ** 2))
    texture = 0.012 * np.sin(x / 3.1) * np.sin(y / 2.7)
    pixels = 0.06 + tissue + (bone - marrow) * line + texture * (across < 38)
    return Radiograph(np.clip(pixels, 0, 1).astype(np.float32), source="<self-test>")
