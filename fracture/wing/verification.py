"""Checking weights from end to end: card, checksums, tensors, and answers that must come out the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from fracture.errors import WeightsIntegrityError, WeightsNotFoundError
from fracture.io.radiograph import Radiograph
from fracture.wing.store import C, Store, Weights

if TYPE_CHECKING:
    import os

__all__ = ["Verifiable", "compare", "find_any", "self_test_film", "verify_weights"]

_WINGS = ("fracture.limb.verification", "fracture.hip.verification")


@dataclass(frozen=True)
class Verifiable(Generic[C]):
    """What a wing's module of verification names ``WING``.

    Attributes:
        store: Where its weights are.
        self_tests: Builds the networks and compares what they say with the card, one line for each thing found.
    """

    store: Store[C]
    self_tests: Callable[[Weights[C]], Iterator[str]]


def find_any(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a set of weights, whichever wing it is of.

    Raises:
        WeightsNotFoundError: No wing has weights of that name, nor a card at that path.
    """
    wings = _wings()
    for wing in wings:
        if (folder := wing.store.locate(name_or_path)) is not None:
            return folder
    raise WeightsNotFoundError(
        "no weights of that name, and no folder with a card at that path",
        got=ascii(str(name_or_path)),
        allowed=sorted(name for wing in wings for name in wing.store.available()),
        hint=f"pass a name, or a folder that holds {' or '.join(wing.store.card.FILE for wing in wings)}",
    )


def verify_weights(folder: Path) -> Iterator[str]:
    """Check the weights in a folder by the card that it holds, one line for each thing found in order.

    Raises:
        CardError: The card is malformed, or there is none.
        WeightsIntegrityError: A checksum, a tensor or an answer differs from the card.
    """
    wings = _wings()
    for wing in [wing for wing in wings if wing.store.locate(folder)] or wings[:1]:
        weights = wing.store.card.read(folder)
        yield from _verify(wing, Weights(folder, weights))


def _verify(wing: Verifiable[C], weights: Weights[C]) -> Iterator[str]:
    yield f"card {weights.card.label}, {len(weights.card.files)} files"
    for part in weights.card.files:
        tensors = weights.tensors(part).values()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            raise WeightsIntegrityError(f"{part.file} holds NaN or infinite numbers")
        count = sum(tensor.numel() for tensor in tensors)
        yield f"{part.file}: SHA-256 {part.sha256[:12]}..., {count / 1e6:.2f} million numbers"
    yield from wing.self_tests(weights)


def compare(what: str, found: Sequence[float], expected: Sequence[float], tolerance: float) -> str:
    """One line about a self-test.

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
    return f"{what}: {here} (card: {there})"


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


def _wings() -> list[Verifiable[Any]]:
    """Imported when they are asked for: their networks need torch."""
    return [importlib.import_module(name).WING for name in _WINGS]
