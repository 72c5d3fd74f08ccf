"""A run that was cut short goes on: nothing is computed twice, nothing is lost, and the end is the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fracture.cli import app
from fracture.cli.run import run
from fracture.errors import ConfigurationError, OutputError
from fracture.runs.journal import record_files
from fracture.runs.outputs import Outputs
from tests import warm
from tests.runs.fakes import Looker, dicom_film, write_film


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(6):
        write_film(tmp_path / "in" / f"{number}.png", 40 * number)
    (tmp_path / "in" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")  # fails
    return tmp_path / "in"


def finish(films: Path, out: Path, looker: Looker | None = None, **outputs: Any) -> Looker:
    looker = looker or Looker()
    code = 0
    try:
        run([str(films)], Outputs(json_file=out, **outputs), looker.task)
    except typer.Exit as stopped:
        code = stopped.exit_code
    damaged = films / "2.png"
    assert code == int(damaged.exists() and b"cut off" in damaged.read_bytes())
    return looker


def names(looker: Looker) -> list[str]:
    return [Path(film).name for film in looker.seen]


def test_killed_at_any_byte_it_ends_the_same(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    finish(films, out)
    whole, record = out.read_bytes(), record_files(out)[0]
    log = record.read_bytes()
    entries = log.splitlines(keepends=True)[1:-1]  # without the request and the summary
    for size in range(0, len(log) + 1, 17):
        record.write_bytes(log[:size])
        logged = log[:size].count(b"\n") - 1
        # A result stands in the record before it stands in the results, which may end anywhere in the next line.
        written = b"".join(whole.splitlines(keepends=True)[: max(0, min(logged, 6))])
        for cut in {len(written), max(0, len(written) - 9)}:
            out.write_bytes(written[:cut])
            looker = finish(films, out, resume=True)
            assert out.read_bytes() == whole
            done = {Path(json.loads(line)["line"]["source"]).name for line in entries[: max(0, logged)]} - {"2.png"}
            assert names(looker) == [f"{n}.png" for n in range(6) if f"{n}.png" not in done]
            record.write_bytes(log[:size])


def test_zeros_that_a_power_cut_left_at_the_end(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    finish(films, out)
    whole, record = out.read_bytes(), record_files(out)[0]
    out.write_bytes(whole[:-30] + bytes(30))
    record.write_bytes(record.read_bytes()[:-10] + bytes(10))  # the summary
    assert names(finish(films, out, resume=True)) == ["2.png"]
    assert out.read_bytes() == whole


def test_a_finished_run_computes_only_what_failed_or_changed(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert len(finish(films, out).seen) == 6
    before = out.read_bytes().splitlines()
    assert names(finish(films, out, resume=True)) == ["2.png"]  # a film that failed is tried again
    assert out.read_bytes().splitlines() == before
    write_film(films / "2.png", 7)
    write_film(films / "4.png", 201)
    write_film(films / "35.png", 9)  # new, in the midst
    (films / "5.png").unlink()
    assert names(finish(films, out, resume=True)) == ["2.png", "35.png", "4.png"]
    again = tmp_path / "again.jsonl"
    finish(films, again)
    assert out.read_bytes() == again.read_bytes()
    assert finish(films, out, resume=True).seen == []


def test_ctrl_c_leaves_all_that_was_computed(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        finish(films, out, Looker(stop_after=4))
    assert len(out.read_bytes().splitlines()) == 4
    assert "--resume continues" in capsys.readouterr().err
    assert names(finish(films, out, resume=True)) == ["2.png", "4.png", "5.png"]


def test_results_of_before_are_refused_or_replaced(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    finish(films, out)
    first = out.read_bytes()
    looker = Looker()
    with pytest.raises(ConfigurationError, match=r"earlier run.*--resume.*--overwrite"):
        finish(films, out, looker)
    assert (looker.seen, out.read_bytes()) == ([], first)
    assert len(finish(films, out, overwrite=True).seen) == 6
    assert out.read_bytes() == first
    empty = tmp_path / "mktemp"
    empty.touch()
    finish(films, empty)  # an empty file holds nothing that could be lost
    assert empty.read_bytes() == first
    capsys.readouterr()
    finish(films, out, resume=True)
    told = capsys.readouterr().err
    assert "resuming: 5 of 6 films are done, 1 are done again" in told
    assert "6 films, " in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda out, log: log.unlink(), "no record of the run"),
        (lambda out, log: log.write_bytes(b"damaged\n"), "no record of the run"),
        (lambda out, log: out.write_bytes(out.read_bytes() + out.read_bytes().replace(b"png", b"dcm")), "not write"),
        (lambda out, log: out.write_bytes(b'{"source": "'), "not write"),
        (lambda out, log: out.write_bytes(b"somebody's notes"), "did not write"),
    ],
)  # fmt: skip
def test_what_is_no_run_of_ours_is_not_gone_on_with(
    spoil: Callable[[Path, Path], Any], match: str, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    finish(films, out)
    spoil(out, record_files(out)[0])
    left = out.read_bytes()
    if left == b'{"source": "':  # the beginning of a line of ours: cut off, and written again
        finish(films, out, resume=True)
        return
    with pytest.raises(ConfigurationError, match=match):
        finish(films, out, resume=True)
    assert out.read_bytes() == left


def test_other_weights_options_or_films_are_refused(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    finish(films, out)
    first = out.read_bytes()
    for request in ({"weights": "other", "frame": None}, {"weights": "w", "frame": 3}):
        with pytest.raises(ConfigurationError, match="another request"):
            finish(films, out, Looker(request=request), resume=True)
    with pytest.raises(ConfigurationError, match="another request"):
        finish(films, out, resume=True, overlay=tmp_path / "overlays")
    write_film(tmp_path / "others" / "a.png")
    with pytest.raises(ConfigurationError, match="not among the paths"):
        finish(tmp_path / "others", out, resume=True)
    assert out.read_bytes() == first


def test_an_overlay_that_is_gone_is_drawn_again(films: Path, tmp_path: Path) -> None:
    out, overlays = tmp_path / "out.jsonl", tmp_path / "overlays"
    finish(films, out, overlay=overlays)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["overlay"] for line in lines] == [None if n == 2 else str(overlays / f"{n}.png.png") for n in range(6)]
    (overlays / "3.png.png").unlink()
    assert names(finish(films, out, resume=True, overlay=overlays)) == ["2.png", "3.png"]
    assert (overlays / "3.png.png").is_file()


@pytest.mark.parametrize("options", [{"resume": True, "overwrite": True}, {"resume": True, "json_file": None}])
def test_contradictions(options: dict[str, Any], films: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--resume"):
        run([str(films)], Outputs(**{"json_file": tmp_path / "o.jsonl", **options}), Looker().task)


def test_two_runs_into_one_file(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom fracture.runs.journal import journaled\n"
        "with journaled(Path(sys.argv[1]), {}, resume=False, overwrite=False):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(out)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            for flags in ({}, {"resume": True}, {"overwrite": True}):
                with pytest.raises(OutputError, match=f"out.jsonl is in use; got process {other.pid}"):
                    finish(films, out, **flags)
        finally:
            other.kill()
    finish(films, out)  # one that died holds nothing


def test_sigkill_and_resume(tmp_path: Path, tiny_weights: Path) -> None:
    """The real command, killed for real."""
    total = 40
    for number in range(total):
        path = tmp_path / "in" / f"IM{number:04d}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dicom_film(PixelData=bytes((k * (number + 3)) % 256 for k in range(256))))
    out = tmp_path / "out.jsonl"

    asked = [
        "predict", str(tmp_path / "in"), "--weights", str(tiny_weights),
        "--batch-size", "1", "--workers", "0", "--device", "cpu",
    ]  # fmt: skip
    command = ["-m", "fracture", *asked, "--json", str(out), "--resume"]
    process = warm.start(*command)
    while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 3):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= out.read_bytes().count(b"\n") < total
    code, _, said = warm.run(*command)
    assert code == 0, said
    assert f"{total} films, " in said.splitlines()[-1]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(line["source"]).name for line in lines] == [f"IM{n:04d}" for n in range(total)]
    log = [json.loads(line) for line in record_files(out)[0].read_text().splitlines()]
    computed = [entry["line"]["source"] for entry in log if "line" in entry]
    assert len(computed) == len(set(computed)) == total  # none of them twice
    straight = CliRunner().invoke(app, asked)
    assert [{**line, "seconds": 0} for line in lines] == [
        {**json.loads(line), "seconds": 0} for line in straight.stdout.splitlines()
    ]
