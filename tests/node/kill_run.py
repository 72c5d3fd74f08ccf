"""Kills a node again and again while films come in, and counts what came of every film."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fracture.jobs import DEAD, DONE
from tests.node.harness import RunningNode, Senders, film, until
from tests.node.killing import POINTS

__all__ = ["Tally", "kill_run"]


@dataclass
class Tally:
    """What came of a run.

    Attributes:
        kills: How often a process was killed, by point; ``random`` for those that were hit from outside.
        films, acknowledged, read: How many films there were, were acknowledged, and were read.
        results: Objects that were made, each with a job that sends it.
        dead: Jobs given up.
        claims: Films by how often they were claimed.
        seconds: Wall time.
    """

    kills: Counter[str] = field(default_factory=Counter)
    films: int = 0
    acknowledged: int = 0
    read: int = 0
    results: set[str] = field(default_factory=set)
    dead: int = 0
    claims: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def kill_run(
    node: RunningNode,
    points: Sequence[str],
    *,
    films: int,
    senders: int,
    seed: int = 0,
    say: Callable[[str], object] = str,
) -> Tally:
    """Send films while processes are killed, then let the node come to rest.

    Args:
        node: Not started.
        points: Where it is killed, one after the other: names of ``killing.POINTS`` or ``"random"``.
        films: How many are sent, in equal parts, one part before each kill.
        senders: How many send at once; each repeats what was not acknowledged.
        seed: Of the choice of moments.
        say: Told of each kill.
    """
    rng, tally, began = random.Random(seed), Tally(films=films), time.monotonic()
    parts = [[film(n, study=n // 2) for n in range(k, films, len(points))] for k in range(len(points))]
    acknowledged: set[str] = set()
    for point, part in zip(points, parts, strict=True):
        armed = (point, str(rng.randint(1, 3))) if point in POINTS else ()
        node.start(*armed)
        with Senders(node.port, part, senders).at_work() as sending:
            seen = _restarts(node)
            if not armed:
                time.sleep(rng.uniform(0.2, 2.0))
                _kill_one(node, rng)
            until(lambda seen=seen: node.dead or _restarts(node) > seen, 120, point)
            tally.kills[point] += 1
            say(f"{point} {' '.join(armed[1:])}: {'the node' if node.dead else 'a child'} was killed")
            if node.dead or armed:
                node.kill()
                node.start()
            sending.wait()
            acknowledged |= sending.acknowledged
        node.kill()  # and the rest of it, without a word
    node.start()
    jobs = node.jobs()
    until(lambda: node.drained(jobs), 600, "the node comes to rest")
    node.stop()
    reads = jobs.listing(kinds=["read"], limit=10**6)
    tally.acknowledged = len(acknowledged)
    tally.read = len({job.key for job in reads if job.state == DONE} & acknowledged)
    tally.claims = Counter(job.claims for job in reads)
    tally.results = {job.key for job in jobs.listing(kinds=["send:PACS"], states=[DONE], limit=10**6)}
    tally.dead = len(jobs.listing(states=[DEAD], limit=10**6))
    tally.seconds = time.monotonic() - began
    jobs.close()
    return tally


def _restarts(node: RunningNode) -> int:
    return sum(line["event"] == "a process died" for line in node.log())


def _kill_one(node: RunningNode, rng: random.Random) -> None:
    """The node itself or one of its processes."""
    if node.process is None:
        return
    main = node.process.pid
    family = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
    os.kill(rng.choice(family), signal.SIGKILL)
    node.process.poll()
