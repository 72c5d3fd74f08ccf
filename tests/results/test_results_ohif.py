"""The objects in OHIF, the viewer of the web: run once per release, since 50 MB come from npm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fracture.wing.result import Box
from tests.results.made import KINDS, prediction, save
from tests.results.ohif import YELLOW, Station, extent, fetch, largest, shot, show, station

pytestmark = pytest.mark.release

WITHIN = 3
"""Pixels of the film by which a drawn edge may miss the box."""


@pytest.fixture(scope="module")
def ohif(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    viewer = fetch(tmp_path_factory.mktemp("ohif"))
    with station(tmp_path_factory.mktemp("station") / "archive", viewer) as found:
        yield found


def test_ohif_draws_the_box_where_it_is_and_zooms_it_with_the_film(
    ohif: Station, repository: Path, tmp_path: Path
) -> None:
    """A rectangle is painted into the film where the box is: both are found in what Chromium shows."""
    film = pydicom.dcmread(repository / "examples" / "wrist_radius_transverse.dcm")
    pixels = film.pixel_array // 4
    box = Box(140.0, 190.0, 240.0, 250.0, 0.8, "high_specificity")
    pixels[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 4095
    film.PixelData = pixels.tobytes()
    path = save(film, tmp_path, "film")
    made = prediction(path, boxes=(box,)).to_dicom(KINDS)
    ohif.keep([path, *(save(one, tmp_path, f"object{k}") for k, one in enumerate(made))])
    with ohif.opened(film.StudyInstanceUID) as page:
        show(page, made[0])
        page.locator("svg.svg-layer polyline").first.wait_for(state="attached", timeout=60_000)
        page.locator('text="No"').click()  # OHIF asks whether the boxes shall become measurements of the reader's own
        scales = []
        for zoom in (1, 2):
            if zoom > 1:
                page.evaluate(
                    "() => { const seen = cornerstone.getRenderingEngines()[0].getViewports()[0];"
                    "seen.setZoom(2 * seen.getZoom()); seen.render(); }"
                )
                page.wait_for_timeout(1000)
            picture = shot(page)
            page.screenshot(path=tmp_path / f"ohif_{zoom}.png")
            painted = extent(largest(picture.min(axis=2) > 225))  # the viewer's words are white too
            drawn = extent(np.abs(picture - YELLOW).max(axis=2) < 80)
            scales.append((painted[2] - painted[0]) / (box.x1 - box.x0))
            assert np.abs(np.subtract(drawn, painted)).max() / scales[-1] <= WITHIN, (drawn, painted, scales)
        assert scales[1] == pytest.approx(2 * scales[0], rel=0.05)
        show(page, made[1])
        page.locator('text="Findings drawn by fracture, research use only"').nth(1).wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "ohif_capture.png")
