"""Kills a node 20 times, at every point and at random: 8 senders, 200 films, a real Orthanc that is away for a minute.

    python -m benchmarks.node_kill [--films 200] [--seed 0]

Needs Orthanc and the right to make a network namespace. Ends with 1 where a film that was acknowledged was not read, or
its result is not in Orthanc exactly once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from tests.node.harness import RunningNode
from tests.node.kill_run import kill_run
from tests.node.killing import POINTS
from tests.node.orthanc import orthanc_at, own_network
from tests.ports import free_port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--away", type=float, default=60.0, help="seconds for which Orthanc is not there")
    told = parser.parse_args()
    points = [*POINTS, *["random"] * (20 - len(POINTS))]
    with tempfile.TemporaryDirectory() as folder, own_network():
        place, port = Path(folder), free_port()
        with orthanc_at(place / "orthanc", port) as orthanc:
            target = {"name": "PACS", "ae": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom, "commitment": True}
            settings = {"port": port, "send": [target], "tries": 10, "http": {"port": 0}}
            node = RunningNode(place / "node", settings)
            known = {"FRACTURE": ["FRACTURE", "127.0.0.1", port]}
            kills = 0

            def say(text: str) -> None:
                nonlocal kills
                kills += 1
                print(f"{kills:2} {text}", flush=True)
                if kills == 8:
                    orthanc.stop()
                    threading.Timer(told.away, orthanc.start, [known]).start()
                    print(f"   Orthanc is away for {told.away:.0f} s", flush=True)

            tally = kill_run(node, points, films=told.films, senders=8, seed=told.seed, say=say)
            held = Counter(orthanc.uids())
    print(f"kills {sum(tally.kills.values())}: {dict(tally.kills)}")
    print(f"films {tally.films}, acknowledged {tally.acknowledged}, read {tally.read}, dead {tally.dead}")
    print(f"results {len(tally.results)}, in Orthanc {len(held)}, more than once {sum(n > 1 for n in held.values())}")
    print(f"films by how often they were claimed: {dict(sorted(tally.claims.items()))}; {tally.seconds:.0f} s")
    well = tally.films == tally.acknowledged == tally.read == len(tally.results) and tally.dead == 0
    return 0 if well and set(held) == tally.results and set(held.values()) == {1} else 1


if __name__ == "__main__":
    sys.exit(main())
