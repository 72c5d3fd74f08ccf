"""A small part of ``benchmarks/fuzz.py``: the same kinds, fewer cases, always the same ones."""

from __future__ import annotations

import sys

import pytest

from tests.fuzz.driver import escapes, run_kind
from tests.fuzz.kinds import KINDS

CASES = 45
GENEROUS = 60.0  # seconds for a case: a busy machine is no fault


@pytest.mark.skipif(sys.platform != "linux", reason="workers are bounded by Linux's limits")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_our_errors_come_out(kind: str) -> None:
    outcome = run_kind(kind, CASES, seed=12, limit=GENEROUS)
    assert not outcome.escaped, escapes(outcome)
    assert not outcome.hung
    assert outcome.cases == CASES
    assert outcome.past >= CASES / 3, outcome
    assert outcome.taken < CASES, "nothing was refused: the cases are not damaged"
