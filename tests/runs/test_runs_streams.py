"""Names and streams that ended a run: what is no UTF-8, cp1252 pipes, closed standard output and error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.fakes import write_film

NAMES = (b"a\xff.png", "Łódź 手.png".encode(), b"new\nline.png", "line\u2028end.png".encode(), b"z.png")

# The real entry point with a task without networks; the arguments are those of `run`.
COMMAND = """
import sys
from pathlib import Path
from unittest import mock
from fracture.cli import main
from fracture.cli.main import app
from fracture.cli.run import run
from fracture.runs.outputs import Outputs
from tests.runs.fakes import Looker

def look(path: str, json_file: str | None = None):
    run([path], Outputs(json_file=Path(json_file) if json_file else None), Looker().task)

app.command("look")(look)
main()
"""


def start(*arguments: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-c", COMMAND, "look", *arguments],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in NAMES:
        write_film(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
    return tmp_path / "in"


def sources(text: bytes) -> set[bytes]:
    lines = text.decode("ascii").splitlines()  # every line is one, and ASCII
    return {os.fsencode(Path(json.loads(line)["source"]).name) for line in lines}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_every_name_comes_out_whatever_the_encoding(encoding: str, films: Path) -> None:
    done = start(str(films), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert sources(done.stdout) == set(NAMES)
    (films / "a").write_bytes(b"\x89PNG\r\n\x1a\n damaged")  # named on standard error, with its folder
    out = films.parent / os.fsdecode(b"o\xff.jsonl")
    done = start(str(films), "--json-file", str(out), PYTHONIOENCODING=encoding)
    assert done.returncode == 1, done.stderr
    assert sources(out.read_bytes()) == {*NAMES, b"a"}


def test_a_closed_stdout_is_told_before_any_work(films: Path) -> None:
    done = start(str(films), redirect=">&-")
    assert done.returncode == 2
    assert b"standard output cannot be written" in done.stderr
    assert b"films, " not in done.stderr
    out = films.parent / "out.jsonl"
    assert start(str(films), "--json-file", str(out), redirect=">&- 2>&- <&-").returncode == 0
    assert sources(out.read_bytes()) == set(NAMES)


def test_a_reader_that_leaves_ends_it_quietly(films: Path) -> None:
    for number in range(300):
        write_film(films / f"{number}.png", number)
    done = start(str(films), redirect="| head -n 1")
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirect", [">&-", ">/dev/full"])
def test_other_commands_say_that_nothing_could_be_written(redirect: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "fracture", "model-card", "fracatlas-small"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"fracture: ")
    assert b"Traceback" not in done.stderr
