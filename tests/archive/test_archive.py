"""An archive's films are read once each, whoever dies in the middle."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import fracture
from fracture.archive.driver import SetAside, read_here
from fracture.archive.manifest import Manifest, films_at, write_manifest
from fracture.archive.run import merge, run_archive, status
from fracture.archive.shards import Settings, missing, part_of, read_shard
from fracture.cli.main import app
from fracture.errors import ConfigurationError, DataError, OutputError

FILMS = 13


@pytest.fixture
def films(tmp_path: Path) -> list[str]:
    """Twelve films, and one that is not there."""
    for number in range(FILMS - 1):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 40), np.uint8)
        (tmp_path / "films").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "films" / f"{number:02d}.png"), pixels)
    return [str(tmp_path / "films" / f"{number:02d}.png") for number in range(FILMS)]


@pytest.fixture
def listed(films: list[str], tmp_path: Path) -> Path:
    write_manifest(films, tmp_path / "films.jsonl")
    return tmp_path / "films.jsonl"


def plain(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Lines without the time that each took."""
    return [{**line, "seconds": None} for line in lines]


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_manifest_is_cut_into_shards(films: list[str], listed: Path) -> None:
    manifest = Manifest.open(listed, 5)
    assert (manifest.films, manifest.shards) == (FILMS, 3)
    assert [source for shard in range(3) for source in manifest.sources(shard)] == films
    assert len(manifest.sources(2)) == 3
    assert Manifest.open(listed, FILMS).shards == 1
    assert Manifest.open(listed, 5).sha256 == manifest.sha256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "lists no film"),
        (b'{"source": "a.png"}\na.png\n', "line 2"),
        (b'{"source": ""}\n', "line 1"),
        (b'{"source": 3}\n', "line 1"),
        (b'["a.png"]\n', "line 1"),
        (b'{"source": "a.png"}', "line 1"),
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(text)
    with pytest.raises(DataError, match=said):
        Manifest.open(tmp_path / "m.jsonl", 5)


def test_a_film_stands_once_in_a_manifest_and_a_bad_one_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        write_manifest(["a.png", "b.png", "a.png"], tmp_path / "m.jsonl")
    with pytest.raises(DataError, match="no film"):
        write_manifest([], tmp_path / "m.jsonl")
    assert not list(tmp_path.iterdir())


def test_films_come_from_folders_a_dicomdir_and_parquet(films: list[str], tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet
    from pydicom.fileset import FileSet

    from tests.runs.fakes import dicom_film

    (tmp_path / "one.dcm").write_bytes(
        dicom_film(
            PatientID="1",
            PatientName="A",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.3",
            InstanceNumber=1,
            StudyDate="20260101",
            StudyTime="1200",
            StudyID="1",
            SeriesNumber=1,
        )
    )
    records = FileSet()
    records.add(tmp_path / "one.dcm")
    records.write(tmp_path / "media")
    records._stage["t"].cleanup()  # pydicom leaves it to the collector, which warns
    parquet.write_table(pa.table({"source": films[:2], "age": [1, 2]}), tmp_path / "t.parquet")
    found, told = films_at([str(tmp_path / "films"), str(tmp_path / "media" / "DICOMDIR"), str(tmp_path / "t.parquet")])
    sources = list(found)
    assert sources[: FILMS - 1] == films[:-1]
    assert Path(sources[FILMS - 1]).is_file()
    assert fracture.read(sources[FILMS - 1]).width == 16
    assert sources[FILMS:] == films[:2]
    assert told == ""
    (tmp_path / "DICOMDIR").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="DICOMDIR"):
        films_at([str(tmp_path / "DICOMDIR")])
    parquet.write_table(pa.table({"path": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no column source"):
        films_at([str(tmp_path / "t.parquet")])


def test_the_lines_are_those_of_predict_many(
    films: list[str], listed: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    settings = Settings(str(tiny_weights), device="cpu", precision="float32", options={"region": ["wrist"]})
    out = tmp_path / "run"
    manifest = Manifest.open(listed, 8)  # a batch: other batches round otherwise
    for shard in range(manifest.shards):  # as workers do, here in this process
        done = read_shard(out, manifest, settings, shard)
        assert (done.films, done.failed) == (len(manifest.sources(shard)), int(shard == 1))
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    expected = [one.to_dict() for one in detector.predict_many(films, region=["wrist"])]
    lines = [line for shard in range(2) for line in read_lines(part_of(out, shard))]
    assert plain(lines) == plain(json.loads(json.dumps(expected)))
    before = part_of(out, 0).stat().st_mtime_ns
    assert read_shard(out, manifest, settings, 0).films == 8
    assert part_of(out, 0).stat().st_mtime_ns == before
    assert not list((out / "shards").glob(".*"))


def test_another_request_is_refused(listed: Path, tiny_weights: Path, tmp_path: Path) -> None:
    settings, out = Settings(str(tiny_weights), device="cpu", precision="float32"), tmp_path / "run"
    manifest = Manifest.open(listed, 5)
    for shard in range(3):
        read_shard(out, manifest, settings, shard)
    with pytest.raises(ConfigurationError, match="something else"):
        run_archive(listed, out, settings, shard_size=5)
    fresh = tmp_path / "fresh"
    (fresh / "shards").parent.mkdir()
    found = _prepared(listed, fresh, settings, out)
    assert (found.done, found.read, found.failed) == (3, FILMS, 1)
    for other in (
        Settings(str(tiny_weights), device="cpu", precision="float32", options={"region": ["hand"]}),
        Settings(str(tiny_weights), device="cpu", precision="bfloat16"),
    ):
        with pytest.raises(ConfigurationError, match="another request"):
            run_archive(listed, fresh, other, shard_size=5)
    with pytest.raises(ConfigurationError, match="shard_size 5 then, 4 now"):
        run_archive(listed, fresh, settings, shard_size=4)
    with listed.open("ab") as stream:
        stream.write(b'{"source": "one more"}\n')
    with pytest.raises(ConfigurationError, match="manifest"):
        run_archive(listed, fresh, settings, shard_size=5)


def _prepared(listed: Path, fresh: Path, settings: Settings, done: Path) -> object:
    """A run whose shards another process has read: the driver starts no worker."""
    import fracture.archive.run as module

    manifest = Manifest.open(listed, 5)
    card = settings.card()
    fresh.mkdir(exist_ok=True)
    module.write_json(
        fresh / "archive.json", module._request(manifest, settings, f"{card.label} (card {card.checksum})")
    )
    (done / "shards").rename(fresh / "shards")
    return run_archive(listed, fresh, settings, shard_size=5)


def test_merging(listed: Path, tiny_weights: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    settings, out, fresh = (
        Settings(str(tiny_weights), device="cpu", precision="float32"),
        tmp_path / "o",
        tmp_path / "f",
    )
    manifest = Manifest.open(listed, 5)
    for shard in range(3):
        read_shard(out, manifest, settings, shard)
    _prepared(listed, fresh, settings, out)
    assert merge(fresh, tmp_path / "all.jsonl") == FILMS
    lines = read_lines(tmp_path / "all.jsonl")
    assert [line["source"] for line in lines] == [s for shard in range(3) for s in manifest.sources(shard)]
    assert merge(fresh, tmp_path / "all.parquet") == FILMS
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["source"] for row in table] == [line["source"] for line in lines]
    assert [row["probability"] for row in table] == [line["probability"] for line in lines]
    assert table[-1]["error_type"] == "MissingFileError"
    assert parquet.ParquetFile(tmp_path / "all.parquet").num_row_groups == 3
    with pytest.raises(ConfigurationError, match="exists"):
        merge(fresh, tmp_path / "all.jsonl")
    part_of(fresh, 1).unlink()
    with pytest.raises(DataError, match="1 of 3 shards are left"):
        merge(fresh, tmp_path / "rest.jsonl")
    assert merge(fresh, tmp_path / "rest.jsonl", partial=True) == FILMS - 5
    part_of(fresh, 0).write_text("{")
    with pytest.raises(DataError, match="not what a shard's reader wrote"):
        status(fresh)


def test_the_command_line_and_one_driver_at_a_time(listed: Path, tiny_weights: Path, tmp_path: Path) -> None:
    run = CliRunner()
    out = tmp_path / "run"
    asked = ["archive", "run", str(listed), "--out", str(out), "--weights", str(tiny_weights), "--device", "cpu"]
    done = run.invoke(app, [*asked, "--precision", "float32", "--shard-size", "7"])
    assert done.exit_code == 1, done.output  # one film is missing
    assert f"2 of 2 shards, {FILMS} of {FILMS} films" in done.stdout
    assert run.invoke(app, ["archive", "status", str(out)]).exit_code == 0
    merged = run.invoke(app, ["archive", "merge", str(out), str(tmp_path / "all.jsonl")])
    assert merged.stdout.startswith(f"{FILMS} films")
    part_of(out, 1).unlink()
    assert run.invoke(app, ["archive", "status", str(out)]).exit_code == 1
    from fracture.atomic import hold

    with hold(out / "lock", "a test"):
        again = run.invoke(app, [*asked, "--precision", "float32", "--shard-size", "7"])
        assert isinstance(again.exception, OutputError)


def test_a_dask_cluster_reads_the_shards(listed: Path, tiny_weights: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    settings, out = Settings(str(tiny_weights), device="cpu", precision="float32"), tmp_path / "run"
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        found = run_archive(listed, out, settings, dask=cluster.scheduler_address, shard_size=5)
    assert (found.done, found.read, found.failed) == (3, FILMS, 1)
    with pytest.raises(ConfigurationError, match="does not answer"):
        run_archive(listed, tmp_path / "other", settings, dask="nonsense://", shard_size=5)


@pytest.mark.hospital  # processes, like those of the node
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_workers_and_drivers_cost_nothing(
    films: list[str], listed: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fracture", "archive", "run", str(listed), "--out", str(tmp_path / "run")]
    command += ["--weights", str(tiny_weights), "--device", "cpu", "--precision", "float32"]
    command += ["--shard-size", "1", "--workers", "2"]
    draw = random.Random(5)
    for victim in ("worker", "driver"):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        shards = tmp_path / "run" / "shards"
        there = len(list(shards.glob("*.jsonl"))) if shards.exists() else 0
        while process.poll() is None and len(list(shards.glob("*.jsonl"))) < there + draw.randint(1, 3):
            time.sleep(0.02)
        children = children_of(process.pid)
        if process.poll() is None:
            os.kill(draw.choice(children) if victim == "worker" and children else process.pid, signal.SIGKILL)
        process.communicate()
        ends = time.monotonic() + 60
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < ends:
            time.sleep(0.05)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]  # none outlives its driver
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 1, last.stderr
    assert f"{FILMS} of {FILMS} shards, {FILMS} of {FILMS} films" in last.stdout
    merge(tmp_path / "run", tmp_path / "all.jsonl")
    detector = fracture.load(tiny_weights, device="cpu", precision="float32")
    expected = json.loads(json.dumps([one.to_dict() for one in detector.predict_many(films, batch_size=1)]))
    assert plain(read_lines(tmp_path / "all.jsonl")) == plain(expected)


def children_of(pid: int) -> list[int]:
    """Worker processes of a driver, without the resource tracker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status_text = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status_text[1]) == pid and b"spawn_main" in line:
                found.append(int(entry.name))
    return found


def test_a_shard_that_kills_its_workers_is_set_aside(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fracture.archive.driver as driver

    monkeypatch.setattr(driver, "_pool", _deadly)
    manifest = Manifest.open(listed, 2)
    (tmp_path / "run" / "shards").mkdir(parents=True)
    found = list(read_here(tmp_path / "run", manifest, Settings("none"), range(manifest.shards), 2))
    aside = [one for one in found if isinstance(one, SetAside)]
    assert [one.shard for one in aside] == [3]
    assert sorted(one.shard for one in found) == list(range(7))
    assert list(missing(tmp_path / "run", 7)) == [3]


def _deadly(folder, manifest, settings, shards, workers, held):  # type: ignore[no-untyped-def]
    """A pool whose workers die at shard 3; its neighbor is lost with it."""
    from fracture.archive.shards import Done

    waiting = list(shards)
    while waiting:
        crowd, waiting = waiting[:workers], waiting[workers:]
        if 3 in crowd:
            held.update(crowd)
            return
        for shard in crowd:
            part_of(folder, shard).write_text("")
            yield Done(shard, 2, 0, 0)
