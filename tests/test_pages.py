"""The Python of the pages runs as it stands there, in a folder that holds what the page names."""

from __future__ import annotations

import codeop
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from fracture import simulate

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"


def films(folder: Path) -> None:
    (folder / "examples").symlink_to(EXAMPLES)
    shutil.copy(EXAMPLES / "wrist_radius_transverse.dcm", folder / "film.dcm")


def hips(folder: Path) -> None:
    for seed, name in enumerate(("pelvis.dcm", "ap.dcm", "frog.dcm")):
        Image.fromarray(simulate.pelvis(seed).pixels).save(folder / name, format="PNG")


def lumbar(folder: Path) -> None:
    from fracture.spine.lumbar.studies import write_studies

    write_studies(folder / "studies", 1, seed=3)
    (study,) = (folder / "studies" / "train_images").iterdir()
    shutil.copytree(study, folder / "study")
    (folder / "study" / "1").rename(folder / "study" / "t2_sagittal")
    (folder / "STUDY").symlink_to("study")


def cervical(folder: Path) -> None:
    pytest.importorskip("nibabel", reason="needs the extra [spine]")
    simulate.neck(3, spacing=(3.0, 0.9, 0.9), partial=0).write(folder / "STUDY")


def scored(folder: Path) -> None:
    from fracture.spine.cervical import metric as cervical
    from fracture.spine.lumbar import metric as lumbar

    grades = ("Normal/Mild", "Moderate", "Severe")
    rows = [[str(study), *(grades[(study + k) % 3] for k in range(len(lumbar.ROWS)))] for study in range(6)]
    for name in ("STUDIES", "LUMBAR", "CERVICAL"):
        (folder / name).mkdir()
    table(folder / "STUDIES" / "train.csv", ["study_id", *lumbar.ROWS], rows)
    even = {f"{study}_{row}": (0.5, 0.3, 0.2) for study in range(6) for row in lumbar.ROWS}
    lumbar.write_submission(folder / "LUMBAR" / "submission.csv", even)
    draw = np.random.default_rng(0)
    levels = draw.random((40, 7)) < 0.2
    truth = {f"exam{k}": np.append(row, row.any()) for k, row in enumerate(levels)}
    cervical.write_labels(folder / "CERVICAL" / "train.csv", truth)
    said = {f"{exam}_{label}": (float(draw.beta(2, 4)),) for exam in truth for label in cervical.LABELS}
    cervical.write_submission(folder / "CERVICAL" / "submission.csv", said)


def table(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [head, *rows]))


def judged(folder: Path) -> None:
    rows = [{"source": f"films/{k}.png", "probability": k / 40, "fractured": k > 20, "boxes": []} for k in range(40)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = [{"id": k, "file_name": f"{k}.png", "width": 9, "height": 9, "patient": k // 2} for k in range(40)]
    found = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 4, 4]} for k in range(0, 40, 3)]
    coco = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "fracture"}]}
    (folder / "annotations.json").write_text(json.dumps(coco))
    (folder / "films").mkdir()
    for k in range(40):
        Image.new("L", (9, 9)).save(folder / "films" / f"{k}.png")


RUN: dict[str, Callable[[Path], None]] = {
    "README.md": films,
    "docs/index.md": films,
    "docs/deidentify.md": films,
    "docs/dicom_results.md": films,
    "docs/hip.md": hips,
    "docs/series.md": lumbar,
    "docs/lumbar.md": lumbar,
    "docs/cervical.md": cervical,
    "docs/scores.md": scored,
    "docs/evaluation.md": judged,
}
ELSEWHERE = {
    "docs/extending.md": "tests/test_extending.py",
    "docs/calibration.md": "tests/test_calibration.py and tests/test_out_of_fold.py call both functions",
    "docs/own_bone.md": "notebooks/02_fine_tune.ipynb takes the same steps",
    "docs/joints.md": "notebooks/05_joints.ipynb takes the same steps",
}


def blocks(page: str) -> list[str]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_with_python_is_run_somewhere() -> None:
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    assert {page.relative_to(REPOSITORY).as_posix() for page in pages if "```python\n" in page.read_text()} == {
        *RUN,
        *ELSEWHERE,
    }


@pytest.mark.parametrize("page", RUN)
def test_the_page_s_python_can_be_pasted_at_the_prompt(page: str) -> None:
    """Up to Python 3.12 the prompt ends a loop's body at an empty line alone, and the next statement is an error."""
    for block in blocks(page):
        statement: list[str] = []
        for line in [*block.splitlines(), ""]:
            statement.append(line)
            if codeop.compile_command("\n".join(statement), page, "single") is not None:
                statement = []
        assert statement == []


@pytest.mark.docs
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_page_s_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RUN[page](tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)
    plt.close("all")
