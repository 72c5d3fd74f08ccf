"""Inputs are prepared ahead, in order, within bounds; what preparing one raises comes in its turn."""

from __future__ import annotations

import threading

import pytest

from fracture.io.ahead import ahead, groups_ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_groups_keep_their_order_and_size(workers: int) -> None:
    groups = [[1, 2, 3], [], [4], range(5, 9)]
    assert list(groups_ahead(groups, str, workers)) == [["1", "2", "3"], [], ["4"], ["5", "6", "7", "8"]]
    assert list(groups_ahead([], str, workers)) == []


def test_no_more_is_prepared_than_may_wait() -> None:
    taken = []

    def sources() -> object:
        for n in range(100):
            taken.append(n)
            yield n

    found = ahead(sources(), str, 2, 4)  # type: ignore[arg-type]
    assert next(found) == "0"
    assert len(taken) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_in_its_turn_and_ends_the_threads(workers: int) -> None:
    def prepare(n: int) -> float:
        return 1 / (n - 3)

    groups = groups_ahead([[0, 1], [2, 3], [4, 5]], prepare, workers)
    assert next(groups) == [-1 / 3, -1 / 2]
    with pytest.raises(ZeroDivisionError):
        next(groups)
    assert not [t for t in threading.enumerate() if t.name.startswith("fracture-read") and t.is_alive()]
