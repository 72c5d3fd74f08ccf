"""Pelvic films: true boxes, sides and classes; what a fracture and an implant change on the film."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from fracture.errors import ConfigurationError
from fracture.io.radiograph import Radiograph
from fracture.simulate import HIP_CLASSES, VARIANTS, SimulatedHip, SimulatedPelvis, pelvis
from fracture.simulate.dataset import film_seed
from fracture.simulate.materials import attenuation, metal

SMALL = (176, 176)
SEED = 12  # an upright film with both hips wholly on it


def digest(film: SimulatedPelvis) -> str:
    truth = repr([(h.side, h.variant, h.box) for h in film.hips])
    return hashlib.sha256(film.pixels.tobytes() + truth.encode()).hexdigest()


def both(film: SimulatedPelvis) -> tuple[SimulatedHip, SimulatedHip]:
    right, left = film.hip("right"), film.hip("left")
    assert right is not None
    assert left is not None
    return right, left


@pytest.fixture(scope="module")
def normal() -> SimulatedPelvis:
    return pelvis(SEED, left="normal", right="normal", size=SMALL)


@pytest.fixture(scope="module")
def variants() -> dict[str, SimulatedPelvis]:
    """Every variant once, on the left; the right hip stays normal."""
    names = [name for group in VARIANTS.values() for name in group if name != "normal"]
    return {name: pelvis(SEED, left=name, right="normal", size=SMALL) for name in names}


def test_same_seed_same_film(normal: SimulatedPelvis) -> None:
    assert digest(pelvis(SEED, left="normal", right="normal", size=SMALL)) == digest(normal)


def test_same_seed_same_film_in_another_process() -> None:
    code = (
        "import hashlib; from fracture.simulate import pelvis\n"
        "f = pelvis(5, size=(128, 128)); t = repr([(h.side, h.variant, h.box) for h in f.hips])\n"
        "print(hashlib.sha256(f.pixels.tobytes() + t.encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(pelvis(5, size=(128, 128)))


def test_seeds_differ() -> None:
    assert len({digest(pelvis(seed, size=(96, 96))) for seed in range(3)}) == 3


def test_six_classes_with_their_variants(variants: dict[str, SimulatedPelvis]) -> None:
    assert tuple(VARIANTS) == HIP_CLASSES
    for name, film in variants.items():
        right, left = both(film)
        assert left.variant == name
        assert name in VARIANTS[left.label]
        assert (right.label, right.variant) == ("normal", "normal")


def test_findings_speak_the_real_sets_words(variants: dict[str, SimulatedPelvis]) -> None:
    said = {name: both(film)[1].findings for name, film in variants.items()}
    assert said["garden_4"] == said["valgus_impacted"] == ("neck",)
    assert said["two_part"] == ("intertrochanteric",)
    assert said["lesser_trochanter_detached"] == ("intertrochanteric", "lesser-trochanter")
    assert said["sliding_hip_screw"] == ("internal-fixation",)
    assert said["hemiarthroplasty"] == ("arthroplasty",)


def test_the_patients_right_is_on_the_films_left(normal: SimulatedPelvis) -> None:
    right, left = both(normal)
    assert right.box[2] < left.box[0]
    assert [h.side for h in normal.hips] == ["right", "left"]


def test_boxes_hold_all_parts_of_the_femur(variants: dict[str, SimulatedPelvis]) -> None:
    for film in variants.values():
        for hip in film.hips:
            i, j = np.nonzero(hip.mask)
            x0, y0, x1, y1 = hip.box
            assert x0 <= j.min()
            assert y0 <= i.min()
            assert x1 >= j.max() + 1
            assert y1 >= i.max() + 1
            assert x0 >= 0
            assert y0 >= 0
            assert x1 <= film.width
            assert y1 <= film.height
            # and no more than 1.5 mm around them
            room = 1.5 / film.spacing[0] + 1e-6
            assert j.min() - x0 <= room
            assert x1 - j.max() - 1 <= room
            assert i.min() - y0 <= room


def test_boxes_are_as_high_as_the_real_ones() -> None:
    ratio = []
    for seed in range(20, 23):
        film = pelvis(seed, left="normal", right="normal", size=(96, 96))
        ratio += [(h.box[3] - h.box[1]) / (h.box[2] - h.box[0]) for h in film.hips if h.box[3] < film.height]
    # Median of the real set, where the film's lower edge does not cut the box: 1.70.
    assert 1.5 < float(np.median(ratio)) < 1.95


def test_head_and_greater_trochanter_lie_in_the_box(normal: SimulatedPelvis) -> None:
    right, _ = both(normal)
    spacing = normal.spacing[0]
    width, height = right.box[2] - right.box[0], right.box[3] - right.box[1]
    assert 75 < width * spacing < 115  # mm: head to greater trochanter
    assert 125 < height * spacing < 190  # head to well below the lesser trochanter


def test_a_crack_changes_the_film_only_at_the_crack() -> None:
    whole, cracked = (pelvis(16, left=name, right="normal", size=(128, 128)) for name in ("normal", "lucent_line"))
    i, j = np.nonzero(whole.pixels != cracked.pixels)
    found = both(cracked)[1].fracture
    assert found is not None
    assert i.size > 20
    x0, y0, x1, y1 = found.box
    assert x0 <= j.min()
    assert y0 <= i.min()
    assert x1 >= j.max() + 1
    assert y1 >= i.max() + 1


def test_the_other_hip_does_not_change(normal: SimulatedPelvis, variants: dict[str, SimulatedPelvis]) -> None:
    right, _ = both(normal)
    x0, y0, x1, y1 = (int(v) for v in right.box)
    for film in variants.values():
        same = film.pixels[y0:y1, x0:x1] == normal.pixels[y0:y1, x0:x1]
        assert same.mean() > 0.99


def test_displaced_fractures_move_the_femur(normal: SimulatedPelvis, variants: dict[str, SimulatedPelvis]) -> None:
    _, before = both(normal)
    for name in ("garden_3", "garden_4", "two_part", "lesser_trochanter_detached"):
        _, after = both(variants[name])
        overlap = (before.mask & after.mask).sum() / (before.mask | after.mask).sum()
        assert overlap < 0.95, name
        assert after.fracture is not None
        assert after.fracture.displaced


def test_garden_4_shortens_the_leg() -> None:
    """The greater trochanter stands higher against the head than before."""
    rises = []
    for seed in range(30, 32):
        tops = []
        for name in ("normal", "garden_4"):
            film = pelvis(seed, left=name, right="normal", size=(128, 128))
            _, left = both(film)
            lateral = np.nonzero(left.mask[:, int(left.box[2] - 0.25 * (left.box[2] - left.box[0])) :].any(axis=1))[0]
            tops.append(float(lateral[0]) * film.spacing[0])
        rises.append(tops[0] - tops[1])
    assert min(rises) > 3.0  # mm


def test_nondisplaced_fractures_hardly_move_it(normal: SimulatedPelvis, variants: dict[str, SimulatedPelvis]) -> None:
    _, before = both(normal)
    for name in VARIANTS["nondisplaced_neck"]:
        _, after = both(variants[name])
        overlap = (before.mask & after.mask).sum() / (before.mask | after.mask).sum()
        assert overlap > 0.8, name
        assert after.fracture is not None
        assert not after.fracture.displaced


def test_fractures_lie_where_their_names_say() -> None:
    """Neck fractures above and medial of intertrochanteric ones."""
    centers = {}
    for name in ("garden_3", "sclerotic_line", "two_part"):
        where = []
        for seed in range(40, 42):
            _, left = both(pelvis(seed, left=name, right="normal", size=(128, 128)))
            assert left.fracture is not None
            box, f = left.box, left.fracture.box
            where.append(((f[0] + f[2]) / 2 - box[0]) / (box[2] - box[0]))
        centers[name] = float(np.mean(where))
    assert centers["sclerotic_line"] < centers["two_part"]
    assert centers["garden_3"] < centers["two_part"]


def test_metal_is_brighter_than_cortical_bone(variants: dict[str, SimulatedPelvis]) -> None:
    for label in ("internal_fixation", "arthroplasty"):
        for name in VARIANTS[label]:
            film = variants[name]
            right, left = both(film)
            assert left.metal.sum() > 80, name
            assert not right.metal.any()
            bone = np.percentile(film.pixels[right.mask], 98)  # the densest cortex
            assert np.median(film.pixels[left.metal]) > bone, name


def test_only_hardware_has_metal(variants: dict[str, SimulatedPelvis]) -> None:
    for film in variants.values():
        _, left = both(film)
        assert left.metal.any() == (left.label in ("internal_fixation", "arthroplasty"))


def test_metal_absorbs_more_than_bone() -> None:
    for energy in (45.0, 55.0, 65.0):
        bone = attenuation(energy).mineral
        assert bone < metal("titanium", energy) < metal("steel", energy) < metal("cobalt_chromium", energy)


def test_arthroplasty_replaces_the_head(normal: SimulatedPelvis, variants: dict[str, SimulatedPelvis]) -> None:
    _, before = both(normal)
    x0, y0, x1, _ = before.box
    across = (x1 - x0) / 10.0  # the left femur's head fills the upper medial part of its box
    head = (slice(int(y0 + across), int(y0 + 3 * across)), slice(int(x0 + across), int(x0 + 4 * across)))
    for name in VARIANTS["arthroplasty"]:
        _, left = both(variants[name])
        assert left.metal[head].mean() > 0.5, name


def test_lesser_trochanter_shows_more_when_the_leg_turns_outward() -> None:
    from fracture.simulate.anatomy import Build
    from fracture.simulate.geometry import compose, rotation, translation
    from fracture.simulate.pelvis_shapes import femur
    from fracture.simulate.projection import Body, Camera
    from fracture.simulate.volume import trace

    bone = femur(Build(np.random.default_rng(3), 1.0), 128.0)
    camera = Camera(translation((90.0, 60.0, 0.0)), 1.0, 260, 160)
    reach = []
    for outward in (-10.0, 15.0, 35.0):
        layer = trace(Body(bone.bone, compose(rotation((0, 1, 0), -outward))), camera)
        assert layer is not None
        row = int(60 + bone.lesser[1]) - layer.rows.start
        shaft = int(60 + bone.lesser[1] + 40) - layer.rows.start
        edges = [np.nonzero(layer.bone[k] > 0.5)[0][-1] for k in (row, shaft)]
        reach.append(float(edges[0] - edges[1]))
    assert reach[0] < reach[1] < reach[2]


def test_one_hip_may_be_missing() -> None:
    film = pelvis(8, missing="left", size=(128, 128))
    assert [h.side for h in film.hips] == ["right"]
    assert film.hip("left") is None
    assert film.boxes.shape == (1, 4)


def test_frog_legs_are_another_view() -> None:
    flat, frog = (pelvis(9, left="normal", right="normal", view=v, size=(128, 128)) for v in ("ap", "frog_leg"))
    (_, a), (_, b) = both(flat), both(frog)
    # The shaft points outward: the hip is wider and less high.
    assert (b.box[2] - b.box[0]) / (b.box[3] - b.box[1]) > 1.3 * (a.box[2] - a.box[0]) / (a.box[3] - a.box[1])


def test_stretching_scales_boxes_with_the_pixels() -> None:
    film = pelvis(SEED, left="normal", right="normal", stretch=1.3, size=(128, 128))
    assert film.spacing[0] / film.spacing[1] == pytest.approx(1.3, rel=0.02)
    for hip in film.hips:
        i, j = np.nonzero(hip.mask)
        assert hip.mask.shape == film.pixels.shape
        assert hip.box[0] <= j.min()
        assert hip.box[2] >= j.max() + 1
        assert hip.box[1] <= i.min()
        assert hip.box[3] >= i.max() + 1


def test_tilt_is_the_fall_of_the_line_between_the_hips() -> None:
    for seed in (1, 6):
        film = pelvis(seed, left="normal", right="normal", size=(128, 128))
        right, left = both(film)
        fall = np.degrees(np.arctan2(left.box[1] - right.box[1], left.box[2] - right.box[2]))
        assert film.tilt == pytest.approx(fall, abs=4.0)


def test_a_side_of_the_pelvis_may_lie_wholly_off_the_film() -> None:
    """Film 272 of `fracture simulate --kind hips --seed 1000`: the film of a left hip, nothing of the right side on it.

    The right half's window is empty, and was once resized all the same.
    """
    film = pelvis(film_seed(1000, 272), left="normal", right="normal", missing="right", stretch=1.235, size=(96, 96))
    assert [hip.side for hip in film.hips] == ["left"]


def test_a_class_drawn_is_a_class_given() -> None:
    film = pelvis(21, size=(96, 96))
    given = {h.side: h.variant for h in film.hips}
    again = pelvis(21, left=given.get("left"), right=given.get("right"), size=(96, 96))
    assert digest(film) == digest(again)


def test_films_go_on_to_the_rest_of_the_library(normal: SimulatedPelvis) -> None:
    radiograph = normal.to_radiograph()
    assert isinstance(radiograph, Radiograph)
    assert radiograph.spacing == normal.spacing
    dataset = pelvis(SEED, left="two_part", right="normal", size=(128, 128)).to_film().to_dicom()
    assert dataset.Rows == 128
    assert normal.pixels.dtype == np.uint16
    assert int(normal.pixels.max()) <= 4095
    assert not normal.pixels.flags.writeable


@pytest.mark.parametrize(
    "setting",
    [
        {"left": "broken"},
        {"view": "lateral"},
        {"missing": "both"},
        {"stretch": 3.0},
        {"size": (32, 32)},
        {"seed": -1},
    ],
)
def test_settings_that_do_not_exist(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        pelvis(**{"seed": 1, "size": (96, 96), **setting})  # type: ignore[arg-type]
