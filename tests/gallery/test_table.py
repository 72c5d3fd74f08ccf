"""Results as tables: nothing of a line is lost, names cannot become formulas, failures have their row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import fracture
from fracture.errors import ConfigurationError, UnreadableFileError
from fracture.gallery.table import row_of, write_csv, write_parquet
from fracture.limb.prediction import Prediction
from fracture.wing.lines import suspicion_of
from fracture.wing.result import Box, Failure


def prediction(source: str = "a.png", **changes: Any) -> Prediction:
    values: dict[str, Any] = {"probability": 0.05, "threshold": 0.04, "fractured": True, "regions": ("wrist",)}
    values |= {"boxes": (Box(1, 2, 3, 4, 0.5), Box(2, 2, 9, 9, 0.25)), "thresholds": {"high_sensitivity": 0.04}}
    return Prediction(source=source, width=16, height=9, **values | changes)


FAILURE = Failure.of("b.png", UnreadableFileError("b.png: cut off"))
HIPS = {
    "source": "c.png",
    "hips": [
        {"fractured": False, "fracture_probability": 0.1, "threshold": 0.5},
        {"fractured": True, "fracture_probability": 0.7, "threshold": 0.5},
    ],
    "error": None,
}


def test_a_row_holds_all_of_a_line() -> None:
    line = prediction(warnings=("one", "two")).to_dict()
    row = row_of(line)
    assert row["ok"] is True
    assert row["suspicion"] == pytest.approx(0.558, abs=1e-3)
    assert row["n_boxes"] == 2
    assert json.loads(row["boxes"]) == line["boxes"]
    assert row["thresholds.high_sensitivity"] == 0.04
    assert row["warnings"] == "one; two"
    assert row["region"] == "wrist"
    told = {name.split(".")[0].removeprefix("n_") for name in row}
    empty = {name for name, value in line.items() if value in ({}, [])}
    assert set(line) - {"error", "regions"} - empty <= told


def test_hips_and_failures_have_rows() -> None:
    row = row_of(HIPS)
    assert (row["fractured"], row["suspicion"], row["n_hips"]) == (True, pytest.approx(0.7), 2)
    failed = row_of(FAILURE.to_dict())
    assert (failed["ok"], failed["fractured"], failed["suspicion"]) == (False, None, None)
    assert (failed["error_type"], failed["error_message"]) == ("UnreadableFileError", "b.png: cut off")


def test_a_film_without_hips_is_not_suspicious() -> None:
    assert suspicion_of({"source": "x", "hips": [], "error": None}) is None
    assert row_of({"source": "x", "hips": [], "error": None})["n_hips"] == 0


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_name_is_no_formula(name: str) -> None:
    out = io.StringIO()
    write_csv([row_of(prediction(name).to_dict())], out)
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert row["source"] == "'" + name
    assert float(row["suspicion"]) > 0.5  # numbers stay numbers


def test_csv_gives_back_any_name() -> None:
    names = ['a,"b"\n;c.png', "Röntgen ü.png", "a\udcff.dcm"]
    out = io.StringIO()
    write_csv([row_of(prediction(name).to_dict()) for name in names], out)
    out.getvalue().encode("utf-8")
    back = [row["source"] for row in csv.DictReader(io.StringIO(out.getvalue(), newline=""))]
    assert back == [*names[:2], "a\\udcff.dcm"]


def test_a_frame_takes_results_and_lines() -> None:
    pandas = pytest.importorskip("pandas")
    results = [prediction(), FAILURE, HIPS]
    frame = fracture.to_frame(results)
    assert list(frame["source"]) == ["a.png", "b.png", "c.png"]
    assert list(frame.columns[:4]) == ["source", "ok", "fractured", "suspicion"]
    assert pandas.isna(frame["suspicion"][1])
    lines = [one if isinstance(one, dict) else json.loads(json.dumps(one.to_dict())) for one in results]
    pandas.testing.assert_frame_equal(frame, fracture.to_frame(lines))
    assert fracture.to_frame([]).empty


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigurationError, match=r"\[table\]"):
        fracture.to_frame([])


def test_parquet_says_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row_of(one.to_dict()) for one in (prediction("a\udcff.dcm"), FAILURE)]
    write_parquet(rows, tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["source"] for row in table] == ["a\\udcff.dcm", "b.png"]
    assert table[0]["probability"] == 0.05
    assert table[1]["probability"] is None
