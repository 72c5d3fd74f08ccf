"""Every number of a whole report, held against stored ones: what is counted stays, however code or page are rebuilt.

Numbers are compared, not names or markup. ``python -m tests.evaluation.test_eval_golden`` writes them anew; do that
only where a number is meant to change, and say so in the CHANGELOG.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from fracture.evaluation import (
    Settings,
    compare_models,
    compare_readers,
    evaluate,
    join,
    read_predictions,
    read_readings,
    read_reference,
)
from tests.evaluation.simulated import predictions, reference, write, write_lines

GOLDEN = Path(__file__).with_name("golden_report.json")
KEPT_OF_BAND = 40
"""Of the long lists (the ROC bands' 201 points) every so many-th number is stored."""


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a JSON-like value with their paths, in order."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(content, (list, tuple)):
        for place in range(0, len(content), KEPT_OF_BAND if len(content) > 100 else 1):
            yield from leaves(content[place], f"{path}[{place}]")
    elif isinstance(content, (int, float)):
        yield path, float(content)


def page_numbers(page: str) -> list[str]:
    """The numbers that a reader of the page sees, in order, without its date, versions and checksums."""
    text = re.sub(r"<style>.*?</style>|<title>.*?</title>|<footer>.*?</footer>", " ", page, flags=re.DOTALL)
    text = re.sub(r"Made [-0-9]+ by fracture [^<]*", " ", text)
    return re.findall(r"\d[\d,]*(?:\.\d+)?", unescape(re.sub(r"<[^>]*>", " ", text)))


def measured(folder: Path) -> tuple[dict[str, float], list[str]]:
    """The report's numbers by path and the page's in order: made-up films, a second model and three readers."""
    lines, truth_path = write(folder)
    truth = read_reference(truth_path)
    cases = join(read_predictions(lines), truth)
    second = join(read_predictions(write_lines(folder / "b.jsonl", predictions(reference(), skill=0.8, seed=9))), truth)
    rng = np.random.default_rng(3)
    rows = ["reader,file_name,fractured,training"]
    for reader, training, error in (("a", "resident", 0.3), ("b", "resident", 0.3), ("c", "expert", 0.05)):
        for name, label in zip(cases.names[:100], cases.labels[:100], strict=True):
            rows.append(f"{reader},{Path(name).name},{int(label ^ (rng.random() < error))},{training}")
    (folder / "readers.csv").write_text("\n".join(rows))
    opponents = (compare_models(cases, second), *compare_readers(cases, read_readings(folder / "readers.csv")))
    report = evaluate(cases, Settings(resamples=200, seed=4), opponents=opponents)
    page = report.save(folder / "out").read_text(encoding="utf-8")
    content = report.to_dict()
    del content["manifest"]
    fractures = [line.split(",")[1:] for line in report.fractures_csv().splitlines()[1:]]
    content["fractures"] = [[float(cell) for cell in row if cell] for row in fractures]
    return dict(sorted(leaves(content))), page_numbers(page)


def test_report_and_page_hold_the_stored_numbers(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    found, page = measured(tmp_path)
    assert len(found) == len(golden["report"])
    for (path, value), wanted in zip(found.items(), golden["report"], strict=True):
        assert abs(value - wanted) <= 1e-7 * max(1.0, abs(wanted)), (path, value, wanted)
    assert page == golden["page"].split()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        report_numbers, numbers_shown = measured(Path(place))
    stored = {"report": [float(f"{value:.9g}") for value in report_numbers.values()], "page": " ".join(numbers_shown)}
    GOLDEN.write_text(json.dumps(stored, separators=(",", ":")) + "\n")
