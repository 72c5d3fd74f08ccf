"""Files that are on the disk when their writing returns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fracture.errors import ConfigurationError, OutputError
from fracture.jobs.keep import Keep


def test_a_file_is_kept_found_and_removed(tmp_path: Path) -> None:
    keep = Keep(tmp_path / "films")
    path = keep.write("1.2.3.dcm", b"film")
    assert path == keep.path("1.2.3.dcm")
    assert keep.write("1.2.3.dcm", b"other").read_bytes() == b"other"
    assert list(keep.files()) == [path]
    assert keep.size() == 5
    keep.remove("1.2.3.dcm")
    keep.remove("1.2.3.dcm")
    assert list(keep.files()) == []


def test_name_and_content_are_flushed_before_the_name_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        flush(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    keep = Keep(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    keep.write("a", b"1")
    assert done == ["folder", "file", "rename", "folder"]  # the new folder's own name first


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a\n", "x" * 200])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="not the name of a file"):
        Keep(tmp_path).write(name, b"")


def test_a_disk_that_is_too_full_is_told_before_it_is(tmp_path: Path) -> None:
    keep = Keep(tmp_path, spare=2**60)
    with pytest.raises(OutputError, match="the disk is too full"):
        keep.write("a", b"1")
    assert list(keep.files()) == []


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    keep = Keep(tmp_path)
    kept = keep.write("a", b"1")
    old, new = kept.parent / ".b.1.1.part", kept.parent / ".c.1.1.part"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    keep.sweep()
    assert sorted(path.name for path in kept.parent.iterdir()) == [".c.1.1.part", "a"]
    assert list(keep.files()) == [kept]
