"""Benchmarks: every file can be imported, and one is run in small, with networks that learn nothing."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from pathlib import Path

import leave_region_out
import pytest

import fracture
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_parts
from tests.conftest import REPOSITORY
from tests.training.conftest import draw_film
from tests.weights import write_weights

FILES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_every_file_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in FILES or str(error.name).partition(".")[0] in ("fracture", "studies"):
            raise
        pytest.skip(f"needs {error.name}")  # of an extra


def test_a_region_is_left_out_and_the_table_says_why_an_interval_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = (replace(draw_film(tmp_path / f"{n:02d}.png", n), group=f"g{n}") for n in range(32))
    films = AnnotatedSet(tuple(drawn), "drawn", tmp_path)
    args = argparse.Namespace(out=tmp_path / "run", region="wrist", seeds=[0], sizes=[4], ways=["finetune", "scratch"])
    write_weights(args.out / "weights", sizes=(64,), channels=(("raw",),), maps=(False,))
    rest = films.select(lambda film: "wrist" not in film.regions)
    (args.out / "base" / "net").mkdir(parents=True)
    split_parts(rest, {"train": 0.5, "validation": 0.5}).write(args.out / "base" / "net" / "split.json")
    for way in ("_tuned", "_scratch"):
        monkeypatch.setattr(leave_region_out, way, lambda *_: fracture.load(args.out / "weights"))
    leave_region_out.tune(args, films)
    assert len(list((args.out / "cells").glob("*.json"))) == 2
    leave_region_out.table(args)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["finetune", "scratch"]
    # Nothing was learned: the paired differences, from scratch and of the old regions, are 0 in every resample.
    assert rows[0].count("no interval: the resamples do not differ") == 2
