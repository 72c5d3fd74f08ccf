"""``--report``: a gallery that opens from the disk, beside its tables; resumed, and never over another's files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from fracture.cli.run import outputs_of, run
from fracture.errors import ConfigurationError
from fracture.gallery.page import write_page
from tests.browser import opened
from tests.runs.fakes import Looker, write_film

NAMES = ("0.png", "sub/1.png", "<script>alert(1)&.png", "=2.png")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write_film(tmp_path / "in" / name.replace("/script", "script"), 40 * number)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    return tmp_path / "in"


def report(films: Path, out: Path, looker: Looker | None = None, **outputs: Any) -> Looker:
    looker = looker or Looker()
    with pytest.raises(typer.Exit):  # one film is broken
        run([str(films)], outputs_of(json_file=None, report=out, **outputs), looker.task)
    return looker


def test_a_report_has_all_films_and_fetches_nothing(films: Path, tmp_path: Path) -> None:
    report(films, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert page.count("<article ") == len(lines) == 5
    assert page.count("<svg ") == 4
    assert "<script>alert" not in page
    assert "Something is &lt;there&gt;" in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)\w+:""", page)
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in page
    ran = json.loads((tmp_path / "out" / "run.json").read_text())
    assert ran["summary"]["films"] == 5
    assert ran["weights"] == "w"
    assert {"python", "fracture", "processor", "torch"} <= set(ran["machine"])
    assert len((tmp_path / "out" / "results.csv").read_text("utf-8-sig").splitlines()) == 6


def test_it_is_sorted_by_suspicion(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"0.png": 0.2, "1.png": 0.9, "=2.png": 0.5}
    line = Looker._line

    def scored(self: Looker, result: Any) -> dict[str, Any]:
        score = scores.get(Path(result.source).name, 0.1)
        return line(self, result) | ({"probability": score, "threshold": 0.5} if result.ok else {})

    monkeypatch.setattr(Looker, "_line", scored)
    report(films, tmp_path / "out")
    shown = re.findall(r'aria-label="([^"]*)">\n<(?:figure|p)', (tmp_path / "out" / "index.html").read_text("utf-8"))
    assert [Path(name).name for name in shown if name][:3] == ["1.png", "=2.png", "0.png"]
    assert Path(shown[-1]).name == "broken.png"


def test_it_is_resumed(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        report(films, out, Looker(stop_after=2))
    assert not (out / "index.html").exists()
    looker = report(films, out, resume=True)
    assert len(looker.seen) == 3
    page = (out / "index.html").read_text("utf-8")
    piece = next((out / "pieces").rglob("*.json"))
    piece.unlink()  # a film whose picture is gone is done again, and so is the one that failed
    looker = report(films, out, resume=True)
    assert len(looker.seen) == 2
    assert (out / "index.html").read_text("utf-8").count("<svg ") == page.count("<svg ") == 4


def test_reports_and_other_files_are_not_replaced(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report(films, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="earlier run"):
        report(films, out)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.html").write_text("<html>mine</html>")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match="did not write"):
            report(films, tmp_path / "theirs", overwrite=overwrite)
    with pytest.raises(ConfigurationError, match="is a file"):
        report(films, films / "0.png")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    report(films, out, overwrite=True)


def test_its_own_files_are_no_films(films: Path, tmp_path: Path) -> None:
    report(films, films / "report")
    assert len(report(films, tmp_path / "again").seen) == 5


@pytest.mark.hospital
def test_the_page_in_a_browser(films: Path, tmp_path: Path) -> None:
    report(films, tmp_path / "out")
    with opened((tmp_path / "out" / "index.html").as_uri()) as page:
        first = page.locator("article").first
        assert first.locator("image").get_attribute("href").startswith("data:image/jpeg;base64,")  # type: ignore[union-attr]
        assert page.locator("#shown").inner_text() == "5 films shown"
        page.locator("input[value=failed]").check()
        assert page.locator("article:visible").count() == 1
        assert "cut off" in page.locator("article:visible").inner_text() or page.locator(".none:visible").count()
        page.locator("input[value='']").check()
        page.locator("input[name=name]").fill("SUB/")
        assert page.locator("article:visible").count() == 1
        page.locator("input[name=name]").fill("")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("ArrowDown")  # scrolls, as on any page
        assert page.evaluate("document.activeElement === document.body")
        page.evaluate("scrollTo(0, 0)")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement === document.querySelectorAll('article')[0]")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement === document.querySelectorAll('article')[1]")
        page.keyboard.press("Enter")
        assert "open" in (page.locator("article").nth(1).get_attribute("class") or "")
        assert first.locator("rect.sure").is_visible()
        page.keyboard.press("b")
        assert not first.locator("rect.sure").is_visible()


@pytest.mark.release
def test_ten_thousand_films_in_a_browser(films: Path, tmp_path: Path) -> None:
    report(films, tmp_path / "out")
    written = [json.loads(text) for text in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    line = next(one for one in written if one["error"] is None)
    piece = next(path for path in (tmp_path / "out" / "pieces").rglob("*.json"))
    pictures = json.loads(piece.read_text())
    many = [{**line, "source": f"{number:05d}.png"} for number in range(10_000)]
    run_of = json.loads((tmp_path / "out" / "run.json").read_text())
    write_page(tmp_path / "many.html", many, lambda _: pictures, run_of)
    with opened((tmp_path / "many.html").as_uri()) as page:
        drawn = page.locator("article image[href]")
        assert page.locator("#shown").inner_text() == "10000 films shown"
        drawn.first.wait_for(state="attached")
        assert drawn.count() < 300  # those near what is seen, of 10,000
        page.locator("article").last.focus()
        page.locator("article").last.locator("image[href]").wait_for(state="attached")
        page.locator("article").first.locator("image[href]").wait_for(state="detached")  # and let go again
        assert drawn.count() < 300
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("09998.png")
        page.locator("input[name=name]").fill("01234")
        assert page.locator("article:visible").count() == 1
