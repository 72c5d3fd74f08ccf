"""Peak memory and time of the whole report for 20,000 films, in a process of its own.

    python benchmarks/evaluation_report_memory.py

Aim: under 1 GiB. JSON lines with 5 candidate boxes per film, 4 regions, groups, sites; m = 1000; all plots and HTML.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FILMS = 20_000

RUN = """
import resource, sys, time
from fracture.evaluation import evaluate, join, read_predictions, read_reference
start = time.perf_counter()
cases = join(read_predictions(sys.argv[1]), read_reference(sys.argv[2]))
report = evaluate(cases)
report.save(sys.argv[3])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"| {len(cases):,} | {len(cases.predicted):,} | {peak:.0f} | {time.perf_counter() - start:.1f} |")
assert "torch" not in sys.modules
"""


def write(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    images, annotations, lines = [], [], []
    for film in range(FILMS):
        fractured = bool(rng.random() < 0.15)
        name = f"film{film:05d}.png"
        images.append(
            {
                "id": film,
                "file_name": name,
                "width": 400,
                "height": 500,
                "fractured": int(fractured),
                "regions": [("hand", "leg", "hip", "shoulder")[film % 4]],
                "views": [("frontal", "lateral")[film % 2]],
                "site": "AB"[film % 7 == 0],
                "hardware": int(rng.random() < 0.02),
                "group": film // 5,
                "label_conflict": bool(rng.random() < 0.02),
            }
        )
        corners = rng.uniform(0, 350, (5, 2))
        sides = rng.uniform(10, 50, (5, 2))
        if fractured:
            box = [*corners[0].tolist(), *sides[0].tolist()]
            annotations.append({"id": len(annotations) + 1, "image_id": film, "category_id": 1, "bbox": box})
        probability = float(1 / (1 + np.exp(-rng.normal(2.7 * fractured - 2.5))))
        candidates = [
            {"x0": x, "y0": y, "x1": x + w, "y1": y + h, "score": probability * float(s)}
            for (x, y), (w, h), s in zip(corners.tolist(), sides.tolist(), rng.random(5), strict=True)
        ]
        record = {"source": name, "width": 400, "height": 500, "probability": probability, "threshold": 0.15}
        record |= {"fractured": probability >= 0.15, "boxes": [], "candidates": candidates, "error": None}
        lines.append(json.dumps(record))
    reference = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fracture"}]}
    (folder / "reference.json").write_text(json.dumps(reference))
    (folder / "predictions.jsonl").write_text("\n".join(lines))
    return folder / "predictions.jsonl", folder / "reference.json"


def main() -> None:
    print("| films | candidate boxes | peak RSS MiB (aim: under 1024) | s |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [str(path) for path in (*write(folder), folder / "report")]
        subprocess.run([sys.executable, "-c", RUN, *paths], check=True, cwd=Path(__file__).resolve().parent.parent)


if __name__ == "__main__":
    main()
