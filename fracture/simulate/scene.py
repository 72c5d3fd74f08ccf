"""Which film of which anatomy: field of view, views, pose; and the one function that makes a film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture.errors import ConfigurationError, RegionError
from fracture.simulate.anatomy import Anatomy, camera_pose
from fracture.simulate.film import Exposure, Paths, draw_exposure, expose, field_of_view
from fracture.simulate.fractures import KINDS, Plan, Site, break_bones, draw_plan
from fracture.simulate.geometry import inverse, transform, unit
from fracture.simulate.lower_limb import leg
from fracture.simulate.projection import Camera, Materials, project
from fracture.simulate.record import SimulatedFilm, SimulatedFracture
from fracture.simulate.softtissue import Bend, soft_paths
from fracture.simulate.thigh import thigh
from fracture.simulate.upper_limb import arm
from fracture.tables import table

_MARGIN_MM, _MARGIN_PX = 1.5, 2.0
_ATTEMPTS = 8


@dataclass(frozen=True)
class Projection:
    """One kind of film of a region.

    Attributes:
        limb: ``"arm"``, ``"leg"`` or ``"thigh"``.
        center: Limb point (x, y, z) in mm in the middle of the film.
        height: Height of the film in mm at the limb (before variation).
        energy: Effective energy in keV.
        views: Relative frequencies of views.
        contrast: Optical thickness that the region's bones typically add to soft tissue: what the tone curve spreads.
        favors: Beginnings of the names of the bones that the region is about; others on the film break rarely.
        flips: Relative frequency of films shown upside down.
    """

    limb: str
    center: tuple[float, float, float]
    height: float
    energy: float
    contrast: float
    views: Mapping[str, float]
    favors: tuple[str, ...]
    flips: float = 0.0


REGIONS: Mapping[str, Projection] = {name: Projection(**numbers) for name, numbers in table("regions").items()}
"""The regions that can be simulated, by the names of ``fracture.regions``."""

_TURN = {"frontal": 0.0, "oblique": 42.0, "lateral": 88.0}


@dataclass(frozen=True, eq=False)
class _Scene:
    region: str
    view: str
    mirror: bool
    anatomy: Anatomy
    camera: Camera
    exposure: Exposure


def radiograph(
    seed: int,
    *,
    region: str | None = None,
    fractured: bool | None = None,
    fracture_type: str | None = None,
    displaced: bool | None = None,
    view: str | None = None,
    size: tuple[int, int] = (512, 448),
) -> SimulatedFilm:
    """Simulate one radiograph. The same arguments give the same pixels.

    What is not given is drawn from ``seed``; what is given replaces the draw and leaves all others as they are, so
    that ``fractured=True`` and ``fractured=False`` show the same person, pose and exposure.

    Args:
        seed: A non-negative integer.
        region: One of ``REGIONS``.
        fractured: Whether a bone is broken; half of the films otherwise, and always where a type is given.
        fracture_type: One of ``KINDS``.
        displaced: Whether the fragments have moved; a hairline fracture never has.
        view: ``"frontal"``, ``"lateral"`` or ``"oblique"``, of those that the region offers.
        size: Height and width in pixels, 96 to 4096 each.

    Raises:
        RegionError: A region that cannot be simulated.
        ConfigurationError: Another setting that does not exist or that contradicts another.
    """
    _check(seed, region, fractured, fracture_type, displaced, view, size)
    scene = _scene(seed, region, view, size)
    draw = np.random.default_rng([seed, 3])
    breaks = bool(draw.random() < 0.5)
    if fractured is not None or fracture_type is not None or displaced is not None:
        breaks = fractured is not False
    plan, materials = None, None
    if breaks:
        plan, materials, found = _fracture(scene, draw, seed, fracture_type, displaced)
    if plan is None or materials is None:
        materials = _materials(scene, None, seed)
        found = []
    paths = _paths(scene, materials, plan)
    pixels = expose(
        paths,
        scene.exposure,
        scene.camera.spacing,
        np.random.default_rng([seed, 5]),
        letter="L" if scene.mirror else "R",
        marker_right=bool(np.random.default_rng([seed, 6]).random() < 0.5),
    )
    pixels.flags.writeable = False
    return SimulatedFilm(
        pixels=pixels,
        seed=seed,
        region=scene.region,
        view=scene.view,
        laterality="left" if scene.mirror else "right",
        fractures=tuple(found),
        spacing=scene.camera.spacing,
        orientation=_orientation(scene),
    )


def path_lengths(
    seed: int, *, region: str | None = None, view: str | None = None, size: tuple[int, int] = (512, 448)
) -> tuple[Paths, float]:
    """The path lengths of the unbroken limb of ``radiograph`` with the same arguments, and the spacing in mm.

    Args:
        seed: Decides everything that is not given.
        region: One of ``SIMULATED_REGIONS``.
        view: As for :func:`radiograph`.
        size: Height and width in pixels.

    Raises:
        RegionError: A region that cannot be simulated.
        ConfigurationError: Another setting that does not exist.
    """
    _check(seed, region, None, None, None, view, size)
    scene = _scene(seed, region, view, size)
    return _paths(scene, _materials(scene, None, seed), None), scene.camera.spacing


def bone_ends(
    seed: int, *, region: str, view: str | None = None, size: tuple[int, int] = (512, 448)
) -> dict[str, NDArray[np.float64]]:
    """Where the unbroken bones of ``radiograph`` with the same arguments begin and end, by name.

    Returns:
        float64 (2, 2): start and end of the bone's first part as (x, y) in pixels, pixel-edge convention; of a carpal
        or tarsal bone its middle twice.

    Raises:
        RegionError: A region that cannot be simulated.
        ConfigurationError: Another setting that does not exist.
    """
    _check(seed, region, None, None, None, view, size)
    scene = _scene(seed, region, view, size)
    found = {}
    for bone in scene.anatomy.bones:
        if bone.parts:
            shape = bone.parts[0].shape
            axis = np.array([[0.0, 0.0, 0.0], [getattr(shape, "length", 0.0), 0.0, 0.0]])
            at = transform(scene.camera.to_image, transform(inverse(shape.to_local), axis))
            found[bone.name] = at[:, :2] / scene.camera.spacing
    return found


def _check(
    seed: int,
    region: str | None,
    fractured: bool | None,
    fracture_type: str | None,
    displaced: bool | None,
    view: str | None,
    size: tuple[int, int],
) -> None:
    check_film(seed, size)
    if region is not None and region not in REGIONS:
        raise RegionError("this region cannot be simulated", got=repr(region), allowed=REGIONS)
    if fracture_type is not None and fracture_type not in KINDS:
        raise ConfigurationError("unknown fracture type", got=repr(fracture_type), allowed=KINDS)
    if fractured is False and (fracture_type is not None or displaced is not None):
        raise ConfigurationError(
            "fractured=False contradicts a fracture type or a displacement",
            hint="leave fracture_type and displaced out, or ask for fractured=True",
        )
    if displaced and fracture_type == "hairline":
        raise ConfigurationError(
            "a hairline fracture is never displaced", hint="leave displaced out, or choose another fracture type"
        )
    views = REGIONS[region].views if region is not None else {"frontal": 1.0, "lateral": 1.0, "oblique": 1.0}
    if view is not None and view not in views:
        raise ConfigurationError(f"no such view of {region or 'any region'}", got=repr(view), allowed=views)


def check_film(seed: int, size: tuple[int, int]) -> None:
    """Raise ``ConfigurationError`` unless a film of this seed and size (height and width) can be drawn."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigurationError("a seed is a non-negative integer", got=repr(seed))
    if len(size) != 2 or not all(isinstance(n, int | np.integer) and 96 <= n <= 4096 for n in size):
        raise ConfigurationError("size is height and width in pixels", got=size, allowed="96 to 4096 each")


def _orientation(scene: _Scene) -> tuple[str, str]:
    """The direction nearest to that of rows and of columns: L, R, A, P, H or F of the anatomical position."""
    outward = 1.0 if REGIONS[scene.region].limb == "arm" else -1.0  # the side of the body at +x of a right limb
    lateral, medial = ("L", "R") if scene.mirror else ("R", "L")
    letters = []
    for direction in inverse(scene.camera.to_image)[:3, :2].T:
        axis = int(np.argmax(np.abs(direction)))
        positive = bool(direction[axis] > 0)
        if axis == 0:
            letters.append(lateral if positive == (outward > 0) else medial)
        else:
            letters.append({1: ("H", "F"), 2: ("P", "A")}[axis][positive])
    return letters[0], letters[1]


def _materials(scene: _Scene, plan: Plan | None, seed: int) -> Materials:
    """The bones, broken by ``plan``: solid ones along the rays, flat ones in the film's plane."""
    a, b, c = np.random.default_rng([seed, 7]).uniform(0.0, 64.0, 3)
    bodies = break_bones(scene.anatomy.bones, plan)
    solid = [body for body in bodies if body.bone.parts]
    count = 0 if plan is None else len(plan.breaks)
    materials = project(solid, scene.camera, count, offset=(float(a), float(b), float(c)))
    if scene.anatomy.flat is None:
        return materials
    pieces = [body for body in bodies if not body.bone.parts and body.cut is not None]
    bone, mineral, surface = scene.anatomy.flat.draw(scene.camera, pieces)
    for body in pieces:
        materials.surfaces[body.fracture] |= surface
    return Materials(materials.bone + bone, materials.mineral + mineral, materials.surfaces)


def _scene(seed: int, region: str | None, view: str | None, size: tuple[int, int]) -> _Scene:
    draw = np.random.default_rng([seed, 0])
    offered = [name for name, p in REGIONS.items() if view is None or view in p.views]
    picked = offered[int(draw.integers(len(offered)))]
    region = region or picked
    projection = REGIONS[region]
    odds = np.array(list(projection.views.values()))
    drawn = list(projection.views)[
        int(np.searchsorted(np.cumsum(odds / odds.sum()), draw.random()).clip(0, odds.size - 1))
    ]
    view = view or drawn
    mirror = bool(draw.random() < 0.5)
    stout = float(np.clip(np.exp(draw.normal(0.0, 0.16)), 0.72, 1.4))
    anatomy = _anatomy(projection.limb, region, view, np.random.default_rng([seed, 1]), stout)
    pose = np.random.default_rng([seed, 2])
    height = projection.height * float(pose.uniform(0.92, 1.12))
    spacing = height / size[0]
    if size[1] * spacing < 0.6 * height:  # a narrow film still shows the limb's width
        spacing = 0.6 * height / size[1]
    turn = _TURN[view] + float(pose.normal(0.0, 5.0 if projection.limb != "thigh" else 2.5))
    spin = float(pose.normal(0.0, 5.0 if projection.limb == "arm" else 2.5))
    if pose.random() < projection.flips:
        spin += 180.0
    off = pose.normal(0.0, 0.02 * height, 2)
    middle = (0.5 * size[1] * spacing + float(off[0]), 0.5 * size[0] * spacing + float(off[1]))
    matrix = camera_pose(projection.center, turn, float(pose.normal(0.0, 2.5)), spin, mirror, middle)
    exposure = draw_exposure(np.random.default_rng([seed, 4]), projection.energy, projection.contrast)
    return _Scene(region, view, mirror, anatomy, Camera(matrix, spacing, int(size[0]), int(size[1])), exposure)


def _anatomy(limb: str, region: str, view: str, rng: np.random.Generator, stout: float) -> Anatomy:
    if limb == "arm":
        return arm(rng, stout=stout, flexed=0.35 if view == "lateral" else 0.08)
    if limb == "leg":
        return leg(rng, stout=stout, pointed=18.0 if view == "frontal" else 8.0)
    return thigh(rng, stout=stout, pelvis=view == "frontal", knee=region == "femur")


def _visible(site: Site, camera: Camera) -> bool:
    """Whether the middle of a site lies well inside the film and its bone is not seen end on there."""
    if abs(float(camera.to_image[2, :3] @ unit(site.axis))) > 0.6:
        return False
    x, y = transform(camera.to_image, site.point)[:2] / camera.spacing
    room = 0.07 * min(camera.height, camera.width) + site.radius / camera.spacing * 0.8
    return bool(room < x < camera.width - room and room < y < camera.height - room)


def _fracture(
    scene: _Scene, draw: np.random.Generator, seed: int, kind: str | None, displaced: bool | None
) -> tuple[Plan, Materials, list[SimulatedFracture]]:
    favors = REGIONS[scene.region].favors
    sites = [
        site if site.bone.startswith(favors) else replace(site, weight=0.08 * site.weight)
        for site in scene.anatomy.sites
        if _visible(site, scene.camera)
    ]
    if kind is not None:
        sites = [site for site in sites if kind in site.kinds] or sites
    if displaced:
        sites = [replace(s, kinds={k: w for k, w in s.kinds.items() if k != "hairline"}) for s in sites]
    if not sites:
        raise ConfigurationError(
            f"no bone of this {scene.region} film can break there",
            got=f"size {scene.camera.height} x {scene.camera.width}",
            hint="use a larger or squarer size",
        )
    ray = inverse(scene.camera.to_image)[:3, 2]
    field = field_of_view(scene.exposure, (scene.camera.height, scene.camera.width))
    for _ in range(_ATTEMPTS):
        plan = draw_plan(draw, sites, ray, kind=kind, displaced=displaced)
        materials = _materials(scene, plan, seed)
        found = []
        for number, entry in enumerate(plan.breaks):
            record = mark_fracture(
                materials.surfaces[number] & field, scene.camera.spacing, plan.kind, plan.displaced, entry[0]
            )
            if record is not None:
                found.append(record)
        if found:
            return plan, materials, found
    raise ConfigurationError(
        f"no visible fracture found for this {scene.region} film", got=f"seed {seed}", hint="use another seed"
    )


def box_around(mask: NDArray[np.bool_], margin: float) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1): the bounds of a mask that is not empty, ``margin`` pixels wider and within the film."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return (
        max(0.0, float(columns[0]) - margin),
        max(0.0, float(rows[0]) - margin),
        min(float(width), float(columns[-1]) + 1.0 + margin),
        min(float(height), float(rows[-1]) + 1.0 + margin),
    )


def mark_fracture(
    surface: NDArray[np.bool_], spacing: float, kind: str, displaced: bool, bone: str
) -> SimulatedFracture | None:
    """The convex outline of a fracture's rays as mask, polygon and box; ``None`` where it is not on the film."""
    rows, columns = np.nonzero(surface)
    if rows.size < 4:
        return None
    corners = np.concatenate([np.column_stack([columns + dx, rows + dy]) for dx in (0, 1) for dy in (0, 1)]).astype(
        np.float32
    )
    polygon = np.asarray(cv2.convexHull(corners), dtype=np.float64).reshape(-1, 2)
    mask = np.zeros(surface.shape, np.uint8)
    drawn = np.round((polygon - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, drawn.reshape(-1, 1, 2), 1, shift=4)
    inside = (mask > 0) | surface
    inside.flags.writeable = False
    polygon.flags.writeable = False
    box = box_around(inside, max(_MARGIN_PX, float(np.ceil(_MARGIN_MM / spacing))))
    return SimulatedFracture(box, inside, polygon, kind, displaced, bone)


def _paths(scene: _Scene, materials: Materials, plan: Plan | None) -> Paths:
    anatomy, camera = scene.anatomy, scene.camera
    bend = None
    if plan is not None and plan.displaced and plan.site.bends:
        bend = Bend(plan.motion, np.asarray(plan.site.point), np.asarray(plan.site.axis), 2.2 * plan.site.radius)
    envelope, muscle = soft_paths(anatomy.soft, camera, anatomy.fat, bend)
    bone, mineral = materials.bone, materials.mineral
    if anatomy.flat is not None:
        gas = anatomy.flat.gas(camera)
        muscle, envelope = np.maximum(muscle - gas, 0.0), np.maximum(envelope - gas, 0.0)
    muscle = np.asarray(np.minimum(muscle * _streaks(scene), envelope), dtype=np.float32)
    return Paths(np.maximum(envelope, bone), np.maximum(muscle, bone), bone, mineral)


def _streaks(scene: _Scene) -> NDArray[np.float32]:
    """Fat between muscle bundles: a slow relative variation of the muscle's path, drawn out along the limb."""
    camera = scene.camera
    cell = np.random.default_rng([camera.height, int(scene.camera.to_image[0, 3] * 1000) & 0xFFFF])
    rows = max(4, int(camera.height * camera.spacing / 28.0))
    columns = max(6, int(camera.width * camera.spacing / 7.0))
    coarse = cell.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1.0 + 0.025 * fine, dtype=np.float32)
