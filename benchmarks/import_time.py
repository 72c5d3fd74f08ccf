"""``import fracture`` and ``fracture --help`` against bare Python.

    python benchmarks/import_time.py

Aims: under 0.3 s and under 0.6 s more than bare Python; torch imported by neither.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def median_seconds(*arguments: str, repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    bare = median_seconds("-c", "pass")
    print("| command | median s | more than bare Python |\n|---|---|---|")
    print(f"| python -c pass | {bare:.3f} | |")
    for name, arguments in (
        ("python -c 'import fracture'", ("-c", "import fracture")),
        ("fracture --help", ("-m", "fracture", "--help")),
    ):
        seconds = median_seconds(*arguments)
        print(f"| {name} | {seconds:.3f} | {seconds - bare:.3f} |")
    code = "import sys, fracture, fracture.cli; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(f"\ntorch imported by either: {answer}")


if __name__ == "__main__":
    main()
