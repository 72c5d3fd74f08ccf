"""Seeds that depend on what is drawn and on nothing else: not on workers, ranks, or a global generator."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, epoch: int, index: int, *, stream: str = "augment") -> int:
    """A 64-bit seed for one draw, from the run's seed, the epoch and the position of the film in its set.

    BLAKE2b of the four, so that it is the same on every machine and for every version of numpy. Different
    ``stream`` names give unrelated seeds for the same film.

    Args:
        seed: The run's.
        epoch: From 0.
        index: The film's position in its set, from 0.
        stream: What the draw is for.
    """
    text = f"{stream}:{int(seed)}:{int(epoch)}:{int(index)}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def generator(seed: int) -> np.random.Generator:
    """A generator of its own (PCG64) for a seed from :func:`derive_seed`."""
    return np.random.Generator(np.random.PCG64(seed))
