"""Films of a DICOMweb archive: listed by a query, fetched when their shard is read."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("dicomweb_client", reason="the extra [archive] is not installed")

from fracture.archive import dicomweb
from fracture.archive.dicomweb import films_of_query
from fracture.archive.manifest import Manifest, films_at, write_manifest
from fracture.archive.shards import Settings, part_of, read_shard
from fracture.errors import DataError, OutputError
from tests.weights import write_weights

FILM = (Path(__file__).parents[2] / "examples" / "wrist_radius_transverse.dcm").read_bytes()


class Pacs(BaseHTTPRequestHandler):
    """Three studies, of two films each; the last film of all is gone."""

    asked: ClassVar[list[tuple[str, dict[str, list[str]]]]] = []
    broken: ClassVar[int] = 0

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.asked.append((parts.path, query))
        where = parts.path.removeprefix("/web/").split("/")
        if self.broken:
            self.send_error(self.broken)
        elif where == ["studies"]:
            first, most = int(query["offset"][0]), int(query["limit"][0])
            self._say([{"0020000D": {"vr": "UI", "Value": [f"1.{n}"]}} for n in range(3)][first : first + most])
        elif where[-1] == "instances":
            uid = where[1]
            found = [{"0020000E": [f"{uid}.5"], "00080018": [f"{uid}.5.{n}"]} for n in range(2)]
            self._say([{tag: {"vr": "UI", "Value": value} for tag, value in one.items()} for one in found])
        elif where[-1] == "1.2.5.1":
            self.send_error(404)
        else:
            body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + FILM + b"\r\n--edge--"
            self._send('multipart/related; type="application/dicom"; boundary=edge', body)

    def _say(self, content: Any) -> None:
        self._send("application/dicom+json", json.dumps(content).encode())

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Pacs, "asked", [])
    monkeypatch.setattr(Pacs, "broken", 0)
    monkeypatch.setattr(dicomweb, "_PAGE", 2)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pacs)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/web"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_query_lists_films_page_by_page(pacs: str) -> None:
    films = list(films_of_query(f"{pacs}?StudyDate=20200101-&Modality=DX"))
    assert films[0] == f"{pacs}/studies/1.0/series/1.0.5/instances/1.0.5.0"
    assert len(set(films)) == 6
    studies = [query for path, query in Pacs.asked if path == "/web/studies"]
    assert [one["offset"] for one in studies] == [["0"], ["2"]]
    assert all(one["StudyDate"] == ["20200101-"] and "Modality" not in one for one in studies)
    assert all(query["Modality"] == ["DX"] for path, query in Pacs.asked if path != "/web/studies")


def test_films_are_fetched_when_their_shard_is_read(pacs: str, tmp_path: Path) -> None:
    films, _ = films_at([f"{pacs}?Modality=DX"])
    write_manifest(films, tmp_path / "films.jsonl")
    write_weights(tmp_path / "w", sizes=(64,), channels=(("raw",),), maps=(True,))
    (tmp_path / "run" / "shards").mkdir(parents=True)
    manifest = Manifest.open(tmp_path / "films.jsonl", 6)
    settings = Settings(str(tmp_path / "w"), device="cpu")

    Pacs.broken = 401
    with pytest.raises(OutputError, match="does not give its films"):
        read_shard(tmp_path / "run", manifest, settings, 0)
    assert not part_of(tmp_path / "run", 0).exists()  # nothing is said of films that were not seen

    Pacs.broken = 0
    done = read_shard(tmp_path / "run", manifest, settings, 0)
    assert (done.films, done.failed) == (6, 1)
    lines = [json.loads(line) for line in part_of(tmp_path / "run", 0).read_bytes().splitlines()]
    assert [line["source"] for line in lines] == manifest.sources(0)
    assert "HTTP 404" in str(lines[-1]["error"])


def test_an_archive_that_is_not_there_or_says_nonsense_is_named(pacs: str) -> None:
    Pacs.broken = 403
    with pytest.raises(DataError, match="does not answer the query"):
        list(films_of_query(pacs))
