"""Simulated hands whose joints are known, with damage painted in; and folders of such films."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracture._version import __version__
from fracture.digits import Points
from fracture.simulate.dataset import KeypointFilm, Summary, check_folder, film_seed, write_keypoints
from fracture.simulate.joints import MOST, Joint, Lesion, draw_lesion, paint_joints
from fracture.simulate.record import SimulatedFilm
from fracture.simulate.scene import bone_ends, radiograph
from fracture.simulate.upper_limb import hand_points
from fracture.tables import table


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedHand:
    """A frontal film of a hand.

    Attributes:
        film: The film, damage included.
        points: The 26 points by name, (x, y) in pixels, pixel-edge convention.
        lesions: What is painted at each scored point.
    """

    film: SimulatedFilm
    points: Points = field(repr=False)
    lesions: Mapping[str, Lesion] = field(repr=False)


def hand(
    seed: int, *, lesions: Mapping[str, Lesion] | None = None, damaged: bool = True, size: tuple[int, int] = (768, 640)
) -> SimulatedHand:
    """Simulate a hand with known damage. The same arguments give the same pixels.

    Args:
        seed: A non-negative integer; person, pose and exposure are those of ``radiograph(seed, region="hand", ...)``.
        lesions: By point; drawn from the seed where not given, more on the films that have more.
        damaged: False leaves every joint as it is.
        size: Height and width in pixels.

    Raises:
        ConfigurationError: A setting that does not exist.
    """
    film = radiograph(seed, region="hand", fractured=False, view="frontal", size=size)
    points = hand_points(bone_ends(seed, region="hand", view="frontal", size=size))
    if lesions is None:
        lesions = draw_lesions(np.random.default_rng([seed, 300]), "hand", points) if damaged else {}
    joints = [Joint.of(points, name) for name in points]
    gray = paint_joints(film.pixels.astype(np.float32) / np.float32(4095), joints, lesions, seed)
    pixels = np.round(gray * 4095).astype(np.uint16)
    pixels.flags.writeable = False
    return SimulatedHand(replace(film, pixels=pixels), points, dict(lesions))


def draw_lesions(rng: np.random.Generator, kind: str, points: Container[str]) -> dict[str, Lesion]:
    """Lesions at those points of a hand or forefoot that the challenge scores; films differ in how many joints are
    damaged (drawn by ``rng``; ours, after the challenge's skewed totals). ``kind`` and ``points`` as in annotations."""
    scored, healthy = table("joints")["scored"], 1 - float(rng.beta(0.7, 1.6))
    where = [scored[name if kind == "hand" else kind] for name in ("narrowing", "erosion")]
    names = [name for name in dict.fromkeys((*where[0], *where[1])) if name in points]
    most = {name: [top if name in part else 0 for top, part in zip(MOST[kind], where, strict=True)] for name in names}
    return {name: draw_lesion(rng, most[name], healthy) for name in names}


def write_joints(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (768, 640),
    draw: Callable[[int], KeypointFilm] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` films with damage to ``images/`` (16-bit PNG) and ``annotations.json``: COCO keypoints, one record
    per limb, which holds ``scores``, too: point to its painted ``[narrowing, erosion]``.

    Args:
        directory: The folder, made where it does not exist; one that already holds ``annotations.json`` is refused.
        n: Number of films, at least 1.
        seed: A non-negative integer; film k is ``hand(film_seed(seed, k))``.
        size: Height and width in pixels.
        draw: What makes film k instead, which then has its own seed and size.
        progress: Called with (films done, n) after each film.

    Raises:
        ConfigurationError: A setting that does not exist, a folder that already holds a data set, or a film without a
            limb.
        OutputError: It cannot be written.
    """
    folder, named = check_folder(directory, n, seed), table("joints")["points"]
    about = f"{'Films painted' if draw else 'Hands simulated'} by fracture.simulate {__version__}: damage is painted"
    draw = draw or (lambda index: _as_film(hand(film_seed(seed, index), size=size)))
    return write_keypoints(folder, n, map(draw, range(n)), named, f"{about}, no patient's", progress)


def joint_film(
    pixels: NDArray[np.float32], limbs: Sequence[tuple[str, Points, Mapping[str, Lesion]]], facts: Mapping[str, Any]
) -> KeypointFilm:
    """A film of hands and forefeet: of each kind, points and lesions."""
    marks = [
        (kind, points, {"scores": {name: [one.narrowing, one.erosion] for name, one in lesions.items()}})
        for kind, points, lesions in limbs
    ]
    return KeypointFilm(pixels, marks, facts, any(one != Lesion() for limb in limbs for one in limb[2].values()))


def _as_film(one: SimulatedHand) -> KeypointFilm:
    film = one.film
    facts = {"group": f"simulated {film.seed}", "seed": film.seed, "laterality": film.laterality}
    limbs, spacing = [("hand", one.points, one.lesions)], {"spacing_mm": round(film.spacing, 6)}
    return joint_film(film.to_radiograph().pixels, limbs, facts | spacing)
