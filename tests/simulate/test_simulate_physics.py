"""The projector against analytic path lengths, and the film against Beer and Lambert."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fracture.simulate import path_lengths
from fracture.simulate.film import Exposure, Paths, draw_exposure, expose, line_integral
from fracture.simulate.fractures import CellCut, SurfaceCut
from fracture.simulate.geometry import about, compose, inverse, pose_along, rotation, transform, translation
from fracture.simulate.materials import attenuation
from fracture.simulate.projection import Body, Camera, Materials, project
from fracture.simulate.shapes import Blob, Bone, Part, tube

SPACING = 0.5


def camera(size: int = 160) -> Camera:
    middle = 0.5 * size * SPACING
    return Camera(translation((middle, middle, 0.0)), SPACING, size, size)


def coordinates(size: int = 160) -> tuple[np.ndarray, np.ndarray]:
    c = (np.arange(size) + 0.5) * SPACING - 0.5 * size * SPACING
    return c[None, :], c[:, None]


def ball(radius: float, cortex: float, trabecular: float = 0.0) -> Bone:
    shape = Blob(np.eye(4), (radius, radius, radius), cortex, trabecular)
    return Bone("ball", (Part(shape),), texture=0.0)


def rod(radius: float = 12.0, cortex: float = 4.0, length: float = 60.0) -> Bone:
    knots = ((0.0, radius, radius, cortex, 0.0), (1.0, radius, radius, cortex, 0.0))
    return Bone("rod", (Part(tube((0, -length / 2, 0), (0, length / 2, 0), knots, corner=0.5)),), texture=0.0)


def shoot(*bodies: Body, fractures: int = 0) -> Materials:
    return project(list(bodies), camera(), fractures)


def test_ball_has_the_path_of_a_ball() -> None:
    x, y = coordinates()
    truth = 2.0 * np.sqrt(np.maximum(15.0**2 - x**2 - y**2, 0.0))
    assert np.abs(shoot(Body(ball(15.0, 1.0))).bone - truth).max() < 0.8  # the steep rim
    assert np.abs(shoot(Body(ball(15.0, 1.0))).bone - truth)[truth > 10].max() < 0.1


def test_shell_has_the_path_of_a_shell() -> None:
    x, y = coordinates()
    outer = 2.0 * np.sqrt(np.maximum(15.0**2 - x**2 - y**2, 0.0))
    inner = 2.0 * np.sqrt(np.maximum(13.0**2 - x**2 - y**2, 0.0))
    got = shoot(Body(ball(15.0, 2.0))).mineral
    assert np.abs(got - (outer - inner))[outer > 12].max() < 0.35
    assert abs(float(got.sum()) / float((outer - inner).sum()) - 1.0) < 0.01


def test_trabeculae_count_by_their_fraction() -> None:
    hollow, spongy = (shoot(Body(ball(15.0, 2.0, t))).mineral for t in (0.0, 0.25))
    x, y = coordinates()
    inner = 2.0 * np.sqrt(np.maximum(13.0**2 - x**2 - y**2, 0.0))
    assert np.allclose((spongy - hollow)[inner > 8], 0.25 * inner[inner > 8], rtol=0.03)


def test_rod_is_bright_at_its_walls() -> None:
    row = shoot(Body(rod())).mineral[80]
    x = coordinates()[0][0]
    middle, wall = row[np.abs(x) < 1].mean(), row[np.abs(np.abs(x) - 8.2) < 0.3].mean()
    assert middle == pytest.approx(8.0, abs=0.1)  # two walls of 4 mm
    assert wall == pytest.approx(2.0 * np.sqrt(12.0**2 - 8.2**2), abs=0.7)


def test_motion_moves_the_projection() -> None:
    still = shoot(Body(rod())).bone
    moved = shoot(Body(rod(), translation((10.0, -5.0, 3.0)))).bone
    difference = np.abs(moved[:-10, 20:] - still[10:, :-20])  # a whole number of pixels
    assert difference.max() < 0.8  # the steep rim
    assert difference.mean() < 0.01


def test_turning_about_the_ray_turns_the_projection() -> None:
    still = shoot(Body(rod())).bone
    turned = shoot(Body(rod(), rotation((0, 0, 1), 90.0))).bone
    assert np.abs(turned - still.T).max() < 0.2


def cut(side: int, *, gap: float = 0.0, crack: bool = False, tilt: tuple[float, float] = (0.0, 0.0)) -> SurfaceCut:
    frame, _ = pose_along((0, 0.13, 0), (0, 1.13, 0))
    return SurfaceCut(frame, side, tilt, 0.0, 0.0, 12.0, 0.0, gap, (0.0, 0.0), crack)


def test_two_fragments_make_the_whole() -> None:
    whole = shoot(Body(rod()))
    halves = shoot(Body(rod(), cut=cut(1), fracture=0), Body(rod(), cut=cut(-1), fracture=0), fractures=1)
    assert np.abs(halves.bone - whole.bone).max() < 0.8  # the steep rim
    assert float(halves.bone.sum()) == pytest.approx(float(whole.bone.sum()), rel=0.003)
    rows = np.nonzero(halves.surfaces[0].any(axis=1))[0]
    assert np.abs((rows + 0.5) * SPACING - 40.13).max() < 1.2  # the surface is where it was put


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.4, 0.0), (0.1, 0.7)])
@pytest.mark.parametrize("gap", [0.2, 0.4, 0.9])
def test_a_crack_removes_its_own_volume(gap: float, tilt: tuple[float, float]) -> None:
    whole = shoot(Body(rod())).bone
    cracked = shoot(Body(rod(), cut=cut(1, gap=gap, crack=True, tilt=tilt), fracture=0), fractures=1).bone
    removed = float((whole - cracked).sum()) * SPACING**2
    area = np.pi * 12.0**2 * np.hypot(1.0, np.hypot(*tilt))
    assert removed == pytest.approx(area * gap, rel=0.03)


def test_shortening_makes_a_dense_band() -> None:
    whole = shoot(Body(rod())).mineral[:, 70:90]
    pushed = shoot(
        Body(rod(), cut=cut(1), fracture=0), Body(rod(), translation((0, -6.0, 0)), cut(-1), 0), fractures=1
    ).mineral[:, 70:90]
    assert pushed.max() > 1.7 * whole[60:100].max()


def test_cells_fill_the_bone_once() -> None:
    frame, _ = pose_along((0, 0, 0), (0, 1, 0))
    seeds = np.array([[-12.0, 0, 0], [12.0, 0, 0], [-2.0, 5, 3], [3.0, -6, 1]])
    pieces = [Body(rod(), cut=CellCut(frame, seeds, k, 0.8, 0.0, (3.0, 5.0)), fracture=0) for k in range(4)]
    together = shoot(*pieces, fractures=1).bone
    whole = shoot(Body(rod())).bone
    assert float(together.sum()) == pytest.approx(float(whole.sum()), rel=0.02)


def test_rigid_motions() -> None:
    point = np.array([3.0, -2.0, 7.0])
    turn = about(point, rotation((1, 2, 3), 33.0))
    assert np.allclose(transform(turn, point), point)
    assert np.allclose(compose(turn, inverse(turn)), np.eye(4))
    frame, length = pose_along((1, 2, 3), (4, 6, 3))
    assert length == pytest.approx(5.0)
    assert np.allclose(transform(frame, (4, 6, 3)), (5, 0, 0))
    assert np.allclose(frame[:3, :3] @ frame[:3, :3].T, np.eye(3))


def test_attenuation_falls_with_energy_and_orders_the_materials() -> None:
    before = attenuation(30.0)
    for energy in (40.0, 50.0, 60.0, 80.0):
        now = attenuation(energy)
        assert now.mineral < before.mineral
        assert now.soft < before.soft
        assert now.mineral > 2 * now.soft > 2 * now.fat
        before = now
    assert attenuation(40.0).mineral == pytest.approx(1.92 * 0.6655 / 10)


def slab(mineral: float, muscle: float, size: int = 128) -> Paths:
    shape = (size, size)

    def full(v: float) -> np.ndarray:
        return np.full(shape, v, np.float32)

    return Paths(full(muscle), full(muscle), full(mineral), full(mineral))


def test_line_integral_is_linear_in_the_paths() -> None:
    mu = attenuation(50.0)
    assert line_integral(slab(0.0, 100.0), 50.0)[0, 0] == pytest.approx(100.0 * mu.soft, rel=1e-5)
    more = line_integral(slab(10.0, 100.0), 50.0)[0, 0] - line_integral(slab(0.0, 100.0), 50.0)[0, 0]
    assert more == pytest.approx(10.0 * (mu.mineral - mu.soft), rel=1e-4)


def plain_exposure() -> Exposure:
    return Exposure(
        energy=45.0, photons=50_000.0, scatter=0.0, heel=0.0, heel_angle=0.0, blur=0.1, detail=0.0, flatten=0.0,
        contrast=0.5, open_field=0.05, tissue=0.3, table=(0.9, 0.0, 0.0), collimation=(0.0, 0.0, 0.0, 0.0, 0.0),
        outside="none", marker=(0.1, 0.5, 8.0, 0.0), streaks=0.0,
    )  # fmt: skip


def test_thicker_bone_is_brighter() -> None:
    paths = slab(0.0, 60.0)
    paths.bone[:] = paths.mineral[:] = np.linspace(0.0, 20.0, 128, dtype=np.float32)[None, :]
    film = expose(paths, plain_exposure(), 0.5, np.random.default_rng(0), letter="R", marker_right=False)
    profile = np.median(film, axis=0)[4:-4]
    steps = np.diff(profile.reshape(-1, 8).mean(axis=1))
    assert (steps > 0).all()
    assert profile[-1] - profile[0] > 800


def test_noise_falls_with_the_dose() -> None:
    spread = []
    for photons in (500.0, 50_000.0):
        exposure = replace(plain_exposure(), photons=photons)
        film = expose(slab(2.0, 60.0), exposure, 0.5, np.random.default_rng(1), letter="R", marker_right=True)
        spread.append(float(film[64:120, 20:60].std()))
    assert spread[0] > 5 * spread[1] > 0


def test_exposure_does_not_depend_on_the_fracture() -> None:
    first, second = (draw_exposure(np.random.default_rng([5, 4]), 40.0, 0.8) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("region", ["wrist", "tibia_fibula", "hip", "hand", "pelvis"])
def test_paths_are_nested(region: str) -> None:
    paths, spacing = path_lengths(3, region=region, size=(160, 144))
    assert 0.1 < spacing < 4.0
    for plane in (paths.envelope, paths.muscle, paths.bone, paths.mineral):
        assert np.isfinite(plane).all()
        assert float(plane.min()) >= 0.0
    assert (paths.mineral <= paths.bone + 1e-3).all()
    assert (paths.bone <= paths.envelope + 1e-3).all()
    assert (paths.muscle <= paths.envelope + 1e-3).all()
    assert float(paths.envelope.max()) < 450.0
    assert 1.0 < float(paths.mineral.max()) < 130.0


def test_shaft_cortex_is_thicker_than_that_of_the_ends() -> None:
    """At mid-shaft a tibia's brightest rays cross far more mineral per mm of bone than in the metaphysis."""
    paths, _ = path_lengths(12, region="tibia_fibula", view="frontal", size=(256, 224))
    share = paths.mineral / np.maximum(paths.bone, 1.0)
    solid = paths.bone > 8.0
    rows = np.nonzero(solid.any(axis=1))[0]
    dense = np.array([share[r][solid[r]].mean() for r in rows])
    middle = dense[len(dense) // 3 : 2 * len(dense) // 3].mean()
    assert middle > 1.3 * min(
        dense[len(dense) // 8 : len(dense) // 4].mean(), dense[-len(dense) // 5 : -len(dense) // 9].mean()
    )
