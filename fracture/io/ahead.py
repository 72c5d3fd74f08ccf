"""Reading ahead: the next inputs are prepared in threads while the networks work on this one."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(sources: Iterable[A], prepare: Callable[[A], B], workers: int, depth: int) -> Generator[B, None, None]:
    """``prepare(source)`` for each source, in order.

    Args:
        sources: Consumed as results are asked for, at most ``depth`` ahead of the one that is.
        prepare: Called in the threads; what it raises is raised here, in its turn.
        workers: Threads; 0 prepares in the calling thread, when asked.
        depth: Results that may wait, at least 1.
    """
    if workers == 0:
        yield from map(prepare, sources)
        return
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="fracture-read") as pool:
        try:
            for source in sources:
                pending.append(pool.submit(prepare, source))
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def groups_ahead(groups: Sequence[Sequence[A]], prepare: Callable[[A], B], workers: int) -> Iterator[list[B]]:
    """``[prepare(x) for x in group]`` for each group, in order, the next two groups ahead; as :func:`ahead`."""
    depth = 3 * max(map(len, groups), default=0)
    with contextlib.closing(ahead(chain.from_iterable(groups), prepare, workers, depth)) as found:
        for group in groups:
            yield list(islice(found, len(group)))


def source_name(source: object) -> str:
    """How results, warnings and errors call a source.

    A path as it was given, a radiograph or a file object by its own name, else what kind of thing it is: ``<bytes>``,
    ``<file>``, ``<array>``, ``<image>``, ``<dataset>``.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    for one in type(source).__mro__:
        if one.__module__ in _KINDS:
            return _KINDS[one.__module__]
    with contextlib.suppress(Exception):  # an object of the caller's may do anything when it is asked
        if isinstance(source, str | os.PathLike):
            return os.fsdecode(source)
        for attribute in ("source", "name"):
            if isinstance(name := getattr(source, attribute, None), str):
                return name
        if hasattr(source, "read"):
            return "<file>"
        if hasattr(source, "__array__"):
            return "<array>"
    return f"<{type(source).__name__}>"


_KINDS = {"PIL.Image": "<image>", "pydicom.dataset": "<dataset>"}
