"""Simulated hands whose joints are known, with damage painted in; and folders of such films."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture._version import __version__
from fracture.errors import ConfigurationError
from fracture.simulate.dataset import Entry, Summary, check_folder, film_seed, write_films
from fracture.simulate.joints import Joint, Lesion, draw_grade, paint_joints
from fracture.simulate.record import SimulatedFilm
from fracture.simulate.scene import bone_ends, radiograph
from fracture.tables import table

Point = tuple[float, float]

_FINGERS = "2345"
_OUT = 0.8  # mm or so from a bone's end to the middle of the joint space, where only one end is known


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedHand:
    """A frontal film of a hand.

    Attributes:
        film: The film, damage included.
        points: The 26 points by name, (x, y) in pixels, pixel-edge convention.
        lesions: What is painted at each scored point.
    """

    film: SimulatedFilm
    points: Mapping[str, Point] = field(repr=False)
    lesions: Mapping[str, Lesion] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class JointFilm:
    """One film of a folder: gray pixels, and of each hand or forefoot kind, points and lesions.

    ``limbs`` holds tuples of (``"hand"`` or ``"forefoot"``, points, lesions); ``facts`` goes into the image's record.
    """

    pixels: NDArray[np.float32]
    limbs: Sequence[tuple[str, Mapping[str, Point], Mapping[str, Lesion]]]
    facts: Mapping[str, Any]


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
    points = _points(bone_ends(seed, region="hand", view="frontal", size=size))
    if lesions is None:
        lesions = draw_lesions(np.random.default_rng([seed, 300]), _scored()) if damaged else {}
    joints = _joints(points)
    gray = paint_joints(film.pixels.astype(np.float32) / np.float32(4095), joints, lesions, seed)
    pixels = np.round(gray * 4095).astype(np.uint16)
    pixels.flags.writeable = False
    fields = {name: getattr(film, name) for name in ("seed", "region", "view", "laterality", "fractures", "spacing")}
    return SimulatedHand(SimulatedFilm(pixels=pixels, orientation=film.orientation, **fields), points, dict(lesions))


def draw_lesions(rng: np.random.Generator, scored: Mapping[str, tuple[int, int]]) -> dict[str, Lesion]:
    """Lesions of one limb; films differ in how many joints are damaged (ours, after the challenge's skewed totals).

    Args:
        rng: The stream.
        scored: Point to the highest narrowing and erosion it can have.
    """
    healthy = 1 - float(rng.beta(0.7, 1.6))
    grades = {n: tuple(draw_grade(rng, most, healthy) if most else 0 for most in both) for n, both in scored.items()}
    return {name: Lesion(*both) for name, both in grades.items()}


def _scored() -> dict[str, tuple[int, int]]:
    scored = table("joints")["scored"]
    names = dict.fromkeys((*scored["narrowing"], *scored["erosion"]))
    return {n: (4 if n in scored["narrowing"] else 0, 5 if n in scored["erosion"] else 0) for n in names}


def _points(ends: Mapping[str, NDArray[np.float64]]) -> dict[str, Point]:
    """The 26 points out of the bones' ends."""
    start, end = ({name: at[k] for name, at in ends.items()} for k in (0, 1))
    found: dict[str, NDArray[np.float64]] = {}
    for k in "12345":
        chain = [f"metacarpal_{k}", *(f"phalanx_{k}_{part}" for part in ("proximal", "middle", "distal"))]
        chain = [name for name in chain if name in ends]
        names = ("mcp1", "ip1") if k == "1" else (f"mcp{k}", f"pip{k}", f"dip{k}")
        for name, near, far in zip(names, chain, chain[1:], strict=False):
            found[name] = (end[near] + start[far]) / 2
    out = (start["metacarpal_3"] - start["capitate"]) / np.linalg.norm(start["metacarpal_3"] - start["capitate"])
    gap = _OUT / 25 * np.linalg.norm(start["metacarpal_3"] - start["lunate"])
    found |= {f"cmc{k}": start[f"metacarpal_{k}"] - gap * out for k in "345"}
    found["mc1"] = start["metacarpal_1"] - gap * out
    found["mul"], found["nav"], found["lunate"] = (
        (start["trapezium"] + start["trapezoid"]) / 2, start["scaphoid"], start["lunate"],
    )  # fmt: skip
    found["mna"] = (found["mul"] + found["nav"]) / 2
    found["capnlun"] = (start["capitate"] + start["scaphoid"] + start["lunate"]) / 3
    found["radius"], found["ulna"] = end["radius"] - 4 * gap * out, end["ulna"] - 3 * gap * out
    found["radcar"] = end["radius"] + 0.35 * (start["lunate"] - end["radius"])
    return {name: (float(x), float(y)) for name, (x, y) in found.items()}


def _joints(points: Mapping[str, Point]) -> dict[str, Joint]:
    place = {name: np.asarray(point) for name, point in points.items()}
    unit = float(np.linalg.norm(place["dip3"] - place["mcp3"]))
    whole = sum((place[f"dip{k}"] - place[f"mcp{k}"] for k in _FINGERS), np.zeros(2))
    found = {}
    for name, at in place.items():
        digit = name[-1]
        ends = {"mcp": (f"mcp{digit}", f"pip{digit}"), "pip": (f"mcp{digit}", f"dip{digit}")}.get(name[:-1])
        if name in ("mcp1", "ip1"):
            ends = ("mcp1", "ip1")
        way = whole if ends is None or name == "mc1" else place[ends[1]] - place[ends[0]]
        way = way / np.linalg.norm(way)
        found[name] = Joint(name, (float(at[0]), float(at[1])), (float(way[0]), float(way[1])), unit)
    return found


def write_joints(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (768, 640),
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` simulated hands with damage; see :func:`write_joint_films` for the layout.

    Args:
        directory: The folder, made where it does not exist; one that already holds ``annotations.json`` is refused.
        n: Number of films, at least 1.
        seed: A non-negative integer; film k is ``hand(film_seed(seed, k))``.
        size: Height and width in pixels.
        progress: Called with (films done, n) after each film.

    Raises:
        ConfigurationError: A setting that does not exist, or a folder that already holds a data set.
    """
    folder = check_folder(directory, n, seed)
    made = (hand(film_seed(seed, index), size=size) for index in range(n))
    films = (
        JointFilm(
            one.film.to_radiograph().pixels,
            (("hand", one.points, one.lesions),),
            {
                "group": f"simulated {one.film.seed}",
                "spacing_mm": round(one.film.spacing, 6),
                "seed": one.film.seed,
                "laterality": one.film.laterality,
            },
        )
        for one in made
    )
    return write_joint_films(folder, films, n, about="Hands simulated", progress=progress)


def write_joint_films(
    folder: Path,
    films: Iterable[JointFilm],
    n: int,
    *,
    about: str = "Films painted",
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write films to ``images/`` (16-bit PNG) and ``annotations.json`` beside it: COCO keypoints, one record per limb.

    Each annotation holds, beside ``keypoints``, ``scores``: point to its painted ``[narrowing, erosion]``.

    Raises:
        ConfigurationError: A film without a limb.
        OutputError: It cannot be written.
    """
    named = table("joints")["points"]

    def entries() -> Iterator[Entry]:
        for index, film in enumerate(films):
            if not film.limbs:
                raise ConfigurationError("a film of joints shows a hand or a forefoot", got=dict(film.facts))
            height, width = film.pixels.shape
            path = folder / "images" / f"painted_{index:05d}.png"
            _, data = cv2.imencode(".png", np.round(film.pixels * 65535).astype(np.uint16))
            path.write_bytes(bytes(data))
            image = {"id": index, "file_name": f"images/{path.name}", "width": width, "height": height, "fractured": 0}
            rows: list[dict[str, Any]] = []
            for kind, points, lesions in film.limbs:
                places = [(*points[name], 2) if name in points else (0, 0, 0) for name in named[kind]]
                rows.append(
                    {
                        "id": 0,
                        "image_id": index,
                        "category_id": 1 + list(named).index(kind),
                        "keypoints": [round(float(value), 2) for place in places for value in place],
                        "scores": {name: [one.narrowing, one.erosion] for name, one in lesions.items()},
                    }
                )
            yield [path], {**image, **film.facts}, rows, any(sum(map(sum, row["scores"].values())) for row in rows)

    (folder / "images").mkdir(parents=True, exist_ok=True)
    header = {
        "info": {"description": f"{about} by fracture.simulate {__version__}: damage is painted, no patient's"},
        "categories": [{"id": n, "name": kind, "keypoints": names} for n, (kind, names) in enumerate(named.items(), 1)],
        "images": [],
        "annotations": [],
    }
    return write_films(folder, n, header, entries(), progress)
