"""The films: the same seed gives the same film, the truth about them is consistent, and settings are checked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from fracture import regions
from fracture.errors import ConfigurationError, RegionError
from fracture.simulate import KINDS, REGIONS, SimulatedFilm, radiograph
from fracture.simulate.fractures import break_bones, draw_plan
from fracture.simulate.geometry import translation
from fracture.simulate.projection import Camera
from fracture.simulate.thigh import thigh

SMALL = (128, 116)


def digest(film: SimulatedFilm) -> str:
    truth = repr([(f.box, f.kind, f.displaced, f.bone) for f in film.fractures])
    return hashlib.sha256(film.pixels.tobytes() + truth.encode()).hexdigest()


@pytest.fixture(scope="module")
def films() -> list[SimulatedFilm]:
    return [radiograph(seed, size=SMALL) for seed in range(44)]


def test_same_seed_same_film_in_this_process(films: list[SimulatedFilm]) -> None:
    assert [digest(radiograph(seed, size=SMALL)) for seed in (3, 17)] == [digest(films[3]), digest(films[17])]


def test_same_seed_same_film_in_another_process(films: list[SimulatedFilm]) -> None:
    code = (
        "import hashlib; from fracture.simulate import radiograph\n"
        "f = radiograph(11, size=(128, 116))\n"
        "t = repr([(x.box, x.kind, x.displaced, x.bone) for x in f.fractures])\n"
        "print(hashlib.sha256(f.pixels.tobytes() + t.encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(films[11])


def test_seeds_differ(films: list[SimulatedFilm]) -> None:
    assert len({digest(film) for film in films}) == len(films)


def test_films_vary_over_what_there_is(films: list[SimulatedFilm]) -> None:
    assert {film.region for film in films} == set(REGIONS)
    assert {film.view for film in films} == {"frontal", "lateral", "oblique"}
    sides = Counter(film.laterality for film in films)
    assert min(sides.values()) >= 12
    assert 12 <= sum(film.fractured for film in films) <= 32  # half, within three standard deviations
    kinds = Counter(f.kind for film in films for f in film.fractures)
    assert set(kinds) == set(KINDS)
    assert {f.displaced for film in films for f in film.fractures} == {True, False}


def test_regions_are_those_of_the_library() -> None:
    assert all(regions.get(name).kind == "region" for name in REGIONS)


def test_pixels_are_twelve_bits_and_use_them(films: list[SimulatedFilm]) -> None:
    for film in films:
        assert film.pixels.dtype == np.uint16
        assert film.pixels.shape == SMALL
        assert int(film.pixels.max()) <= 4095
        low, high = np.percentile(film.pixels, (2, 98))
        assert high - low > 500  # no film is flat
        assert not film.pixels.flags.writeable


def test_quantum_noise_is_there() -> None:
    film = radiograph(4, region="knee", fractured=False, size=(256, 224))
    x = film.pixels[::2, ::2].astype(float)
    neighbors = np.abs(np.diff(x, axis=1))
    assert 1.0 < np.median(neighbors[x[:, 1:] > 200]) < 200.0


def test_boxes_masks_and_outlines_agree(films: list[SimulatedFilm]) -> None:
    count = 0
    for film in films:
        assert film.fractured == bool(film.fractures)
        assert film.boxes.shape == (len(film.fractures), 4)
        for found in film.fractures:
            count += 1
            x0, y0, x1, y1 = found.box
            assert 0 <= x0 < x1 <= film.width
            assert 0 <= y0 < y1 <= film.height
            assert found.mask.shape == film.pixels.shape
            rows, columns = np.nonzero(found.mask)
            margin = max(2.0, np.ceil(1.5 / film.spacing))
            expected = (
                max(0.0, columns.min() - margin),
                max(0.0, rows.min() - margin),
                min(film.width, columns.max() + 1 + margin),
                min(film.height, rows.max() + 1 + margin),
            )
            assert found.box == expected
            assert found.polygon[:, 0].min() >= columns.min()
            assert found.polygon[:, 0].max() <= columns.max() + 1
            assert found.polygon[:, 1].min() >= rows.min()
            assert found.polygon[:, 1].max() <= rows.max() + 1
            assert not (found.kind == "hairline" and found.displaced)
    assert count >= 12


@pytest.mark.parametrize(
    ("seed", "region", "kind"),
    [(1, "wrist", "transverse"), (2, "forearm", "oblique"), (3, "tibia_fibula", "spiral"), (4, "hip", "hairline"),
     (5, "hand", "transverse"), (6, "ankle", "oblique"), (7, "femur", "spiral"), (8, "knee", "hairline")],
)  # fmt: skip
def test_undisplaced_fracture_changes_its_surroundings_only(seed: int, region: str, kind: str) -> None:
    whole = radiograph(seed, region=region, fractured=False, size=(256, 224))
    broken = radiograph(seed, region=region, fracture_type=kind, displaced=False, size=(256, 224))
    assert not whole.fractured
    assert broken.fractured
    assert (whole.view, whole.laterality, whole.spacing) == (broken.view, broken.laterality, broken.spacing)
    near = np.zeros(whole.pixels.shape, bool)
    # Edge enhancement and the detector's blur reach four standard deviations: 4 * (1.6 + 0.16) mm.
    reach = int(np.ceil(8.5 / whole.spacing)) + 2
    for x0, y0, x1, y1 in broken.boxes.astype(int):
        near[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach] = True
    changed = whole.pixels != broken.pixels
    assert changed.any()
    assert not changed[~near].any()
    assert near.mean() < 0.6


def test_undisplaced_fracture_is_a_lucent_line() -> None:
    darker = []
    for seed in range(4):
        whole = radiograph(seed, region="forearm", fractured=False, size=(256, 224))
        broken = radiograph(seed, region="forearm", fracture_type="transverse", displaced=False, size=(256, 224))
        mask = broken.fractures[0].mask
        darker.append(float(whole.pixels[mask].mean()) - float(broken.pixels[mask].mean()))
    assert min(darker) > 20.0


def test_displacement_moves_the_distal_limb() -> None:
    still = radiograph(9, region="forearm", fractured=False, size=(320, 280))
    moved = radiograph(9, region="forearm", fracture_type="transverse", displaced=True, size=(320, 280))
    assert all(f.displaced for f in moved.fractures)
    changed = np.abs(still.pixels.astype(int) - moved.pixels.astype(int)) > 150
    assert changed.mean() > 0.01


def test_settings_replace_one_draw_and_leave_the_others() -> None:
    free = radiograph(21, size=SMALL)
    fixed = radiograph(21, region=free.region, view=free.view, fractured=free.fractured, size=SMALL)
    assert (free.pixels == fixed.pixels).all()


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_breaks_in_every_view(region: str) -> None:
    for view in REGIONS[region].views:
        film = radiograph(31, region=region, view=view, fractured=True, size=SMALL)
        assert (film.region, film.view) == (region, view)
        assert film.fractured


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_asked_for(kind: str) -> None:
    for region in ("wrist", "tibia_fibula", "femur", "hand"):
        film = radiograph(5, region=region, fracture_type=kind, size=SMALL)
        assert film.fractures[0].kind == kind


def test_radiograph_record() -> None:
    film = radiograph(2, region="ankle", view="lateral", size=SMALL)
    record = film.to_radiograph()
    assert record.pixels.dtype == np.float32
    assert np.array_equal(np.round(record.pixels * 4095).astype(np.uint16), film.pixels)
    assert record.regions == ("ankle",)
    assert (record.view, record.laterality, record.bits) == ("lateral", film.laterality, 12)
    assert record.spacing == (film.spacing, film.spacing)


@pytest.mark.parametrize(
    ("error", "settings", "words"),
    [
        (RegionError, {"region": "skull"}, "wrist"),
        (ConfigurationError, {"fracture_type": "greenstick"}, "hairline"),
        (ConfigurationError, {"fracture_type": "hairline", "displaced": True}, "never displaced"),
        (ConfigurationError, {"fractured": False, "fracture_type": "spiral"}, "contradicts"),
        (ConfigurationError, {"fractured": False, "displaced": False}, "contradicts"),
        (ConfigurationError, {"region": "hip", "view": "lateral"}, "frontal"),
        (ConfigurationError, {"view": "axial"}, "lateral"),
        (ConfigurationError, {"size": (20, 20)}, "96"),
        (ConfigurationError, {"size": (200,)}, "96"),
        (ConfigurationError, {"seed": -1}, "non-negative"),
        (ConfigurationError, {"seed": 1.5}, "non-negative"),
    ],
)
def test_impossible_settings_are_refused(error: type[Exception], settings: dict[str, object], words: str) -> None:
    with pytest.raises(error, match=words):
        radiograph(**{"seed": 0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("displaced", [False, True])
def test_a_flat_bone_breaks_where_its_surface_is_marked(displaced: bool) -> None:
    anatomy = thigh(np.random.default_rng(2), stout=1.0, pelvis=True, knee=False)
    camera = Camera(translation((60.0, 60.0, 0.0)), 0.6, 300, 320)
    assert anatomy.flat is not None
    whole, _, nothing = anatomy.flat.draw(camera, [])
    ramus = [site for site in anatomy.sites if site.bone == "pubic_ramus"]
    plan = draw_plan(np.random.default_rng(1), ramus, np.array([0.0, 0.0, 1.0]), kind="transverse", displaced=displaced)
    pieces = [body for body in break_bones(anatomy.bones, plan) if body.bone.name == "pubic_ramus"]
    assert len(pieces) == 1 + displaced
    broken, _, surface = anatomy.flat.draw(camera, pieces)
    assert not nothing.any()
    rows, columns = np.nonzero(surface)
    middle = np.array(ramus[0].point[:2]) / 0.6 + 100.0
    assert np.hypot(columns.mean() - middle[0], rows.mean() - middle[1]) * 0.6 < 8.0
    changed = np.abs(broken - whole) > 1e-3
    assert changed[surface].mean() > 0.3
    far = np.hypot(*np.ogrid[-middle[1] : 299.5 - middle[1], -middle[0] : 319.5 - middle[0]]) * 0.6 > 60.0
    assert not changed[far].any()
    if not displaced:
        assert (broken <= whole).all()
    assert broken.sum() == pytest.approx(whole.sum(), rel=0.01)
