"""The API over real HTTP: answers, errors, bounds, and who may ask."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from tests.serve.fakes import POISON, SLOW, Server, deep_film, film, serving, until

pytestmark = pytest.mark.hospital

KILOBYTE = 1 << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve") / "data"
    with serving(folder, max_bytes=64 * KILOBYTE, max_request=200 * KILOBYTE, max_files=3, max_pixels=20_000) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def send(client: httpx.Client, *films: bytes, **more: object) -> httpx.Response:
    files = [("file", (f"{number}.png", content)) for number, content in enumerate(films)]
    return client.post("/v1/predictions", files=files, **more)  # type: ignore[arg-type]


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_one_film_is_answered_when_it_is_read(client: httpx.Client) -> None:
    answer = send(client, film(), data={"region": "wrist"})
    assert answer.status_code == 200
    said = answer.json()
    assert answer.headers["location"] == f"/v1/predictions/{said['id']}"
    assert (said["state"], said["name"], said["region"]) == ("done", "0.png", ["wrist"])
    soft, hard = said["readings"]
    assert [one["result"]["operating_point"] for one in (soft, hard)] == ["high_sensitivity", "high_specificity"]
    assert soft["result"]["source"] == "0.png"  # never where it is kept
    assert soft["pages"][0]["boxes"] == [[60.0, 20.0, 90.0, 50.0, "sure", ""]]
    assert 'x="60" y="20" width="30" height="30"' in soft["pages"][0]["marks"]
    assert client.get(answer.headers["location"]).json() == said


def test_both_operating_points_come_of_one_run_of_the_networks(client: httpx.Client) -> None:
    soft, hard = send(client, film(140)).json()["readings"]
    assert (soft["pages"][0]["alarm"], hard["pages"][0]["alarm"]) == (True, False)
    assert soft["pages"][0]["boxes"][0][4] == "doubt"
    assert hard["pages"][0]["boxes"] == []


def test_the_parts_are_the_scenes(client: httpx.Client) -> None:
    number = send(client, film()).json()["id"]
    part = f"/v1/predictions/{number}"
    assert picture(client.get(f"{part}/film.png").content).shape == (80, 120)
    plain, mapped = (picture(client.get(f"{part}/overlay.png?map={on}").content) for on in ("false", "true"))
    assert plain.shape == mapped.shape
    scale = plain.shape[1] / 120
    assert (plain[round(35 * scale), round(75 * scale)] == 255).all()  # nothing is drawn within the box
    assert mapped[round(35 * scale), round(75 * scale)][2] < 200  # the map's color is
    tint = picture(client.get(f"{part}/map.png").content)
    assert tint.shape == (80, 120, 4)
    assert tint[35, 75, 3] > 100
    assert tint[5, 5, 3] == 0
    assert client.get(f"{part}/map.png?reading=7").status_code == 404
    assert client.get("/v1/predictions/nobody/film.png").json()["error"]["type"] == "NotFound"


def test_several_films_are_a_job_each(client: httpx.Client) -> None:
    answer = send(client, film(), b"no film", film(20))
    assert answer.status_code == 202
    numbers = [one["id"] for one in answer.json()["predictions"]]
    assert len(set(numbers)) == 3

    def over() -> list[dict[str, object]]:
        found = client.get("/v1/predictions", params={"id": [*numbers, "nobody"]}).json()["predictions"]
        return found if all(one["state"] in ("done", "failed") for one in found) else []

    good, bad, calm = until(over)
    assert (good["state"], bad["state"], calm["state"]) == ("done", "failed", "done")
    assert bad["error"]["type"] == "UnreadableFileError"
    assert "unknown content" in bad["error"]["got"]
    assert good["readings"] is None  # asked for alone


def test_who_does_not_wait_is_answered_at_once(client: httpx.Client) -> None:
    answer = send(client, film(width=SLOW, height=60), headers={"prefer": "respond-async"})
    assert answer.status_code == 202
    said = answer.json()
    assert said["state"] in ("waiting", "running")
    assert client.get(f"/v1/predictions/{said['id']}/film.png").status_code == 409
    assert until(lambda: client.get(answer.headers["location"]).json()["state"] == "done")


def test_library_errors_are_422_with_their_parts(client: httpx.Client) -> None:
    answer = send(client, b"hello world")
    assert answer.status_code == 422
    fault = answer.json()["error"]
    assert fault["type"] == "UnreadableFileError"
    assert fault["what"].startswith("0.png: ")
    assert "DICOM" in fault["allowed"]
    assert "/" not in fault["message"]  # no path of the server's
    large = send(client, film(width=300, height=100)).json()["error"]
    assert large["type"] == "ImageSizeError"
    pages = io.BytesIO()
    page = Image.new("L", (90, 80))
    page.save(pages, "TIFF", save_all=True, append_images=[page])
    assert "film of its own" in send(client, pages.getvalue()).json()["error"]["hint"]  # no request chooses a frame
    for region, known in (("nose", "wrist"), ("wrist,nose", "wrist")):
        wrong = send(client, film(), data={"region": region})
        assert wrong.status_code == 422
        assert known in wrong.json()["error"]["allowed"]
    assert client.post("/v1/predictions").json()["error"]["type"] == "Request"


def test_a_film_that_kills_the_worker_is_given_up(client: httpx.Client) -> None:
    answer = send(client, film(width=POISON, height=60))
    assert answer.status_code == 422
    assert "signal 9" in answer.json()["error"]["got"]
    until(lambda: client.get("/readyz").status_code == 200)
    assert send(client, film()).status_code == 200
    assert "fracture_worker_restarts 3.0" in client.get("/metrics").text


def test_bounds(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, 100 * KILOBYTE, np.uint8).tobytes()
    one = send(client, noise)
    assert (one.status_code, one.json()["error"]["type"]) == (413, "TooLarge")
    assert send(client, noise + noise + noise).status_code == 413
    assert send(client, *[film()] * 4).status_code == 413


def test_read_again_as_another_region(client: httpx.Client) -> None:
    first = send(client, film()).json()
    answer = client.post(f"/v1/predictions/{first['id']}/again", json={"region": ["hip"]})
    assert answer.status_code == 200
    again = answer.json()
    assert again["id"] != first["id"]
    assert again["readings"][0]["result"]["region"] == "hip"
    assert [one["weights"]["name"] for one in again["readings"]] == ["bright", "bright", "pelves"]  # a pelvis is seen
    assert "Region: hip (as given)" in again["readings"][0]["pages"][0]["lines"][0]
    # Removing the first leaves the second its film.
    assert client.delete(f"/v1/predictions/{first['id']}").status_code == 204
    assert client.get(f"/v1/predictions/{first['id']}").status_code == 404
    assert client.post(f"/v1/predictions/{again['id']}/again", json={"region": []}).status_code == 200


def test_dicom_objects(client: httpx.Client) -> None:
    number = send(client, film()).json()["id"]
    answer = client.get(f"/v1/predictions/{number}/dicom.zip")
    if answer.status_code == 422 and "cannot be made" in answer.text:
        pytest.skip("results cannot be made into DICOM objects yet")
    if "MissingDependencyError" in answer.text:
        pytest.skip("needs the extra [dicom]")
    assert answer.status_code == 200, answer.text
    assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) >= 3
    report = client.get(f"/v1/predictions/{number}/sr.dcm").content
    assert report[128:132] == b"DICM"
    assert client.get(f"/v1/predictions/{number}/nothing.dcm").status_code == 422


def test_state(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"ready": True, "why": ""}
    assert [one["name"] for one in client.get("/v1/weights").json()] == ["bright", "pelves"]
    metrics = client.get("/metrics").text
    assert "fracture_ready 1.0" in metrics
    assert 'route="/v1/predictions/{number}"' in metrics or "fracture_jobs" in metrics
    assert ".png" not in metrics.replace("film.png", "").replace("overlay.png", "").replace("map.png", "")


def test_every_answer_forbids_a_browser_what_it_need_not_do(client: httpx.Client) -> None:
    for path in ("/", "/v1/weights", "/v1/predictions/nobody", "/page.js", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]
    assert client.options("/v1/predictions", headers={"origin": "http://evil.example"}).status_code == 405


def test_tricks_of_other_pages_are_refused(client: httpx.Client, server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert client.get("/v1/weights", headers={"host": f"evil.example:{port}"}).status_code == 421
    assert client.get("/v1/weights", headers={"host": f"localhost:{port}"}).status_code == 200
    crossed = send(client, film(), headers={"origin": "http://evil.example"})
    assert crossed.status_code == 403
    assert send(client, film(), headers={"origin": server.url}).status_code == 200


def test_names_are_no_paths(client: httpx.Client) -> None:
    files = {"file": ("../../etc\\a\x01b.png", film())}
    assert client.post("/v1/predictions", files=files).json()["name"] == "a%01b.png"


def test_nothing_is_sent_anywhere(client: httpx.Client, server: Server) -> None:
    send(client, film())
    assert server.connections.read_text() == ""  # an audit hook saw every connection and name looked up


def test_a_window_shows_what_the_first_one_cut_off(client: httpx.Client) -> None:
    """12 bits: the file's own window shows 1000 to 2000 alone, and what it shows as one gray are many."""
    number = send(client, deep_film()).json()["id"]

    def shown(**asked: float) -> np.ndarray:
        answer = client.get(f"/v1/predictions/{number}/film.png", params=asked)
        assert answer.status_code == 200, answer.text
        return picture(answer.content).astype(int).ravel()

    plain = shown()
    assert plain[:1000].max() == 0
    assert plain[2002:].min() == 255
    for low, high in ((2000, 4000), (1400, 1420), (0, 4095)):
        expected = np.clip((np.arange(4096) - low) / (high - low), 0, 1) * 255
        found = shown(low=(low - 1000) / 1000, wide=(high - low) / 1000)
        assert np.abs(found - expected).max() <= 255 / (high - low) + 1.5
        assert len(np.unique(found)) == min(256, high - low + 1)
    eight = send(client, film(level=128)).json()["id"]
    answer = client.get(f"/v1/predictions/{eight}/film.png", params={"low": 0.0, "wide": 0.5})
    assert picture(answer.content).max() == 255
    for wrong in ({"wide": 0}, {"low": "x"}, {"wide": -1}):
        assert client.get(f"/v1/predictions/{number}/film.png", params=wrong).status_code == 422


def test_the_schema_is_frozen(client: httpx.Client) -> None:
    """``FREEZE=1`` writes it anew: say in the changelog what changed."""
    import os

    found = client.get("/openapi.json").json()
    found["info"]["version"] = ""
    path = Path(__file__).with_name("openapi.json")
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("FREEZE"):
        path.write_text(text)
    assert text == path.read_text()
