"""OHIF before a real Orthanc: a study opened in Chromium, and what is drawn there as pixels.

The prebuilt viewer comes from npm, pinned. It is served with the archive's DICOMweb behind it, from one origin.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.browser import opened
from tests.node.harness import until
from tests.node.orthanc import Orthanc, orthanc_at, own_network

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIEWER = "@ohif/app@3.13.2"
YELLOW = (255, 255, 0)

# Two complaints that OHIF makes by itself: thumbnails that were asked for twice, and kinds that it cannot show.
_SETTINGS = """window.config = {
  routerBasename: "/", extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false, strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: "never" }, defaultDataSourceName: "archive",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "archive",
    configuration: {
      friendlyName: "archive", name: "archive", wadoUriRoot: "/dicom-web", qidoRoot: "/dicom-web",
      wadoRoot: "/dicom-web", qidoSupportsIncludeField: false, imageRendering: "wadors",
      thumbnailRendering: "wadors", enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      supportsWildcard: true, singlepart: "bulkdata,video", omitQuotationForMultipartRequest: true,
    },
  }],
};"""


def fetch(folder: Path) -> Path:
    """The viewer's files; skips where npm cannot fetch them."""
    if (npm := shutil.which("npm")) is None:
        pytest.skip(f"needs npm, to fetch {VIEWER}")
    got = subprocess.run([npm, "pack", VIEWER], cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        pytest.skip(f"{VIEWER} could not be fetched: {got.stderr[-200:]}")
    shutil.unpack_archive(archive, folder, "gztar", filter="data")
    return folder / "package" / "dist"


class _Handler(SimpleHTTPRequestHandler):
    """The viewer's files, and the archive's DICOMweb."""

    def __init__(self, *arguments: object, archive: int, **options: object) -> None:
        self.archive = archive
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            self._answer(200, _SETTINGS.encode(), "text/javascript")
        elif path.startswith("/dicom-web"):
            self._ask()
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # an address within the viewer
            super().do_GET()

    def _ask(self) -> None:
        accept = {"Accept": self.headers.get("Accept", "*/*")}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.archive}{self.path}", headers=accept)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                self._answer(answer.status, answer.read(), answer.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, error.read(), "text/plain")
        except OSError as error:
            self._answer(502, str(error).encode(), "text/plain")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Station:
    """An archive, and the viewer's address."""

    archive: Orthanc
    url: str

    def keep(self, files: Sequence[Path]) -> None:
        """Store objects in the archive, which must take each."""
        for path in files:
            stored = urllib.request.Request(
                f"http://127.0.0.1:{self.archive.http}/instances", data=path.read_bytes(), method="POST"
            )
            with urllib.request.urlopen(stored, timeout=60) as answer:
                assert answer.status == 200, path

    @contextlib.contextmanager
    def opened(self, study: str) -> Iterator[Page]:
        """A study in the viewer, once its first picture is drawn."""
        with opened(f"{self.url}/viewer?StudyInstanceUIDs={study}", width=1400, height=900, webgl=True) as page:
            page.locator("text=Skip all").click(timeout=120_000)  # the guided tour
            page.add_style_tag(content="svg.svg-layer text, svg.svg-layer line { display: none }")  # boxes alone
            until(lambda: shot(page).max() > 100, what="the film is drawn")
            yield page


@contextlib.contextmanager
def station(folder: Path, viewer: Path) -> Iterator[Station]:
    """An Orthanc and OHIF before it, in a network of their own."""
    with own_network(), orthanc_at(folder, 11112) as archive:
        handler = functools.partial(_Handler, directory=str(viewer), archive=archive.http)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield Station(archive, f"http://127.0.0.1:{server.server_address[1]}")
            finally:
                server.shutdown()
                thread.join()


def show(page: Page, made: Dataset) -> None:
    """Open one of our series, as a reader does: by a double click on its entry."""
    page.locator(f'text="S:{made.SeriesNumber}"').first.dblclick()


def shot(page: Page) -> np.ndarray:
    """What is in the viewport, int (height, width, 3)."""
    content = page.locator(".cornerstone-canvas").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def extent(shown: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of what is true, half-open."""
    rows, columns = np.nonzero(shown)
    assert rows.size, "nothing of this color is shown"
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def largest(shown: np.ndarray) -> np.ndarray:
    """The largest connected part of what is true."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(shown.astype(np.uint8))
    found: np.ndarray = parts == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    return found
