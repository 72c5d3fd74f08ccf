"""The commands about annotated sets, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from fracture.data import cli
from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split
from fracture.errors import ConfigurationError, DataError

app = typer.Typer()
for name in cli.__all__:
    app.command(name.replace("_", "-"))(getattr(cli, name))


@pytest.fixture
def table(small_set: AnnotatedSet) -> Path:
    """The small set as a CSV file."""
    path = small_set.root / "labels.csv"
    rows = ["image,group,region,view,fractured,x0,y0,x1,y1"]
    for film in small_set:
        corners = ",".join(str(v) for v in film.boxes[0]) if film.boxes else ",,,"
        rows.append(f"{film.source},{film.group},{film.regions[0]},AP,{film.fractured},{corners}")
    path.write_text("\n".join(rows) + "\n")
    return path


def run(*words: str | Path, fails: type[Exception] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert fails is not None, result.exception
        assert isinstance(result.exception, fails)
    return result.exit_code, result.output


def test_verify_data(table: Path, tmp_path: Path) -> None:
    split, report = tmp_path / "split.json", tmp_path / "out" / "report.json"
    assert run("split-data", table, split, "--folds", "2")[0] == 0
    code, text = run("verify-data", table, "--split", split, "--json", report)
    assert code == 0
    assert "0 errors" in text
    assert json.loads(report.read_text())["checked"] == ["annotations", "files", "duplicates", "split"]
    table.write_text(table.read_text().replace("images/02.png,0,wrist,AP,0,", "images/02.png,0,wrist,AP,0,1"))
    code, text = run("verify-data", table, fails=DataError)
    assert code == 1


def test_verify_data_exit_codes(table: Path) -> None:
    (table.parent / "images/00.png").unlink()
    code, text = run("verify-data", table)
    assert code == 1
    assert "ERROR missing_file (1)" in text
    code, _ = run("verify-data", table, "--no-files")
    assert code == 0
    table.write_text(table.read_text().replace("wrist", ""))
    assert run("verify-data", table, "--no-files")[0] == 0
    assert run("verify-data", table, "--no-files", "--strict")[0] == 1


def test_split_and_cohort(table: Path, tmp_path: Path) -> None:
    code, text = run("split-data", table, tmp_path / "s.json", "--folds", "3", "--seed", "4")
    assert code == 0
    assert Split.read(tmp_path / "s.json").checksum in text
    code, text = run("cohort", table, "--split", tmp_path / "s.json")
    assert code == 0
    assert "| radiographs | 12 | 4 | 4 | 4 |" in text


def test_sample_test(table: Path, tmp_path: Path) -> None:
    code, text = run("sample-test", table, tmp_path / "t.txt", "--per-region", "4", "--fractures", "2")
    assert code == 0
    assert len((tmp_path / "t.txt").read_text().splitlines()) == 8
    assert "wrist: 4 films, 2 fractured" in text


def test_augment_sheet(table: Path, tmp_path: Path) -> None:
    code, _ = run("augment-sheet", table, tmp_path / "x" / "sheet.png", "--films", "2", "--copies", "2")
    assert code == 0
    assert cv2.imread(str(tmp_path / "x" / "sheet.png")).shape == (600, 900, 3)


def test_reader_options(tmp_path: Path, film_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), film_pixels(0))
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    run("verify-data", tmp_path, "--published", "--no-files", fails=DataError)  # one part or none at all
    (tmp_path / "data.yaml").write_text("names: {0: break, 1: metal}\n")
    options = ("-o", "region=wrist", "--option", "fracture-classes=break", "--no-files")
    code, text = run("verify-data", tmp_path, *options)
    assert "1 films, 1 fractured, 1 boxes" in text
    assert code == 1  # no normal films
    run("verify-data", tmp_path, "-o", "wrist", fails=ConfigurationError)
    run("verify-data", tmp_path, "-o", "colour=red", fails=ConfigurationError)
