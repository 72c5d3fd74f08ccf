"""The shipped networks and their reader: requests, errors, given points, and real films where they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fracture.joints
from fracture import simulate
from fracture.errors import ConfigurationError, InputError
from fracture.io.radiograph import Radiograph
from fracture.joints.card import STORE
from fracture.joints.layout import FOREFOOT, HAND

BLANK = np.zeros((300, 240), np.float32)
ROW = {f"mtp{k}": (30.0 * k, 150.0) for k in range(1, 6)} | {"ip": (30.0, 110.0)}


def test_the_shipped_set_is_small_and_claims_nothing_stronger():
    folder = STORE.find()
    card = STORE.open().card
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25 * 2**20
    assert "damage scores are proven on painted lesions only" in card.limitations[0]
    assert card.self_test is not None


def test_given_points_come_back_with_side_and_widths_in_millimeters():
    film = fracture.joints.predict(BLANK, side="left", points=ROW, spacing=0.2)
    (limb,) = film.limbs
    assert dict(film.points[0]) == ROW
    assert (limb.kind, limb.side, limb.side_source, limb.mirrored) == ("forefoot", "left", "caller", True)
    assert film.spacing == (0.2, 0.2)
    assert film.spaces == ({},)  # nothing to see on a blank film
    assert set(film.boxes[0]) == set(FOREFOOT)


def test_a_film_without_hand_or_foot_is_refused_and_a_batch_goes_on():
    knee = simulate.radiograph(4, region="knee", fractured=False, view="frontal", size=(320, 260)).to_radiograph()
    for film in (BLANK, knee):
        with pytest.raises(InputError, match="no hand and no forefoot"):
            fracture.joints.predict(film)
    results = list(fracture.joints.load().predict_many([BLANK, "missing.png"], workers=0))
    assert [result.ok for result in results] == [False, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": "up"},
        {"spacing": -1},
        {"points": {"mcp3": (1, 2)}},
        {"points": {**ROW, "knee": (1, 2)}},
        {"sides": "left"},
    ],
)
def test_malformed_requests_are_refused_at_the_call(wrong):
    with pytest.raises(ConfigurationError):
        fracture.joints.predict(BLANK, **wrong)


def test_pixels_that_are_not_square_change_no_point():
    film = Radiograph(BLANK, spacing=(0.4, 0.2))
    found = fracture.joints.predict(film, side="right", points=ROW)
    assert np.allclose(list(found.points[0].values()), list(ROW.values()))


def test_four_films_make_a_row_and_another_number_does_not():
    given = {"LF": BLANK}
    read = fracture.joints.read_patient(given, patient="A", points=ROW)
    assert len(read.row) == 90
    assert read.row["Patient_ID"] == "A"
    assert read.films["LF"].limbs[0].side == "left"
    with pytest.raises(ConfigurationError, match="films of a patient"):
        fracture.joints.read_patient([BLANK, BLANK])
    with pytest.raises(ConfigurationError, match="given as LH"):
        fracture.joints.read_patient({"LH": BLANK}, points=ROW)


def test_a_real_hand_its_mirror_image_and_its_letter(shared_data: Path):
    import json

    folder = shared_data / "hand"
    document = json.loads((folder / "landmarks.json").read_text())
    image = next(one for one in document["images"] if "CR_hand" in one["file_name"])
    flat = next(one for one in document["annotations"] if one["image_id"] == image["id"])["keypoints"]
    film = fracture.read(str(folder / image["file_name"]))
    truth = {name: np.array(flat[3 * k : 3 * k + 2]) for k, name in enumerate(HAND)}
    unit = np.hypot(*(truth["mcp3"] - truth["dip3"]))
    found = fracture.joints.predict(film)
    (limb,) = found.limbs
    errors = [np.hypot(*(np.array(limb.points[name]) - truth[name])) / unit for name in HAND]
    assert np.median(errors) < 0.025
    assert max(errors) < 0.1
    assert (limb.side, limb.side_source, limb.mirrored) == ("right", "letter", True)
    assert 0.5 < np.median([space.mm for space in limb.spaces.values()]) < 3.0
    turned = fracture.joints.predict(Radiograph(np.ascontiguousarray(film.pixels[:, ::-1])), side="right")
    back = {name: (film.width - x, y) for name, (x, y) in turned.points[0].items()}
    assert np.median([np.hypot(*(np.array(back[n]) - limb.points[n])) / unit for n in HAND]) < 0.01


def test_a_hand_in_a_cast_is_answered_with_a_warning(shared_data: Path):
    import json

    from fracture.joints.frames import rows_of
    from fracture.joints.layout import BEYOND, MIDDLE
    from fracture.joints.records import limbs_of, read_landmarks
    from fracture.simulate.casts import over_limb

    annotated = read_landmarks(shared_data / "hand" / "landmarks.json", shared_data / "fracatlas" / "images")
    film = next(film for film in annotated if film.source == "IMG0000045.jpg")
    (limb,) = limbs_of(film)
    pixels = fracture.read(annotated.image_path(film)).pixels
    row, beyond = (rows_of(limb.points, names[limb.kind]) for names in (MIDDLE, BEYOND))
    covered = over_limb(pixels, row, beyond, np.random.default_rng(0))
    assert not any("certain" in text for text in fracture.joints.predict(pixels, side="left").warnings)
    found = fracture.joints.predict(covered, side="left")
    unit = np.hypot(*np.subtract(limb.points["mcp3"], limb.points["dip3"]))
    errors = [np.hypot(*np.subtract(found.points[0][name], point)) / unit for name, point in limb.points.items()]
    assert np.median(errors) < 0.05
    assert any("a cast" in text for text in found.warnings)
    assert json.loads(json.dumps(found.to_dict()))["warnings"]


def test_toddlers_are_answered_with_a_warning_and_wrists_alone_are_refused(shared_data: Path):
    hands = sorted((shared_data / "hand" / "toddler_hands").glob("*.png"))[:3]
    for found in fracture.joints.load().predict_many(hands, workers=0):
        assert any("a child's hand" in text for text in found.warnings)
    wrists = sorted((shared_data / "grazpedwri_dx_sample" / "images").glob("*.png"))[:3]
    for failed in fracture.joints.load().predict_many(wrists, workers=0):
        assert not failed.ok
        assert "no hand and no forefoot" in str(failed.error)
