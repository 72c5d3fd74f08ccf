"""A real Chromium, driven by playwright; tests that need one skip where either is missing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["opened"]

_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@contextlib.contextmanager
def opened(url: str, *, width: int = 1280, height: int = 900, webgl: bool = False) -> Iterator[Page]:
    """A page in a browser. At the end no error may stand in its console, and all that was fetched must be of ``url``'s
    own origin. ``webgl`` for a page that draws by it: it is reckoned without a graphics card."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    origin = "/".join(url.split("/")[:3])
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *(_WEBGL if webgl else ())])
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_navigation_timeout(120_000)  # a busy machine is no failure
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: _check(request.url, origin, complaints))
            page.goto(url)
            yield page
        finally:
            browser.close()
    assert not complaints, complaints


def _check(url: str, origin: str, complaints: list[str]) -> None:
    if not url.startswith((origin, "data:", "blob:")):
        complaints.append(f"fetched {url}")
