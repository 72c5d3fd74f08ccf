"""What a command costs before it does its work: against bare Python, and against the import of torch.

    OMP_NUM_THREADS=1 python benchmarks/import_time.py [FILM] [--repeats 9]

All rows take turns within one run, each in a process of its own; processor time of user and system, which other
processes disturb less than wall time. Aims: ``import fracture`` at most 0.3 s and ``fracture --help`` 0.6 s more than
bare Python, without torch; ``fracture info`` 2 s; ``fracture predict FILM`` at most 1.3 times the import of torch and
the prediction.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

_PREDICTION = """
import sys, time, torch, fracture
reader = fracture.load(device="cpu", engine="torch")
begun = time.process_time()
next(iter(reader.predict_many([sys.argv[1]])))
print(time.process_time() - begun)
"""


def spent(*arguments: str) -> tuple[float, float, str]:
    """Processor and wall seconds of ``python ARGUMENTS``, and its output."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return processor, time.perf_counter() - begun, done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", default=str(next(iter(sorted(Path("examples").glob("*.png"))))))
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    rows = {
        "python -c pass": ("-c", "pass"),
        "python -c 'import fracture'": ("-c", "import fracture"),
        "fracture --help": ("-m", "fracture", "--help"),
        "fracture info": ("-m", "fracture", "info"),
        "python -c 'import torch'": ("-c", "import torch"),
        "fracture predict FILM": ("-m", "fracture", "predict", asked.film, "--device", "cpu", "--engine", "torch"),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    predictions = []
    for _ in range(asked.repeats):
        for name, arguments in rows.items():
            found[name].append(spent(*arguments)[:2])
        predictions.append(float(spent("-c", _PREDICTION, asked.film)[2]))
    print("| command | processor, s | wall, s |\n|---|---|---|")
    middle = {name: [statistics.median(one) for one in zip(*all_, strict=True)] for name, all_ in found.items()}
    for name, (processor, wall) in middle.items():
        print(f"| {name} | {processor:.2f} | {wall:.2f} |")
    prediction, torch = statistics.median(predictions), middle["python -c 'import torch'"][0]
    whole = middle["fracture predict FILM"][0]
    print(f"| of it the prediction, the first of a process | {prediction:.2f} | |")
    print(f"\nfracture predict: {whole / (torch + prediction):.2f} times the import of torch and the prediction")
    code = "import sys, fracture, fracture.cli; print('torch' in sys.modules)"
    print(f"torch imported by `import fracture` or the list of commands: {spent('-c', code)[2]}")


if __name__ == "__main__":
    main()
