"""The objects in other people's viewers: run once per release, since OHIF's 50 MB come from npm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from fracture.wing.result import Box
from tests.node.harness import until
from tests.results.dicomscope import scope
from tests.results.made import KINDS, prediction, save
from tests.results.ohif import YELLOW, Station, extent, fetch, largest, shot, show, station

pytestmark = pytest.mark.release

WITHIN = 3
"""Pixels of the film by which a drawn edge may miss the box."""

BOX = Box(140.0, 190.0, 240.0, 250.0, 0.8, "high_specificity")


@pytest.fixture(scope="module")
def ohif(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    viewer = fetch(tmp_path_factory.mktemp("ohif"))
    with station(tmp_path_factory.mktemp("station") / "archive", viewer) as found:
        yield found


def painted(folder: Path, value: int) -> tuple[Path, list[Dataset]]:
    """A film with a rectangle painted where its box is, so that both are found in what a viewer shows; its objects."""
    film = pydicom.dcmread(Path(__file__).parents[2] / "examples" / "wrist_radius_transverse.dcm")
    pixels = film.pixel_array // 4
    pixels[int(BOX.y0) : int(BOX.y1), int(BOX.x0) : int(BOX.x1)] = value
    film.PixelData = pixels.tobytes()
    path = save(film, folder, "film")
    return path, prediction(path, boxes=(BOX,)).to_dicom(KINDS)


def test_ohif_draws_the_box_where_it_is_and_zooms_it_with_the_film(ohif: Station, tmp_path: Path) -> None:
    path, made = painted(tmp_path, 4095)
    ohif.keep([path, *(save(one, tmp_path, f"object{k}") for k, one in enumerate(made))])
    with ohif.opened(made[0].StudyInstanceUID) as page:
        show(page, made[0])
        page.locator("svg.svg-layer polyline").first.wait_for(state="attached", timeout=60_000)
        page.locator('text="No"').click()  # OHIF asks whether the boxes shall become measurements of the reader's own
        scales: list[float] = []
        for zoom in (1, 2):
            if zoom > 1:
                page.evaluate(
                    "() => { const seen = cornerstone.getRenderingEngines()[0].getViewports()[0];"
                    "seen.setZoom(2 * seen.getZoom()); seen.render(); }"
                )
                until(lambda: white(shot(page))[2] - white(shot(page))[0] > 1.5 * scales[0] * 100, what="the zoom")
            picture = shot(page)
            page.screenshot(path=tmp_path / f"ohif_{zoom}.png")
            drawn = extent(np.abs(picture - YELLOW).max(axis=2) < 80)
            scales.append((white(picture)[2] - white(picture)[0]) / (BOX.x1 - BOX.x0))
            missed = np.abs(np.subtract(drawn, white(picture))).max() / scales[-1]
            assert missed <= WITHIN, (drawn, white(picture), scales)
        assert scales[1] == pytest.approx(2 * scales[0], rel=0.05)
        show(page, made[1])
        page.locator('text="Findings drawn by fracture, research use only"').nth(1).wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "ohif_capture.png")


def white(picture: np.ndarray) -> tuple[int, int, int, int]:
    """The painted rectangle; the viewer's words are white too, but smaller."""
    return extent(largest(picture.min(axis=2) > 225))


def test_dicomscope_draws_the_box_where_it_is(tmp_path: Path) -> None:
    path, made = painted(tmp_path, 2048)
    (state,) = (one for one in made if one.Modality == "PR")
    with scope(tmp_path, [path, save(state, tmp_path, "state")]) as viewer:
        viewer.open_second_series()

        def gray() -> np.ndarray:
            found = (np.abs(viewer.film() - 128).max(axis=2) < 12).astype(np.uint8)
            closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((9, 9)))  # a line crosses it
            return cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((25, 25)))  # letters stand below it

        until(lambda: largest(gray()).sum() > 20_000, what="the rectangle")
        rectangle = extent(largest(gray()))
        Image.fromarray(viewer.shot().astype(np.uint8)).save(tmp_path / "dicomscope.png")
        drawn = extent(largest(viewer.film().min(axis=2) > 245))
        scale = (rectangle[2] - rectangle[0]) / (BOX.x1 - BOX.x0)
        missed = np.abs(np.subtract(drawn, rectangle)).max() / scale
        assert missed <= WITHIN, (drawn, rectangle, scale)
