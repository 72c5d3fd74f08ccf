"""Box, GridToSource, Prediction, Failure: their values, their JSON, and the pictures they draw."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from fracture.errors import ConfigurationError, UnreadableFileError
from fracture.io.radiograph import Radiograph
from fracture.limb.prediction import Prediction
from fracture.wing.overlay import GREEN, ORANGE, draw_page, draw_scene
from fracture.wing.result import Box, Failure, GridToSource

# Issue 2: "One JSON line per input, with at least"
LINE = (
    "source width height probability fractured region region_source threshold operating_point boxes model seconds error"
)


def predicted(shape: tuple[int, int] = (80, 60), **changes: Any) -> Prediction:
    height, width = shape
    values: dict[str, Any] = {
        "source": "films/wrist.png",
        "width": width,
        "height": height,
        "probability": 0.75,
        "fractured": True,
        "threshold": 0.5,
        "boxes": (Box(20.0, 30.0, 40.0, 50.0, 0.6, "high_specificity"),),
        "regions": ("wrist",),
        "region_source": "caller",
        "model": "test",
        "radiograph": Radiograph(np.full(shape, 0.25, np.float32), source="films/wrist.png"),
    }
    return Prediction(**{**values, **changes})


def test_box_geometry() -> None:
    box = Box(10.0, 20.0, 30.0, 50.0, 0.5)
    assert (box.width, box.height, box.area, box.center) == (20, 30, 600, (20, 35))
    assert box.iou(box) == 1.0
    assert box.iou(Box(20.0, 20.0, 40.0, 50.0, 0.1)) == pytest.approx(300 / 900)
    assert box.iou(Box(30.0, 20.0, 40.0, 50.0, 0.1)) == 0.0
    assert box.to_dict() == {"x0": 10, "y0": 20, "x1": 30, "y1": 50, "score": 0.5, "operating_point": None}


@pytest.mark.parametrize(
    "edges", [(0, 0, 0, 5), (0, 5, 5, 5), (5, 0, 0, 5), (0, 0, float("nan"), 5), (0, 0, float("inf"), 5)]
)
def test_a_box_without_an_area_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigurationError, match="box"):
        Box(*edges, 0.5)


def test_grid_to_source() -> None:
    grid = GridToSource(8.0, 4.0, -3.0, 5.0)
    assert grid.box(0, 0, 2, 3) == (-3, 5, 13, 17)
    for scales in ((0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(ConfigurationError):
            GridToSource(*scales)


def test_a_prediction_is_frozen_and_pickles() -> None:
    prediction = predicted(probability_map=np.zeros((10, 8), np.float32), map_to_source=GridToSource(8, 8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.probability = 0.1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(prediction)).to_dict() == prediction.to_dict()
    assert prediction.ok
    assert prediction.error is None
    dropped = prediction.drop_pixels()
    assert dropped.radiograph is None
    assert dropped.probability_map is None
    assert dropped.to_dict() == prediction.to_dict()


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_the_unit_interval_is_refused(probability: float) -> None:
    with pytest.raises(ConfigurationError, match="probability"):
        predicted(probability=probability)


def test_the_json_line_has_the_promised_keys_and_safe_values() -> None:
    prediction = predicted(
        probability=np.float32(0.75),
        seconds=float("nan"),
        member_scores={"a": np.float32(0.5), "b": float("inf")},
        spacing=(0.1, 0.2),
        region_probabilities={"wrist": 0.9},
    )
    line = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert list(line)[:13] == LINE.split()
    assert line["probability"] == 0.75
    assert line["boxes"] == [
        {"x0": 20, "y0": 30, "x1": 40, "y1": 50, "score": 0.6, "operating_point": "high_specificity"}
    ]
    assert line["seconds"] is None
    assert line["member_scores"] == {"a": 0.5, "b": None}
    assert line["error"] is None
    assert line["region"] == "wrist"
    assert "candidates" not in line
    assert predicted(candidates=()).to_dict()["candidates"] == []


def test_the_region_joins_several_and_is_any_where_unknown() -> None:
    assert predicted(regions=("forearm", "wrist")).region == "forearm+wrist"
    assert predicted(regions=(), region_source=None).region == "any"


def test_a_failure_has_the_same_keys_with_nulls() -> None:
    failure = Failure("a.dcm", UnreadableFileError("a.dcm: empty file"))
    line = json.loads(json.dumps(failure.to_dict()))
    assert list(line) == LINE.split()
    assert line["error"] == {"type": "UnreadableFileError", "message": "a.dcm: empty file"}
    assert line["probability"] is None
    assert line["boxes"] is None
    assert not failure.ok
    assert str(pickle.loads(pickle.dumps(failure)).error) == "a.dcm: empty file"


def test_html_shows_the_decision_and_escapes_what_it_is_given() -> None:
    html = predicted(source="<script>.png", warnings=("odd & rare",))._repr_html_()
    assert "<script>" not in html
    assert "odd &amp; rare" in html
    assert "0.750" in html
    assert "radiograph" not in repr(predicted())


def colored(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (picture == np.array(color, np.uint8)).all(axis=2)


@pytest.mark.parametrize("shape", [(40, 60), (454, 373), (2500, 900)])
def test_an_overlay_frames_the_box_without_covering_it(shape: tuple[int, int]) -> None:
    height, width = shape
    box = Box(0.3 * width, 0.4 * height, 0.6 * width, 0.7 * height, 0.6)
    picture = draw_scene(predicted(shape, boxes=(box,)).scene())
    scale = min(2048 / max(shape), max(1.0, 900 / max(shape)))
    film = picture[: round(height * scale)]
    assert 900 <= max(film.shape) <= 2048
    orange = colored(film, ORANGE)
    x0, y0, x1, y1 = (round(edge * scale) for edge in (box.x0, box.y0, box.x1, box.y1))
    inside = film[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
    assert (inside == inside[0, 0]).all()  # the flat film, untouched
    rows, columns = np.nonzero(orange[y0 - 12 : y1 + 12, x0 - 12 : x1 + 12])
    line = max(2, round(max(film.shape) / 300))
    assert abs(columns.min() - 12 + line) <= 1
    assert abs(columns.max() - (x1 - x0 + 12) - line) <= 2
    assert abs(rows.max() - (y1 - y0 + 12) - line) <= 2


def test_dotted_and_solid_outlines_differ() -> None:
    box = predicted().boxes[0]
    counts = {}
    for name in ("high_sensitivity", "high_specificity", None):
        picture = draw_scene(predicted(boxes=(dataclasses.replace(box, operating_point=name),)).scene())
        counts[name] = int(colored(picture[:900], ORANGE).sum())
    assert counts[None] == counts["high_specificity"]
    assert 0.2 < counts["high_sensitivity"] / counts[None] < 0.7


edge = st.floats(0, 0.95)


@settings(max_examples=25, deadline=None)
@given(corners=st.lists(st.tuples(edge, edge, st.floats(0.01, 1), st.floats(0.01, 1)), max_size=6))
def test_any_boxes_can_be_drawn_and_labels_cover_a_corner_at_most(
    corners: list[tuple[float, float, float, float]],
) -> None:
    shape = (120, 100)
    boxes = tuple(Box(x * 100, y * 120, min(x + w, 1.0) * 100, min(y + h, 1.0) * 120, 0.5) for x, y, w, h in corners)
    plain = draw_scene(predicted(shape, boxes=()).scene())
    picture = draw_scene(predicted(shape, boxes=boxes).scene())
    assert picture.shape[1] == plain.shape[1]
    scale = 900 / 120
    allowed = np.zeros(picture.shape[:2], bool)
    reach = 3 + 1 + 1  # line, halo, rounding
    for box in boxes:  # inside a box only frames may differ from the plain film, its own or another's, and a corner
        x0, y0, x1, y1 = (round(e * scale) for e in (box.x0, box.y0, box.x1, box.y1))
        band = np.zeros_like(allowed)
        band[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach] = True
        band[
            y0 + 2 * reach : max(y0 + 2 * reach, y1 - 2 * reach), x0 + 2 * reach : max(x0 + 2 * reach, x1 - 2 * reach)
        ] = False
        allowed |= band
        for y in (slice(y0 - 30, y0 + 40), slice(y1 - 40, y1 + 30)):
            for x in (slice(x0 - 40, x0 + 50), slice(x1 - 50, x1 + 40)):
                allowed[max(0, y.start) : y.stop, max(0, x.start) : x.stop] = True
    changed = (picture[:900] != plain[:900]).any(axis=2) & ~allowed[:900]
    for box in boxes:
        x0, y0, x1, y1 = (round(e * scale) for e in (box.x0, box.y0, box.x1, box.y1))
        assert not changed[y0:y1, x0:x1].any()


def test_a_label_without_room_stands_in_a_corner_of_its_box() -> None:
    """One box is the whole film, the other lies in its corner: nowhere is free."""
    shape = (120, 100)
    boxes = (Box(0, 0, 100, 120, 0.9), Box(60, 60, 100, 120, 0.8))
    page = predicted(shape, boxes=boxes).scene().pages[0]
    assert [box.label for box in page.boxes] == ["1", "2"]
    plain = page.pixels
    labeled = draw_scene(predicted(shape, boxes=boxes).scene())[:900].astype(int)
    bare = dataclasses.replace(page, boxes=tuple(dataclasses.replace(box, label="") for box in page.boxes))
    without = draw_page(bare)[:900].astype(int)
    scale = 900 / plain.shape[0]
    rows, columns = np.nonzero((labeled != without).any(axis=2))
    for box in boxes:
        x, y = box.x0 * scale, box.y0 * scale
        assert ((np.abs(rows - y) < 60) & (np.abs(columns - x) < 60)).any(), "the label is at the box's own corner"


def test_the_strip_says_the_decision_by_color() -> None:
    positive, negative = draw_scene(predicted().scene()), draw_scene(predicted(fractured=False, boxes=()).scene())
    assert tuple(positive[-1, 0]) == ORANGE
    assert tuple(negative[-1, 0]) == GREEN


def test_the_map_tints_where_it_is_high_and_stays_on_its_grid() -> None:
    grid = np.zeros((10, 6), np.float32)
    grid[:, 3:] = 1.0
    prediction = predicted(boxes=(), probability_map=grid, map_to_source=GridToSource(8, 8, offset_x=6))
    picture = draw_scene(prediction.scene(show_map=True))[:900].astype(int)
    scale = 900 / 80
    warm = picture[450, :, 0] - picture[450, :, 2]
    assert warm[: round(24 * scale)].max() == 0
    assert warm[round(36 * scale) : round(53 * scale)].min() > 60
    assert warm[round(54.5 * scale) :].max() == 0  # the grid ends at 6 + 48 px


def test_save_overlay_writes_a_png_without_metadata_or_the_path(tmp_path: Path) -> None:
    path = tmp_path / "overlay.png"
    predicted(source="DOE^JANE_1970.dcm").save_overlay(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.info == {}
        np.testing.assert_array_equal(np.asarray(image), draw_scene(predicted().scene()))
    with pytest.raises(ConfigurationError, match="cannot be written"):
        predicted().save_overlay(tmp_path / "missing" / "overlay.png")


def test_drawing_without_pixels_says_what_to_do() -> None:
    bare = predicted().drop_pixels()
    with pytest.raises(ConfigurationError, match=r"keep=True"):
        bare.plot()
    with pytest.raises(ConfigurationError, match="not the one"):
        draw_scene(bare.scene(image=np.zeros((5, 5), np.uint8)))
    with pytest.raises(ConfigurationError, match="another type"):
        draw_scene(bare.scene(image=np.zeros((80, 60), np.int32)))
    with pytest.raises(ConfigurationError, match="no probability map"):
        draw_scene(predicted().scene(show_map=True))
    with pytest.raises(ConfigurationError, match="candidates"):
        draw_scene(predicted().scene(show_candidates=True))
    as_bytes = draw_scene(bare.scene(image=np.full((80, 60), 64, np.uint8)))
    np.testing.assert_array_equal(as_bytes, draw_scene(predicted().scene()))


def test_plot_draws_in_source_pixels() -> None:
    from matplotlib import pyplot
    from matplotlib.colors import to_rgb

    prediction = predicted(
        boxes=(Box(20, 30, 40, 50, 0.6, "high_sensitivity"),),
        candidates=(Box(20, 30, 40, 50, 0.6, "high_sensitivity"), Box(1, 2, 5, 9, 0.1)),
        probability_map=np.ones((10, 8), np.float32),
        map_to_source=GridToSource(8, 8),
    )
    ax = prediction.plot(show_map=True, show_candidates=True)
    candidate, box = ax.patches
    assert box.get_bbox().bounds == (20, 30, 20, 20)
    assert box.get_linestyle() == ":"
    assert to_rgb(box.get_edgecolor()) == pytest.approx(np.array(ORANGE) / 255)
    assert candidate.get_bbox().bounds == (1, 2, 4, 7)
    assert list(ax.images[0].get_extent()) == [0, 60, 80, 0]
    assert len(ax.images) == 2
    figure, own = pyplot.subplots()
    assert prediction.plot(own) is own
    figure.canvas.draw()
    pyplot.close("all")


def test_the_record_imports_without_heavy_libraries(repository: Path) -> None:
    code = (
        "import sys, fracture.limb.prediction, fracture.limb.operating_points;"
        "sys.exit(sum(m in sys.modules for m in ('torch', 'cv2', 'PIL', 'matplotlib', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 0
