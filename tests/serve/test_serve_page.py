"""The page in a real browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from tests.browser import opened
from tests.ports import free_port
from tests.runs.fakes import dicom_film
from tests.serve.fakes import SLOW, Server, deep_film, film, serving

pytestmark = pytest.mark.hospital

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

SHOWN = """async () => {
  for (const id of ["film", "heat"]) {
    const picture = new Image(), href = document.getElementById(id).getAttribute("href");
    if (href) { picture.src = href; await picture.decode(); }
  }
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}"""
AXE = "axe-core@4.10.3"
ORANGE = (255, 159, 28)

DROP = """async (films) => {
  const transfer = new DataTransfer();
  for (const [name, content] of films) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("serve") / "data") as server:
        yield server


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    with opened(server.url) as page:
        yield page


def drop(page: Page, **films: bytes) -> None:
    named = [[name.replace("_", "."), base64.b64encode(content).decode()] for name, content in films.items()]
    page.evaluate(DROP, named)


def told(page: Page, where: str, text: str, *, timeout: float = 25_000) -> None:
    from playwright.sync_api import expect

    expect(page.locator(where)).to_contain_text(text, timeout=timeout)


def pixels(page: Page, where: str = "#stage") -> np.ndarray:
    page.locator("#film[href]").wait_for(state="attached")  # pictures follow the words
    page.evaluate(SHOWN)
    page.wait_for_timeout(200)
    return np.asarray(Image.open(io.BytesIO(page.locator(where).screenshot())).convert("RGB")).astype(int)


def orange(picture: np.ndarray) -> np.ndarray:
    return np.abs(picture - ORANGE).max(axis=2) < 40


def on_stage(page: Page, x: float, y: float) -> tuple[int, int]:
    """(row, column) of the stage's picture where a point of the film is."""
    found: Any = page.evaluate(
        """([x, y]) => { const stage = document.getElementById("stage");
        const point = new DOMPoint(x, y).matrixTransform(stage.getScreenCTM()), edge = stage.getBoundingClientRect();
        return [point.y - edge.top, point.x - edge.left]; }""",
        [x, y],
    )
    return round(found[0]), round(found[1])


def test_a_film_that_is_dropped_is_read_and_its_box_lies_where_it_should(page: Page) -> None:
    drop(page, a_png=film())
    told(page, "#verdict", "Fracture suspected")
    told(page, "#summary", "1 of 1 film read, 1 suspicious")
    told(page, "#suspicion", "Suspicion 0.99")
    assert page.locator("#films li").get_attribute("class") == "alarm current"
    shown = orange(pixels(page))
    rows, columns = np.nonzero(shown)
    top, left = on_stage(page, 60, 20)
    bottom, right = on_stage(page, 90, 50)
    assert abs(rows.min() - top) < 5
    assert abs(rows.max() - bottom) < 5
    assert abs(columns.min() - left) < 5
    assert abs(columns.max() - right) < 5
    middle = on_stage(page, 75, 35)
    assert not shown[middle]
    page.keyboard.press("b")
    assert not orange(pixels(page)).any()


def test_map_window_and_zoom_by_keys_and_mouse(page: Page) -> None:
    drop(page, a_png=film(140))
    told(page, "#verdict", "Fracture suspected")
    page.locator("#stage").focus()
    page.keyboard.press("b")
    before = pixels(page)
    row, column = on_stage(page, 75, 35)
    page.keyboard.press("m")
    tinted = pixels(page)[row, column]
    assert tinted[0] > tinted[2] + 20  # an orange shade over the gray
    page.keyboard.press("m")
    page.keyboard.press("i")
    inverted = pixels(page)
    assert abs(inverted[row, column, 0] - (255 - before[row, column, 0])) < 4
    page.keyboard.press("r")
    edge = page.locator("#stage").bounding_box()
    assert edge is not None
    x, y = edge["x"] + column, edge["y"] + row
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 60, steps=4)
    page.mouse.up()
    assert page.locator("#brightness").input_value() == "15"
    assert pixels(page)[row, column, 0] > before[row, column, 0] + 10
    page.keyboard.press("r")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    told(page, "#zoom", "120 %")
    assert np.abs(np.subtract(on_stage(page, 75, 35), (row, column))).max() <= 2  # what is under the pointer stays
    page.keyboard.press("ArrowRight")
    assert on_stage(page, 75, 35)[1] < column - 20
    page.keyboard.press("0")
    told(page, "#zoom", "100 %")
    assert np.abs(pixels(page) - before).max() < 12


def test_a_window_shows_values_that_the_first_one_cut_off(page: Page) -> None:
    from playwright.sync_api import expect

    drop(page, a_dcm=deep_film())
    told(page, "#verdict", "racture")
    page.locator("#stage").focus()
    page.keyboard.press("b")
    dark, darker = on_stage(page, 10, 14.5), on_stage(page, 10, 9.5)  # stored values of about 906 and 586
    before = pixels(page)
    assert before[dark][0] == before[darker][0] < 5
    page.locator("#brightness").fill("100")
    # Without a filter it is the picture itself that is of this window.
    expect(page.locator("#film")).not_to_have_attribute("filter", "url(#window)", timeout=25_000)
    after = pixels(page)
    assert abs(after[dark][0] - 103) < 8
    assert abs(after[darker][0] - 22) < 8
    page.locator("#stage").focus()
    page.keyboard.press("r")
    expect(page.locator("#film")).not_to_have_attribute("filter", "url(#window)", timeout=25_000)
    again = pixels(page)
    assert max(again[dark][0], again[darker][0]) < 5


def test_both_operating_points_and_hips(page: Page) -> None:
    drop(page, a_png=film(140))
    told(page, "#verdict", "Fracture suspected")
    told(page, "#readings label:nth-of-type(2)", "No fracture found")
    page.keyboard.press("2")
    told(page, "#verdict", "No fracture found")
    assert page.locator("#marks rect").count() == 0
    page.keyboard.press("1")
    assert page.locator("#marks rect.doubt").count() == 1
    page.locator("#region").select_option("hip")
    page.locator("#again button").click()
    told(page, "#films", "(as hip)")
    assert page.locator("#films li").count() == 2
    told(page, "#readings label:nth-of-type(3)", "Hips")
    page.keyboard.press("3")
    told(page, "#lines", "Left hip: intact.")
    assert page.locator("#marks text").all_text_contents() == ["right", "left"]
    assert page.locator("#map").is_disabled()


def test_dicom_and_files_that_are_no_films(page: Page) -> None:
    # The pixel spacing, which is wrong, is a warning that a person sees.
    content = dicom_film(PatientName="Doe^Jane", ImagerPixelSpacing=[0.0, 0.0])
    drop(page, film_dcm=content, text_txt=b"only text", cut_png=film()[:100])
    told(page, "#summary", "3 of 3 films read")
    told(page, "#summary", "2 failed")
    rows = page.locator("#films li")
    told(page, "#films li:nth-child(2)", "Not read: text.txt: not a file format that is read here")
    rows.nth(1).locator(".open").click()
    told(page, "#suspicion", "DICOM, PNG, JPEG, TIFF")
    rows.nth(0).locator(".open").click()
    told(page, "#verdict", "racture")
    assert "Doe" not in page.content()


def test_downloads(page: Page) -> None:
    drop(page, wrist_png=film())
    told(page, "#verdict", "Fracture suspected")
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture").click()
    assert download.value.suggested_filename == "wrist-overlay.png"
    with Image.open(download.value.path()) as picture:
        assert picture.size[0] >= 900
    with page.expect_download() as download:
        page.get_by_role("button", name="Data (JSON)").click()
    assert json.loads(download.value.path().read_text())["readings"][0]["result"]["fractured"] is True


def test_a_batch_of_twenty(page: Page) -> None:
    drop(page, **{f"film{k}_png": film(255 if k % 2 else 20) for k in range(20)})
    told(page, "#summary", "20 of 20 films read, 10 suspicious")
    assert page.locator("#films progress:visible").count() == 0
    page.locator("#films li .open").first.click()  # the page shows the film that was read first, which need not be it
    page.keyboard.press("j")
    assert page.locator("#films li").nth(1).get_attribute("class") == "alarm current"
    page.get_by_role("button", name="Remove film0.png").click()
    told(page, "#summary", "19 of 19")
    page.get_by_role("button", name="Remove all films").click()
    assert page.locator("#films li").count() == 0
    assert page.locator("#empty").is_visible()


def test_a_page_outlives_its_server(tmp_path: Path) -> None:
    """Console errors are allowed here: the browser tells of each request that found nobody."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        port = free_port()
        with serving(tmp_path / "data", port=port) as server:
            page.goto(server.url)
            drop(page, slow_png=film(width=SLOW, height=60), **{f"f{k}_png": film() for k in range(5)})
            told(page, "#films", "Being read")
            server.kill()
            told(page, "#films", "The server does not answer")
        with serving(tmp_path / "data", port=port):
            told(page, "#summary", "6 of 6 films read, 5 suspicious")
            page.reload()
            told(page, "#summary", "6 of 6 films read, 5 suspicious")
            told(page, "#verdict", "racture")
        browser.close()


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    token = "a-token-of-many-letters"
    with serving(tmp_path / "data", token=token) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(server.url)
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        told(page, "#ready", "Reads with bright 1")
        drop(page, a_png=film())
        told(page, "#verdict", "Fracture suspected")
        page.locator("#film[href]").wait_for(state="attached")  # pictures follow the words
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, to fetch axe-core")
    folder = tmp_path_factory.mktemp("axe")
    got = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        pytest.skip(f"axe-core could not be fetched: {got.stderr[-200:]}")
    shutil.unpack_archive(archive, folder, "gztar", filter="data")
    return (folder / "package" / "axe.min.js").read_text(encoding="utf-8")


def test_a_film_that_is_read_before_the_answer_to_its_upload_is_shown(page: Page, server: Server) -> None:
    def late(route: Route) -> None:
        if route.request.method != "POST":
            return route.fallback()
        answer = route.fetch()
        state = answer.json()
        while state["state"] != "done":
            page.wait_for_timeout(100)
            state = page.request.get(f"{server.url}/v1/predictions?id={state['id']}").json()["predictions"][0]
        return route.fulfill(response=answer, json=state)

    page.route("**/v1/predictions", late)
    drop(page, a_png=film())
    told(page, "#summary", "1 of 1 film read, 1 suspicious")
    told(page, "#verdict", "Fracture suspected")


def test_accessibility(page: Page, axe: str) -> None:
    from playwright.sync_api import expect

    def faults() -> list[str]:
        found: Any = page.evaluate(axe + "; axe.run()")
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]

    expect(page.locator("#ready")).to_contain_text("Reads with")
    assert faults() == []
    drop(page, a_png=film(), text_txt=b"text")
    told(page, "#summary", "2 of 2 films read")
    told(page, "#verdict", "Fracture suspected")
    page.locator("details").nth(1).locator("summary").click()
    assert faults() == []
    page.locator("#films li").nth(1).locator(".open").click()
    assert faults() == []
    # Everything can be reached by Tab alone.
    reached = set()
    page.locator("#files").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"open", "remove", "clear"} <= reached
