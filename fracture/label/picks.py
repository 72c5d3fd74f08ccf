"""Which films a person should label first.

Ours, after uncertainty sampling (Lewis and Gale 1994): *uncertain* films are those whose suspicion is nearest to 0.5,
*unlike* those whose features are farthest from the training films' (the input check's distance). *mixed* takes from
both in turn, since the first kind teaches where the border lies and the second what was never seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Literal, TypeAlias

from fracture.errors import ConfigurationError
from fracture.wing.lines import suspicion_of

Pick: TypeAlias = Literal["uncertain", "unlike", "mixed", "random", "all"]
PICKS: tuple[Pick, ...] = ("uncertain", "unlike", "mixed", "random", "all")


def picked(lines: Sequence[Mapping[str, Any]], pick: Pick, count: int | None, *, seed: int = 0) -> list[int]:
    """Numbers of the lines to label, the most useful first.

    Args:
        lines: JSON lines of ``fracture predict`` of films that could be read.
        pick: See the module's text; ``random`` to measure with, ``all`` in the order they have.
        count: How many; None for all.
        seed: Of ``random``.

    Raises:
        ConfigurationError: An unknown pick, or distances that the lines lack.
    """
    if pick not in PICKS:
        raise ConfigurationError("unknown pick", got=pick, allowed=PICKS)
    numbers = list(range(len(lines)))
    if pick == "random":
        import numpy as np

        numbers = np.random.default_rng(seed).permutation(len(lines)).tolist()
    elif pick != "all":
        uncertain = sorted(numbers, key=lambda i: (abs((suspicion_of(lines[i]) or 0.0) - 0.5), i))
        if pick == "uncertain":
            return uncertain[:count]
        if any(line.get("input_distance") is None for line in lines):
            raise ConfigurationError(
                f"--pick {pick} needs each film's distance from the training films",
                got="lines without input_distance",
                hint="use weights with an input check, or --pick uncertain",
            )
        numbers = sorted(numbers, key=lambda i: (-float(lines[i]["input_distance"]), i))
        if pick == "mixed":
            pairs = chain.from_iterable(zip_longest(uncertain, numbers))
            numbers = list(dict.fromkeys(i for i in pairs if i is not None))
    return numbers[:count]
