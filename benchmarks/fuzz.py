"""Damaged and hostile inputs of every kind: nothing but a FractureError may come out, in bounded time and memory.

    python benchmarks/fuzz.py                        # 2,000 cases of each kind
    python benchmarks/fuzz.py card toml --cases 500 --seed 7
    python benchmarks/fuzz.py card --seed 7 --show 123 > case    # the content of one case

Exit code 0: nothing escaped, nothing hung, and at least a third of each kind got past its header; 1: not so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.driver import HEADING, case_bytes, escapes, run_kind
from tests.fuzz.kinds import KINDS

SHARE = 1 / 3


def main() -> int:
    """Run the kinds asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for a case")
    parser.add_argument("--workers", type=int, default=2, help="kinds that run at a time")
    parser.add_argument("--show", type=int, metavar="NUMBER", help="write the content of this case to stdout")
    asked = parser.parse_args()
    if asked.show is not None:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.buffer.write(case_bytes(asked.kinds[0], asked.seed, asked.show, Path(folder)))
        return 0
    print(HEADING, flush=True)
    failed = False
    with ThreadPoolExecutor(asked.workers) as pool:
        for outcome in pool.map(lambda kind: run_kind(kind, asked.cases, asked.seed, limit=asked.limit), asked.kinds):
            print(outcome.row(), flush=True)
            if outcome.escaped or outcome.hung or outcome.past < SHARE * outcome.cases:
                failed = True
                print(escapes(outcome), f"hung: {outcome.hung}" if outcome.hung else "", sep="\n", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
