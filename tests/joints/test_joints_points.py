"""Names, crops, frames, letters, widths and results of the joints, on drawn pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fracture.digits import is_mirrored
from fracture.errors import ConfigurationError, DataError
from fracture.io.radiograph import Radiograph
from fracture.joints.frames import fit_frame, joint_place, template_of
from fracture.joints.layout import COLUMNS, FOREFOOT, HAND, POINTS, ROW, columns_of
from fracture.joints.prediction import JointsFilm, JointsLimb
from fracture.joints.records import limbs_of, read_landmarks
from fracture.joints.spaces import Space, joint_spaces
from fracture.models.heatmaps import peaks
from fracture.preprocess.gap import gap_width
from fracture.preprocess.side_letter import side_of_letter, sides_of
from fracture.preprocess.similarity import Similarity, crop_at, fit_place, mean_shape
from tests.joints.drawn import joint

HAND_SHAPE = dict(
    zip(
        HAND,
        [
            *((60, 5), (30, -25), (10, -30), (-8, -25), (-25, -15), (85, -25), (38, -62), (11, -72), (-12, -65)),
            *(
                (-32, -45),
                (40, -80),
                (12, -96),
                (-14, -88),
                (-38, -60),
                (35, 40),
                (30, 44),
                (22, 52),
                (8, 56),
                (18, 70),
            ),
            *((-6, 68), (8, 34), (0, 35), (-8, 37), (26, 48), (12, 50), (12, 62)),
        ],
        strict=True,
    )
)


def placed(turn: float, scale: float, *, mirrored: bool, at: tuple[float, float] = (500.0, 400.0)) -> dict:
    """The drawn hand, turned by ``turn`` radians."""
    c, s = math.cos(turn), math.sin(turn)
    flip = -1 if mirrored else 1
    return {
        name: (at[0] + scale * (c * flip * x - s * y), at[1] + scale * (s * flip * x + c * y))
        for name, (x, y) in HAND_SHAPE.items()
    }


def test_the_challenge_has_ninety_columns_and_each_film_its_share():
    assert len(ROW) == len(set(ROW)) == 90
    assert (len(COLUMNS), len(columns_of("hand")), len(columns_of("forefoot"))) == (43, 31, 12)
    assert sum(2 * column.maximum for column in COLUMNS) == 448  # the most that a patient can have
    assert all(column.point in POINTS[column.kind] for column in COLUMNS)
    assert ROW[4] == "LH_mcp_E__ip"
    assert ROW[-1] == "RF_mtp_J__5"


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_a_crop_knows_the_way_back_and_shows_what_lies_there(scale, mirrored):
    film = np.zeros((300, 400), np.float32)
    film[140:149, 220:229] = 1.0
    place = Similarity((224.5, 144.5), (math.sin(0.4), -math.cos(0.4)), scale, 64, mirrored)
    assert np.allclose(place.to_source(place.to_crop([[10.0, 20.0]])), [[10.0, 20.0]])
    crop = crop_at(film, place)
    rows, columns = np.mgrid[0:64, 0:64] + 0.5
    middle = np.array([(columns * crop.pixels).sum(), (rows * crop.pixels).sum()]) / crop.pixels.sum()
    assert np.allclose(middle, 32, atol=0.3)


def test_a_joints_crop_has_its_digit_up_and_the_thumb_to_the_right():
    for mirrored in (False, True):
        points = placed(2.0, 2.0, mirrored=mirrored)
        assert is_mirrored(points) is mirrored
        place = joint_place(points, "pip3", 0.5)
        tip, thumb = place.to_crop([points["dip3"], points["ip1"]])
        assert abs(tip[0] - 112) < 2
        assert tip[1] < 112
        assert thumb[0] > 112
    with pytest.raises(ConfigurationError, match="point of a crop"):
        joint_place({"pip3": (1.0, 1.0)}, "dip3", 1.0)


def test_a_frame_finds_turn_size_and_the_way_round():
    template = template_of([("hand", placed(0.0, 1.0, mirrored=False))])
    for turn, mirrored in ((0.0, False), (2.5, True), (-1.0, False)):
        points = placed(turn, 3.0, mirrored=mirrored)
        frame, left = fit_frame(points, "hand", template)
        assert frame.mirrored is mirrored
        assert left < 1e-6
        assert np.allclose(frame.to_crop([points[name] for name in HAND]), template[: len(HAND)], atol=1e-6)


def test_the_mean_of_a_shape_is_the_shape_however_its_examples_lie():
    rng = np.random.default_rng(0)
    shape, examples = rng.uniform(20, 80, (6, 2)), []
    for k in range(5):
        place = Similarity((rng.uniform(0, 99), 50.0), (math.sin(k), -math.cos(k)), rng.uniform(0.5, 2), 100, k % 2 > 0)
        points = place.to_source(shape)
        points[rng.integers(6)] = np.nan
        examples.append((points, place.disturbed(rng, 3.0, 8.0, 0.1)))
    mean = mean_shape(examples, 100)
    _, left = fit_place(mean, shape, 100)
    assert left < 0.03
    examples = [(np.where(np.arange(6)[:, None] == 2, np.nan, points), place) for points, place in examples]
    assert np.isnan(mean_shape(examples, 100)).any(-1).tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize(("letter", "side"), [("R", "right"), ("L", "left")])
def test_a_letter_beside_the_hand_tells_the_side_and_two_tell_nothing(letter, side):
    film = Image.new("F", (500, 600), 0.1)
    draw = ImageDraw.Draw(film)
    draw.text((60, 60), letter, 1.0, ImageFont.load_default(30), stroke_width=2)
    assert side_of_letter(np.asarray(film)) == side
    assert side_of_letter(np.asarray(film), [{"a": (0, 0), "b": (300, 0), "c": (300, 300), "d": (0, 300)}]) is None
    draw.text((300, 300), "L" if letter == "R" else "R", 1.0, ImageFont.load_default(30), stroke_width=2)
    assert side_of_letter(np.asarray(film)) is None
    assert side_of_letter(np.full((500, 600), 0.1, np.float32)) is None


def test_a_side_is_the_callers_else_the_headers_else_a_single_limbs_letters():
    film, points = Image.new("F", (500, 600), 0.1), {"a": (300.0, 300.0)}
    ImageDraw.Draw(film).text((60, 60), "R", 1.0, ImageFont.load_default(30), stroke_width=2)
    pixels = np.clip(np.asarray(film), 0, 1)
    plain, said = Radiograph(pixels), Radiograph(pixels, laterality="left")
    assert sides_of(said, pixels, [points, points], ["right"]) == [("right", "caller"), (None, None)]
    assert sides_of(said, pixels, [points, points], "right") == [("right", "caller")] * 2
    assert sides_of(said, pixels, [points]) == [("left", "dicom")]
    assert sides_of(plain, pixels, [points]) == [("right", "letter")]
    assert sides_of(plain, pixels, [points, points]) == [(None, None)] * 2
    assert sides_of(plain, np.zeros_like(pixels), [points]) == [(None, None)]


def test_peaks_are_of_their_own_map_and_touch_the_rim():
    maps = np.zeros((2, 5, 5), np.float32)
    maps[0, 0, 0], maps[0, 1, 1], maps[1, 2, 2], maps[1, 4, 4] = 0.9, 0.5, 0.6, 0.1
    assert peaks(maps, 0.2, (1, 3, 3)).tolist() == [[0, 0, 0], [1, 2, 2]]
    assert peaks(maps, 0.2).tolist() == [[0, 0, 0], [1, 2, 2]]
    assert peaks(maps[1], 0.05, 5).tolist() == [[2, 2]]
    assert peaks(maps[1], 0.05, 3).tolist() == [[2, 2], [4, 4]]


def test_known_widths_are_measured_within_a_pixel():
    gaps = np.linspace(3.0, 11.0, 9)
    found = [gap_width(joint(gap, blur=0.8 + 0.08 * k, seed=k, shift=(k % 5) - 2.0))[0] for k, gap in enumerate(gaps)]
    away = np.array(found, float) - gaps
    assert abs(away.mean()) < 0.4
    assert away.std() < 0.5
    assert np.abs(away).max() < 1.2
    assert gap_width(np.full((96, 96), 0.5, np.float32))[0] is None


def test_widths_come_in_pixels_shares_and_millimeters():
    points = {"mcp3": (48.0, 200.0), "pip3": (48.0, 48.0), "dip3": (48.0, -120.0)}
    film = joint(6.0, blur=1.0)
    found = joint_spaces(
        np.pad(film, 60, mode="edge"), {n: (x + 60, y + 60) for n, (x, y) in points.items()}, "hand", 0.2
    )
    space = found["pip3"]
    assert abs(space.pixels - 6.0) < 1.0
    assert space.mm == pytest.approx(space.pixels * 0.2)
    assert space.share == pytest.approx(space.pixels / 320.0)


def test_a_result_survives_its_json_line_and_open_sides_fill_no_columns():
    from fracture.joints.scoring import Score

    limb = JointsLimb(
        kind="forefoot",
        points=dict.fromkeys(FOREFOOT, (1.0, 2.0)),
        certainty=dict.fromkeys(FOREFOOT, 0.5),
        boxes={"ip": (0.0, 0.0, 4.0, 4.0)},
        spaces={"ip": Space(2.0, 0.02, 0.4, 19)},
        scores={"mtp_E__1": Score(2.4, 0.5), "mtp_J__1": Score(0.2, 0.1)},
        source="a.png",
    )
    film = JointsFilm(source="a.png", width=9, height=8, limbs=(limb,), model="m")
    assert film.columns == {}
    assert film.overall == {"total": pytest.approx(2.6), "erosion": 2.4, "narrowing": 0.2}
    assert film.sums(rounded=True, near_zero=0.3) == {"total": 2.0, "erosion": 2.0, "narrowing": 0.0}
    again = JointsFilm.from_dict(film.to_dict())
    assert again.points == film.points
    assert again.spaces == film.spaces
    assert again.scores == film.scores
    assert again.to_dict() == film.to_dict()


def test_landmark_files_are_read_and_their_faults_told(tmp_path):
    import json

    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    category = {"id": 2, "name": "forefoot", "keypoints": list(FOREFOOT)}
    one = {"id": 1, "image_id": 1, "category_id": 2, "keypoints": [5, 5, 2] * 5 + [0, 0, 0]}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10, "fracatlas_group": 7}],
        "annotations": [one],
        "categories": [category],
    }
    (tmp_path / "l.json").write_text(json.dumps(document))
    (film,) = read_landmarks(tmp_path / "l.json")
    (limb,) = limbs_of(film)
    assert film.group == "7"
    assert limb.kind == "forefoot"
    assert set(limb.points) == {*FOREFOOT} - {"ip"}
    document["annotations"] = [{**one, "keypoints": [50, 5, 2] * 6}]
    document["images"].append({"id": 2, "file_name": "b.png"})
    (tmp_path / "l.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"outside its film.*missing.*--images"):
        read_landmarks(tmp_path / "l.json")


def test_points_in_one_place_still_give_a_crop_that_has_a_way_back() -> None:
    from fracture.joints.frames import fit_frame
    from fracture.joints.networks import POINT_COUNT

    template = np.random.default_rng(0).uniform(20, 200, (POINT_COUNT, 2))
    place, _ = fit_frame({"mtp1": (5.0, 7.0), "mtp2": (5.0, 7.0)}, "forefoot", template)
    assert np.isfinite(place.to_source(np.array([[10.0, 20.0]]))).all()


def test_points_beyond_the_film_do_not_count_for_its_certainty() -> None:
    from fracture.joints.finding import Found

    points = dict.fromkeys(HAND, (0.0, 0.0))

    def score(sure: list[float]) -> float:
        return Found("hand", points, dict(zip(HAND, sure, strict=True)), 1.0, False, 0.0, 0.0).score

    assert score([0.9] * 13 + [0.0] * 13) == pytest.approx(0.9)
    assert score([0.9] * 5 + [0.0] * 21) < 0.4  # too few to be believed


@pytest.mark.parametrize(
    ("sure", "center", "shape", "believed"),
    [
        (0.75, 0.1, 0.4, True),
        (0.6, 0.69, 0.34, False),
        (0.6, 0.69, 0.1, True),
        (0.45, 0.9, 0.1, False),
        (0.6, 0.6, 0.1, False),
    ],
)
def test_unsure_points_are_believed_where_the_center_is_seen_and_they_fit(
    sure: float, center: float, shape: float, believed: bool
) -> None:
    from fracture.joints.finding import Found

    found = Found("hand", dict.fromkeys(HAND, (0.0, 0.0)), dict.fromkeys(HAND, sure), center, False, shape, 0.0)
    assert found.believed is believed


def test_a_wrist_whose_fingers_lie_beyond_the_film_is_no_hand() -> None:
    from fracture.joints.finding import Found

    def believed(*gone: str) -> bool:
        sure = dict.fromkeys(HAND, 0.95) | dict.fromkeys(gone, 0.0)
        return Found("hand", dict.fromkeys(HAND, (0.0, 0.0)), sure, 0.9, False, 0.1, 0.0).believed

    assert believed(*(name for name in HAND if name.startswith(("pip", "dip"))))
    assert believed("mcp2", "mcp3")
    assert not believed("mcp2", "mcp3", "mcp4")
