"""Which files of a folder are films: their bytes say, not their names."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fracture.errors import ConfigurationError
from fracture.runs.inputs import collect
from fracture.runs.kinds import FILM, kind_of
from tests.runs.fakes import dicom_film, write_film


def _encoded(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, np.full((16, 16), 90, np.uint8))[1])


def _headless() -> bytes:
    """The data set alone, as some old exports write it: no preamble, no file meta information."""
    whole = dicom_film()
    return whole[whole.index(b"\x08\x00\x16\x00UI") :]


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.dcm")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"film"))
    return out.getvalue()


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", dicom_film())
    return out.getvalue()


FILMS = {
    "CR.1.2.276.0.7230010.3.1.4": dicom_film(),
    "1.2.840.113619.2.5.1762583153": dicom_film(),
    "IM.001": dicom_film(),
    "IM000001": _headless(),
    "meta.only": dicom_film()[128:],
    "report.txt": _encoded(".png"),
    "card.json": _encoded(".jpg"),
    "x.exe": _encoded(".tiff"),
    "packed": gzip.compress(dicom_film()),
    "packed.headless": gzip.compress(_headless()),
    "cut.dcm": dicom_film()[:300],  # a film that cannot be read is told as a failure, not left out
}
OTHERS = {
    "a.webp": (_encoded(".webp"), "WebP file"),
    "b.dcm": (_encoded(".bmp"), "BMP file"),
    "c.png": (_zip(), "ZIP archive"),
    "d": (_tar(), "tar archive"),
    "d.tgz": (gzip.compress(_tar()), "tar archive"),
    "DICOMDIR": (dicom_film(sop="1.2.840.10008.1.3.10"), "DICOMDIR"),
    "disc": (dicom_film(sop="1.2.840.10008.1.3.10"), "DICOMDIR"),
    "presentation": (dicom_film(sop="1.2.840.10008.5.1.4.1.1.11.1"), "DICOM object without an image"),
    "report.dcm": (dicom_film(sop="1.2.840.10008.5.1.4.1.1.88.11"), "DICOM object without an image"),
    "notes.dcm": ("not a film, é".encode(), "text"),
    "latin.csv": ("bögen;1,5\n".encode("latin-1"), "text"),
    "empty.dcm": (b"", "empty file"),
    "noise": (bytes(range(256)), "file of unknown content"),
    "numbers": (b"\x08\x00" + bytes(range(200)), "file of unknown content"),
    "w.safetensors": (b"\x10\0\0\0\0\0\0\0{}              ", "weights"),
    "half.gz": (b"\x1f\x8b\x08\x00 damaged", "damaged gzip"),
}


@pytest.mark.parametrize("name", FILMS)
def test_a_film_is_known_by_its_bytes_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILMS[name])
    assert kind_of(str(tmp_path / name)) == FILM


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_film_is_named_by_kind(name: str, tmp_path: Path) -> None:
    content, kind = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    assert kind_of(str(tmp_path / name)) == kind


def test_a_folder_is_read_in_order_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name, content in FILMS.items():
        (tmp_path / name).write_bytes(content)
    for name, (content, _) in OTHERS.items():
        (tmp_path / name).write_bytes(content)
    write_film(tmp_path / ".hidden.png")
    write_film(tmp_path / ".folder" / "a.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path is short
        server.bind("socket")
        os.chdir(here)
        inputs = collect([str(tmp_path)])
    assert inputs.films == tuple(sorted(str(tmp_path / name) for name in FILMS))
    counts = inputs.counts
    assert counts["hidden"] == 2
    assert counts["dangling link"] == 2
    assert counts["pipe"] == counts["socket"] == 1
    assert counts["DICOMDIR"] == 2
    assert len(inputs.left_out) == sum(counts.values()) == len(OTHERS) + 6
    told = inputs.told()
    assert told.startswith(f"{len(OTHERS) + 6} left out; ")
    assert "ZIP archive: 1 (c.png)" in told
    assert "unpack archives" in told


def test_links_to_folders_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    for name in ("in/z/1.png", "elsewhere/2.png"):
        write_film(tmp_path / name)
    inside = tmp_path / "in"
    (inside / "a").symlink_to("z")  # sorts before the folder it leads to, which is read under its own name
    (inside / "loop").symlink_to(".")
    (inside / "above").symlink_to("..")
    (inside / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(inside)
    inputs = collect([str(inside)])
    assert inputs.films == (str(inside / "other" / "2.png"), str(inside / "z" / "1.png"))
    assert {Path(path).name for path, _ in inputs.left_out} == {"a", "loop", "above", "back"}


def test_names_in_any_bytes(tmp_path: Path) -> None:
    names = [b"a\xff.dcm", "Łódź 手.dcm".encode(), b"new\nline", b"tab\t", b"q'\"\\ "]
    for name in names:
        write_film(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    inputs = collect([str(tmp_path)])
    assert {os.fsencode(Path(film).name) for film in inputs.films} == set(names)


def test_a_named_file_is_always_tried_and_a_pattern_is_a_scan(tmp_path: Path) -> None:
    for name in ("p1/IM0001", "p2/IM0001", "p2/deep/b.png"):
        write_film(tmp_path / name)
    (tmp_path / "p1" / "notes").write_text("text")
    text, missing = str(tmp_path / "p1" / "notes"), str(tmp_path / "missing[1].dcm")
    assert collect([text, "missing.dcm"]).films == (text, "missing.dcm")
    found = collect([str(tmp_path / "p*" / "*")])
    assert [os.path.relpath(film, tmp_path) for film in found.films] == ["p1/IM0001", "p2/IM0001", "p2/deep/b.png"]
    assert found.counts == {"text": 1}
    assert collect([str(tmp_path / "**" / "*")]).films == found.films  # each once
    write_film(missing)
    assert collect([missing]).films == (missing,)  # a name that looks like a pattern
    for nothing in (str(tmp_path / "*.dcm"), str(tmp_path / "empty")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        if nothing.endswith("*.dcm"):
            Path(missing).unlink()
        with pytest.raises(ConfigurationError, match="no radiographs"):
            collect([nothing])


def test_the_root_of_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p1/IM0001", "p2/IM0001"):
        write_film(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    root = str(tmp_path)
    assert collect(["p1"]).root == f"{root}/p1"
    assert collect(["p1", "p2", "gone/x.dcm"]).root == root
    assert collect(["p?/IM0001"]).root == collect(["."]).root == root
    assert collect(["."]).films == ("p1/IM0001", "p2/IM0001")
    top = "/" + tmp_path.parts[1]
    assert collect([f"{top}*{str(tmp_path)[len(top) :]}/p1"]).root == "/"


def test_a_file_that_cannot_be_opened_is_tried(tmp_path: Path) -> None:
    """It may be a film; then it fails and is told of, instead of being left out."""
    if os.geteuid() == 0:
        pytest.skip("root opens every file")
    write_film(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    assert kind_of(str(tmp_path / "secret.png")) == FILM


def test_nothing_but_first_bytes_are_read(tmp_path: Path) -> None:
    """Ten thousand files are scanned in about a second; a huge file of another kind costs no more than a small one."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    write_film(tmp_path / "a")
    assert collect([str(tmp_path)]).counts == {"file of unknown content": 1}
    assert subprocess.run(["ls", tmp_path], check=True, capture_output=True).stdout == b"a\nhuge\n"
