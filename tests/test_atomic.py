"""Files that are whole or not there, and work that one process does at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fracture.atomic import hold, write_atomic, write_json, write_text
from fracture.errors import OutputError


def test_a_file_is_replaced_whole_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, {"one": 1})
    write_json(path, {"two": [2]})
    assert json.loads(path.read_text()) == {"two": [2]}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_writer_that_raises_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def broken(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_atomic(path, broken)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"))
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_content_is_flushed_before_the_name_and_the_name_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    flush, rename = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        flush(descriptor)

    def replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a", "x")
    assert [name for name in order if name != "folder"] == ["file", "rename"]
    if sys.platform == "linux":
        assert order == ["file", "rename", "folder"]


def test_names_up_to_the_limit_and_text_that_utf8_lacks(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    write_text(path, "a\udcffb\n")
    assert path.read_bytes() == b"a\\udcffb\n"


def test_a_folder_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a folder"):
        write_text(tmp_path, "x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OutputError, match="pipe"):
            write_text(tmp_path / "pipe", "x")


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A limit on file sizes is as real to the writer as a full disk: the kernel refuses the bytes."""
    write_text(tmp_path / "a", "before")
    code = (
        "import resource, signal, sys\n"
        "from fracture.atomic import write_text\n"
        "from fracture.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_text(sys.argv[1], 'x' * 5000)\n"
        "except OutputError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert "the disk is full; the one before is whole" in said.stdout, said.stderr
    assert "free at least 1 MiB" in said.stdout
    assert (tmp_path / "a").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


_HOLDER = """
import sys, time
from fracture.atomic import hold
with hold(sys.argv[1], "x"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_hold_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    command = [sys.executable, "-c", _HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        told = rf"the run folder is in use; got process {other.pid}.*two at once"
        with pytest.raises(OutputError, match=told), hold(lock, "the run folder"):
            pytest.fail("held twice")
        if sys.platform != "win32":
            other.send_signal(signal.SIGKILL)
        else:
            other.kill()
        other.wait()
    while True:  # a killed process lets go, as soon as the system has cleared it away
        try:
            with hold(lock, "the run folder"):
                return
        except OutputError:
            time.sleep(0.05)
