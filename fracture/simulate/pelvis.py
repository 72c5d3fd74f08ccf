"""AP and frog-leg films of a whole pelvis with both hips in six classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError
from fracture.simulate.anatomy import Build, camera_pose
from fracture.simulate.film import Exposure, Paths, draw_exposure, expose, field_of_view
from fracture.simulate.geometry import compose, inverse, rotation, transform, translation
from fracture.simulate.hip_fractures import HIP_CLASSES, VARIANTS, Broken, break_hip, hip_class
from fracture.simulate.implants import fit
from fracture.simulate.materials import metal
from fracture.simulate.pelvis_bones import Warp, hemipelvis, sacrum_and_spine
from fracture.simulate.pelvis_furniture import letters
from fracture.simulate.pelvis_shapes import Femur, Person, draw_person, femur, trabeculae
from fracture.simulate.pelvis_soft import bowel, envelope, folds, knee
from fracture.simulate.projection import Body, Camera
from fracture.simulate.record import SimulatedHip, SimulatedPelvis
from fracture.simulate.scene import box_around, check_film, mark_fracture
from fracture.simulate.softtissue import soft_paths
from fracture.simulate.volume import trace

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

PELVIS_VIEWS = ("ap", "frog_leg")
HIP_MIX: Mapping[str, float] = {
    "normal": 0.5,
    "displaced_neck": 0.1,
    "nondisplaced_neck": 0.1,
    "intertrochanteric": 0.1,
    "internal_fixation": 0.1,
    "arthroplasty": 0.1,
}
"""How often each class is drawn for a hip whose class is not given (our choice)."""

_BELOW = 62.0  # mm below the lesser trochanter where a hip's box ends
_SIDES = ("right", "left")
_ROUND = ("cup", "head", "inner_head", "cement")  # implants without detail: a coarser grid serves them


@dataclass(eq=False)
class _Film:
    """The planes of a film while it is drawn, and who is on it."""

    seed: int
    person: Person
    camera: Camera
    energy: float
    bone: Array
    mineral: Array
    metal: Array
    open: NDArray[np.bool_]


def pelvis(
    seed: int,
    *,
    left: str | None = None,
    right: str | None = None,
    view: str = "ap",
    missing: str | None = None,
    stretch: float = 1.0,
    size: tuple[int, int] = (640, 640),
) -> SimulatedPelvis:
    """Simulate a pelvic film with both hips. The same arguments give the same pixels.

    What is not given is drawn from ``seed``; what is given replaces the draw and leaves all others as they are, so that
    two classes of one seed show the same person, pose and exposure.

    Args:
        seed: A non-negative integer.
        left, right: What is the matter with the patient's left and right hip: one of ``HIP_CLASSES`` or one of a
            class's ``VARIANTS``; drawn by ``HIP_MIX`` where not given.
        view: ``"ap"`` or ``"frog_leg"`` (both thighs flexed, abducted and turned outward).
        missing: The side whose hip is not on the film, which is then centered on the other one.
        stretch: How much wider than high one millimeter is drawn, 0.5 to 2: the real set was stretched to squares.
        size: Height and width in pixels, 96 to 4096 each.

    Raises:
        ConfigurationError: A setting that does not exist.
    """
    _check(seed, left, right, view, missing, stretch, size)
    person = draw_person(np.random.default_rng([seed, 20]))
    native = (max(64, round(size[0] * stretch**0.5)), max(64, round(size[1] / stretch**0.5)))
    camera = _camera(seed, person, missing, native)
    exposure = _exposure(np.random.default_rng([seed, 24]))
    shape = (camera.height, camera.width)
    bone, mineral, implants = (np.zeros(shape, np.float32) for _ in range(3))
    film = _Film(seed, person, camera, exposure.energy, bone, mineral, implants, field_of_view(exposure, shape))
    warp = Warp(np.random.default_rng([seed, 25]))
    draw = np.random.default_rng([seed, 26])
    hips, knees = [], []
    for number, given in enumerate((right, left)):
        variant = _variant(given, np.random.default_rng([seed, 27, number]))
        hip, at = _hip(film, number, variant, view, float(draw.normal()), warp, size)
        knees.append(at)
        if hip is not None and _SIDES[number] != missing:
            hips.append(hip)
    axial = sacrum_and_spine(camera, np.random.default_rng([seed, 28]), person, texture=seed % 4 + 8)
    axial.add_to(film.bone, film.mineral)
    paths = _paths(film, (knees[0], knees[1]))
    pixels = expose(paths, exposure, camera.spacing, np.random.default_rng([seed, 30]), letter="", marker_right=False)
    if native != size:
        pixels = np.asarray(cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))
    pixels.flags.writeable = False
    spacing = (camera.spacing * native[0] / size[0], camera.spacing * native[1] / size[1])
    across = camera.to_image[:2, 0] / (spacing[1], spacing[0])
    tilt = float(np.degrees(np.arctan2(across[1], across[0])))
    return SimulatedPelvis(pixels, seed, tuple(hips), view, spacing, person.sex, round(person.age), tilt)


def _check(
    seed: int,
    left: str | None,
    right: str | None,
    view: str,
    missing: str | None,
    stretch: float,
    size: tuple[int, int],
) -> None:
    check_film(seed, size)
    names = {*HIP_CLASSES, *(v for group in VARIANTS.values() for v in group)}
    for given in (left, right):
        if given is not None and given not in names:
            raise ConfigurationError(
                "unknown class of hip", got=repr(given), allowed=HIP_CLASSES, hint="or a variant: see simulate.VARIANTS"
            )
    if view not in PELVIS_VIEWS:
        raise ConfigurationError("no such view of a pelvis", got=repr(view), allowed=PELVIS_VIEWS)
    if missing is not None and missing not in _SIDES:
        raise ConfigurationError("the side that is missing is left or right", got=repr(missing), allowed=_SIDES)
    if not 0.5 <= stretch <= 2.0:
        raise ConfigurationError("a film is stretched by 0.5 to 2", got=stretch)


def _variant(given: str | None, rng: np.random.Generator) -> str:
    odds = np.array(list(HIP_MIX.values()))
    label = list(HIP_MIX)[int(rng.choice(len(odds), p=odds / odds.sum()))]
    place = float(rng.random())
    if given is not None and given not in VARIANTS:
        return given
    choices = VARIANTS[given or label]
    return choices[int(place * len(choices))]


def _camera(seed: int, person: Person, missing: str | None, shape: tuple[int, int]) -> Camera:
    """Where the film lies. Its mean field, 385 mm, gives boxes as large as those of the real set."""
    pose = np.random.default_rng([seed, 22])
    field = 385.0 * float(np.clip(np.exp(pose.normal(0.0, 0.12)), 0.78, 1.4)) * person.scale**0.5
    height = field
    turn, tilt = float(np.clip(pose.normal(0.0, 4.0), -12, 12)), float(np.clip(pose.normal(0.0, 6.0), -16, 16))
    spin = float(np.clip(pose.normal(0.0, 3.0), -9.0, 9.0))
    if pose.random() < 0.12:
        spin = float(pose.uniform(-20.0, 20.0))
    center = (float(pose.normal(0.0, 8.0)), float(pose.normal(-34.0, 20.0)), 0.0)
    if missing is not None:
        height *= 0.72
        center = (center[0] + (-1.0 if missing == "left" else 1.0) * (person.half + 26.0), center[1] + 40.0, 0.0)
    spacing = height / float(np.sqrt(shape[0] * shape[1]))
    if missing is not None:
        spacing = min(spacing, 2.0 * (person.half + 26.0 + person.half - 92.0 * person.scale + 62.0) / shape[1])
    middle = (0.5 * shape[1] * spacing, 0.5 * shape[0] * spacing)
    return Camera(camera_pose(center, turn, tilt, spin, False, middle), spacing, *shape)


def _exposure(rng: np.random.Generator) -> Exposure:
    base = draw_exposure(rng, 55.0, 0.5)
    return replace(
        base,
        photons=float(np.exp(rng.uniform(np.log(3500.0), np.log(20000.0)))),
        scatter=float(rng.uniform(0.15, 0.4)),
        flatten=float(rng.uniform(0.6, 0.9)),
        contrast=float(rng.uniform(0.28, 0.6)) / 0.5,
        tissue=float(np.clip(rng.normal(0.45, 0.09), 0.2, 0.66)),
        table=(*base.table[:2], base.table[2] if rng.random() < 0.25 else 0.0),
    )


def _leg_pose(rng: np.random.Generator, view: str) -> NDArray[np.float64]:
    """How the thigh lies: mostly turned outward a little, more or less abducted; in a frog-leg view flexed too."""
    abduct, outward, extra = float(rng.normal(3.0, 4.5)), float(np.clip(rng.normal(11.0, 11.0), -12, 45)), rng.random(3)
    if view == "frog_leg":
        flex = rotation((1, 0, 0), -(22.0 + 24.0 * float(extra[0])))
        wide = rotation((0, 0, 1), 28.0 + 24.0 * float(extra[1]))
        return compose(wide, flex, rotation((0, 1, 0), -(25.0 + 25.0 * float(extra[2]))))
    return compose(rotation((0, 0, 1), abduct), rotation((0, 1, 0), -outward))


def _hip(
    film: _Film,
    number: int,
    variant: str,
    view: str,
    unlike: float,
    warp: Warp,
    size: tuple[int, int],
) -> tuple[SimulatedHip | None, NDArray[np.float64]]:
    """Draw one side, and say where its knee lies in the pelvic frame."""
    person, camera = film.person, film.camera
    to_pelvis = translation((-person.half, 0, 0))
    if number == 1:
        to_pelvis = compose(translation((person.half, 0, 0)), np.diag([-1.0, 1.0, 1.0, 1.0]))
    here = replace(camera, to_image=compose(camera.to_image, to_pelvis))
    rng = np.random.default_rng([film.seed, 40, number])
    bone = femur(person.build(rng), person.angle + 1.2 * unlike)
    pose = _leg_pose(np.random.default_rng([film.seed, 41, number]), view)
    arthritis = float(np.clip(person.arthritis + 0.15 * unlike * (person.arthritis > 0.1), 0.0, 1.0))
    socket = bone.head + 3.7 * person.scale * (1.0 - 0.6 * arthritis)
    ray = inverse(here.to_image)[:3, 2]
    what = np.random.default_rng([film.seed, 42, number])
    label = hip_class(variant)
    implants: tuple[tuple[Body, str], ...] = ()
    if label in ("internal_fixation", "arthroplasty"):
        operated = fit(bone, variant, pose, socket, what)
        implants = operated.metal
        broken = Broken(operated.bodies, pose, "hairline" if operated.fracture else None, False)
    else:
        broken = break_hip(bone, variant, pose, ray / np.linalg.norm(ray), what)
    proximal, surface = _femur(film, here, bone, broken, number)
    metal_mask = _metal(film, here, bone, implants, proximal)
    side = hemipelvis(
        here,
        rng,
        person,
        socket=socket,
        arthritis=arthritis,
        warp=warp,
        texture=film.seed % 4 + 4 * number,
    )
    side.add_to(film.bone, film.mineral)
    at = transform(to_pelvis, knee(pose, person.scale))
    shown = float((proximal & film.open).sum()) / max(float(proximal.sum()), 1.0)  # not behind the collimator
    planes = [_resized(p & film.open, size) for p in (proximal, metal_mask, surface)]
    record = _record(planes, _SIDES[number], variant, broken, camera.spacing, _whole(here, bone, broken, size), shown)
    return record, at


def _whole(camera: Camera, bone: Femur, broken: Broken, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box around head, tip, lesser trochanter and the cut shaft, wherever they lie: what may be off the film."""
    k = bone.scale
    level = float((np.array(bone.lesser) - bone.root) @ np.array(bone.shaft)) + _BELOW * k
    points = np.array([bone.down(level), bone.tip, bone.lesser])
    placed = np.concatenate([transform(broken.shaft, points), transform(broken.bodies[0].motion, np.zeros((1, 3)))])
    p = transform(camera.to_image, placed)[:, :2] / camera.spacing
    p *= (size[1] / camera.width, size[0] / camera.height)
    room = 18.0 * k / camera.spacing
    low, high = p.min(axis=0) - room, p.max(axis=0) + room
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _femur(
    film: _Film, camera: Camera, bone: Femur, broken: Broken, number: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw the femur's pieces; the mask of its proximal part and of the fracture surface."""
    proximal = np.zeros(film.bone.shape, np.bool_)
    surface = np.zeros(film.bone.shape, np.bool_)
    for body in broken.bodies:
        layer = trace(body, camera)
        if layer is None:
            continue
        window = (layer.rows, layer.columns)
        to_rest = inverse(compose(camera.to_image, body.motion))
        texture = trabeculae(to_rest, bone.scale, camera.spacing, window, film.seed + 3 * number)
        film.bone[window] += layer.bone
        film.mineral[window] += layer.cortex + layer.spongy * texture
        proximal[window] |= (layer.bone > 0.8) & _above(camera, bone, body.motion, window)
        if body.fracture >= 0:
            surface[window] |= layer.surface
    return proximal, surface


def _above(camera: Camera, bone: Femur, motion: NDArray[np.float64], window: tuple[slice, slice]) -> NDArray[np.bool_]:
    """The pixels proximal to the level where a hip's box ends, along the shaft as it is seen."""
    level = float((np.array(bone.lesser) - bone.root) @ np.array(bone.shaft)) + _BELOW * bone.scale
    ends = transform(compose(camera.to_image, motion), np.array([bone.down(level), bone.down(level + 1.0)]))[:, :2]
    along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1e-6)
    rows, columns = window
    x = ((np.arange(columns.start, columns.stop) + 0.5) * camera.spacing)[None, :]
    y = ((np.arange(rows.start, rows.stop) + 0.5) * camera.spacing)[:, None]
    return np.asarray((x - ends[0, 0]) * along[0] + (y - ends[0, 1]) * along[1] < 0.0)


def _metal(
    film: _Film, camera: Camera, bone: Femur, implants: tuple[tuple[Body, str], ...], proximal: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Draw the implants, slender ones at the film's own resolution; they count as parts of the proximal femur."""
    mask = np.zeros(film.bone.shape, np.bool_)
    for body, material in implants:
        grid = 1.3 if body.bone.name in _ROUND else camera.spacing
        layer = trace(body, camera, grid=grid, step=1.0)
        if layer is None:
            continue
        window = (layer.rows, layer.columns)
        if material == "cement":
            film.mineral[window] += np.float32(0.8) * layer.bone
            film.bone[window] = np.maximum(film.bone[window], film.mineral[window])
            continue
        film.metal[window] += layer.bone * np.float32(metal(material, film.energy))
        mask[window] |= layer.bone > 0.8
        proximal[window] |= (layer.bone > 0.8) & _above(camera, bone, body.motion, window)
    return mask


def _resized(plane: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    if plane.shape != tuple(size):
        plane = cv2.resize(plane.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST) > 0
    plane.flags.writeable = False
    return plane


def _record(
    planes: list[NDArray[np.bool_]],
    side: str,
    variant: str,
    broken: Broken,
    spacing: float,
    whole: tuple[float, float, float, float],
    shown: float,
) -> SimulatedHip | None:
    """The truth about a hip, or ``None`` where less than a third of it is to be seen."""
    mask, implants, surface = planes
    height, width = mask.shape
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if rows.size < 8 or columns.size < 8:
        return None
    inside = max(0.0, min(whole[2], width) - max(whole[0], 0.0)) * max(0.0, min(whole[3], height) - max(whole[1], 0.0))
    visible = shown * inside / max((whole[2] - whole[0]) * (whole[3] - whole[1]), 1.0)
    if visible < 1.0 / 3.0:
        return None
    box = box_around(mask, 1.5 / spacing)
    found = None
    if broken.kind is not None:
        found = mark_fracture(surface, spacing, broken.kind, broken.displaced, "femur")
    return SimulatedHip(side, hip_class(variant), variant, box, mask, implants, min(1.0, visible), found)


def _paths(film: _Film, knees: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Paths:
    person, camera = film.person, film.camera
    rng = np.random.default_rng([film.seed, 29])
    parts = envelope(Build(rng, person.scale), person, knees)
    outer, muscle = soft_paths(parts, camera, float(rng.uniform(8.0, 16.0)) * person.stout)
    extra, factor = folds(camera, rng, person)
    gas = bowel(camera, rng, person.scale)
    muscle = np.maximum(muscle * factor - gas, 0.0)
    inside = np.clip(outer / np.float32(20.0), 0.0, 1.0)
    outer = np.maximum(outer + extra * inside - gas, muscle)
    film.metal += letters(film.metal.shape, camera.spacing, np.random.default_rng([film.seed, 31]), outer)
    return Paths(outer, muscle, film.bone, film.mineral, film.metal)
