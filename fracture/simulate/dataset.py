"""Folders of simulated films with COCO annotations: limbs, and pelves in the layout of the real set of hips."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracture._version import __version__
from fracture.atomic import write_json
from fracture.errors import ConfigurationError, RegionError
from fracture.simulate.hip_fractures import HIP_CLASSES
from fracture.simulate.lumbar import lumbar
from fracture.simulate.pelvis import HIP_MIX, pelvis
from fracture.simulate.record import SimulatedFilm, SimulatedPelvis
from fracture.simulate.scene import REGIONS, radiograph

FORMATS = ("dicom", "png", "both")

_HIP_CATEGORIES = {"left": 1, "right": 2}
_HIP_FRACTURES = ("displaced_neck", "nondisplaced_neck", "intertrochanteric")

Entry = tuple[list[Path], dict[str, Any], list[dict[str, Any]], bool]  # files, image, annotations, fractured


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``write_dataset`` or ``write_hips`` wrote.

    Attributes:
        directory: The folder.
        annotations: The COCO file in it.
        files: All image files, in the order of the films.
        films: How many films.
        fractured: How many of them show a fracture.
        boxes: How many fractures, or hips, are annotated.
    """

    directory: Path
    annotations: Path
    files: tuple[Path, ...]
    films: int
    fractured: int
    boxes: int


def film_seed(seed: int, index: int) -> int:
    """The seed of the film with this index in a data set made with ``seed``: the first million do not collide."""
    return seed * 1_000_003 + index


def png_bytes(film: SimulatedFilm, bits: int = 16) -> bytes:
    """The film as a gray PNG. 16 bits hold the 12 without loss (their upper bits repeated, so that white stays white);
    8 bits keep the upper eight.

    Raises:
        ConfigurationError: ``bits`` is neither 8 nor 16.
    """
    _check_bits(bits)
    pixels: NDArray[np.integer[Any]] = (film.pixels << 4) | (film.pixels >> 8)
    if bits == 8:
        pixels = (film.pixels >> 4).astype(np.uint8)
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return bytes(data)


def write_dataset(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    format: str = "dicom",  # noqa: A002 (the command line's word)
    size: tuple[int, int] = (512, 448),
    fracture_rate: float = 0.5,
    regions: Sequence[str] | None = None,
    png_bits: int = 16,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` films and ``annotations.json`` (COCO) into a folder, which is made where it does not exist.

    The same arguments write the same bytes. Film k is ``radiograph(film_seed(seed, k), ...)``; its region goes around
    ``regions``; of all films, ``round(n * fracture_rate)`` are fractured, in random order.

    The COCO file holds one category, ``fracture``, boxes ``[x, y, width, height]`` and outlines in pixels (pixel-edge
    convention), and per image the extra fields of the FracAtlas annotations (regions by our own names; ``site`` is
    ``"simulated"``, each film its own ``group``) with seed, laterality and ``spacing_mm``; per annotation the fracture
    type, the bone and whether it is displaced. With both formats ``file_name`` is the PNG and ``dicom`` the other.

    Args:
        directory: The folder; one that already holds ``annotations.json`` is refused.
        n: Number of films, at least 1.
        seed: A non-negative integer.
        format: ``"dicom"``, ``"png"`` or ``"both"``.
        size: Height and width in pixels.
        fracture_rate: Share of fractured films, 0 to 1.
        regions: Regions to show, in turn; all of ``REGIONS`` by default.
        png_bits: 16 or 8.
        progress: Called with (films done, n) after each film.

    Raises:
        ConfigurationError: A setting that does not exist, or a folder that already holds a data set.
        RegionError: A region that cannot be simulated.
    """
    names = tuple(REGIONS) if regions is None else tuple(regions)
    if format not in FORMATS:
        raise ConfigurationError("unknown file format", got=repr(format), allowed=FORMATS)
    if not names:
        raise ConfigurationError("no region to simulate", allowed=REGIONS, hint="leave regions out for all of them")
    for name in names:
        if name not in REGIONS:
            raise RegionError("this region cannot be simulated", got=repr(name), allowed=REGIONS)
    folder = check_folder(directory, n, seed, png_bits, {"fractured": fracture_rate})
    broken = np.zeros(n, np.bool_)
    broken[: round(n * fracture_rate)] = True
    broken = np.random.default_rng([seed, 100]).permutation(broken)

    def films() -> Iterator[Entry]:
        for index in range(n):
            film = radiograph(
                film_seed(seed, index), region=names[index % len(names)], fractured=bool(broken[index]), size=size
            )
            stem, image, files = f"simulated_{index:05d}", coco_image(film, index), []
            if format != "png":
                image["file_name"] = image["dicom"] = f"{stem}.dcm"
                files.append(folder / image["dicom"])
                film.to_dicom().save_as(files[-1], enforce_file_format=True)
            if format != "dicom":
                image["file_name"] = f"{stem}.png"
                files.append(folder / image["file_name"])
                files[-1].write_bytes(png_bytes(film, png_bits))
            yield files, image, coco_annotations(film, index, 0), film.fractured

    folder.mkdir(parents=True, exist_ok=True)
    return write_films(folder, n, coco_header(), films(), progress)


def write_hips(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (640, 640),
    mix: Mapping[str, float] | None = None,
    stretched: bool = True,
    frog_leg_rate: float = 0.04,
    single_rate: float = 0.04,
    png_bits: int = 8,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` pelvic films to ``images/`` and ``annotations.json`` (COCO) beside it.

    The same arguments write the same bytes. Of the 2 ``n`` hips, each class gets its share by ``mix`` to within one,
    in random order; the hip of a film that shows one side only is drawn and not seen. Annotations have the fields of
    the real set (categories ``left_hip`` and ``right_hip``, ``findings``), so that one reader reads both, and more:
    ``hip_class``, ``variant``, ``implant``, ``lesser_trochanter_detached``, ``visible`` and, where there is a fracture,
    ``fracture_bbox``.

    Args:
        directory: The folder, made where it does not exist; one that already holds ``annotations.json`` is refused.
        n: Number of films, at least 1.
        seed: A non-negative integer; film k is ``pelvis(film_seed(seed, k), ...)``.
        size: Height and width in pixels; the real films are 640 x 640.
        mix: Relative frequency of each class; ``HIP_MIX`` by default, a class left out is not drawn.
        stretched: Stretch films by up to a third, as the real set's uploader did.
        frog_leg_rate, single_rate: Shares of frog-leg views and of films with one hip.
        png_bits: 8, as the real films have, or 16.
        progress: Called with (films done, n) after each film.

    Raises:
        ConfigurationError: A setting that does not exist, or a folder that already holds a data set.
    """
    odds = dict(HIP_MIX if mix is None else mix)
    for name, share in odds.items():
        if name not in HIP_CLASSES:
            raise ConfigurationError("unknown class of hip", got=repr(name), allowed=HIP_CLASSES)
        if not 0.0 <= share < np.inf:
            raise ConfigurationError(f"the frequency of {name} is a number of 0 or more", got=share)
    if sum(odds.values()) <= 0.0:
        raise ConfigurationError("no class of hip to draw", got=odds, hint="give at least one class a frequency")
    folder = check_folder(directory, n, seed, png_bits, {"frog-leg": frog_leg_rate, "single": single_rate})
    labels = np.random.default_rng([seed, 200]).permutation(class_shares(odds, 2 * n)).reshape(n, 2)

    def films() -> Iterator[Entry]:
        for index in range(n):
            draw = np.random.default_rng([seed, 201, index])
            frog, single, side, wide = (
                float(draw.random()),
                float(draw.random()),
                float(draw.random()),
                float(draw.normal()),
            )
            film = pelvis(
                film_seed(seed, index),
                left=str(labels[index, 0]),
                right=str(labels[index, 1]),
                view="frog_leg" if frog < frog_leg_rate else "ap",
                missing=None if single >= single_rate else ("left" if side < 0.5 else "right"),
                stretch=float(np.clip(np.exp(0.13 * wide), 0.75, 1.33)) if stretched else 1.0,
                size=size,
            )
            image = _pelvis_image(film, index)
            path = folder / "images" / image["file_name"]
            path.write_bytes(png_bytes(film.to_film(), png_bits))
            rows = hip_annotations(film, index, 0)
            yield [path], image, rows, any(row["hip_class"] in _HIP_FRACTURES for row in rows)

    (folder / "images").mkdir(parents=True, exist_ok=True)
    return write_films(folder, n, _hip_header(), films(), progress)


def write_lumbar(
    directory: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    side: int = 320,
    transitional: float = 0.1,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Write ``n`` sagittal phantoms of the lumbar spine: PNG pictures, ``annotations.json`` and ``disc_levels.json``.

    Args:
        directory: Folder to write; created if missing.
        n: Pictures.
        seed: Picture k is drawn by a seed of its own from it.
        side: Pixels of a picture's sides.
        transitional: Share of phantoms with 4 or 6 lumbar vertebrae.
        progress: Called with the pictures done and all.

    Returns:
        What was written; ``fractured`` counts pictures with a degenerated disc.

    Raises:
        ConfigurationError: Impossible settings, or a folder that holds a set already.
    """
    folder = check_folder(directory, n, seed, 8, {"transitional": transitional})
    points: dict[str, dict[str, list[float]]] = {}

    def films() -> Iterator[Entry]:
        for index in range(n):
            film = lumbar(film_seed(seed, index), side=side, transitional=transitional)
            image = {"id": index + 1, "file_name": f"lumbar_{index:05d}.png", "width": side, "height": side}
            image |= {"group": index, "spacing_mm": round(film.spacing, 6), "contrast": film.contrast}
            image |= {"lumbar_vertebrae": film.lumbar, "seed": film.seed}
            path = folder / "images" / str(image["file_name"])
            cv2.imwrite(str(path), film.pixels)
            points[path.name] = {disc.level: [round(disc.x, 2), round(disc.y, 2)] for disc in film.discs}
            rows = [
                {
                    "id": 0,
                    "image_id": index + 1,
                    "category_id": 2 if disc.degenerated else 1,
                    "bbox": _xywh(disc.box),
                    "area": round((disc.box[2] - disc.box[0]) * (disc.box[3] - disc.box[1]), 1),
                    "iscrowd": 0,
                    "level": disc.level,
                    "height_mm": round(disc.height, 2),
                    "bulge_mm": round(disc.bulge, 2),
                    "canal_mm": round(disc.canal, 2),
                }
                for disc in film.discs
            ]
            yield [path], image, rows, any(disc.degenerated for disc in film.discs)

    (folder / "images").mkdir(parents=True, exist_ok=True)
    about = f"Sagittal MR phantoms drawn by fracture.simulate {__version__}: no patients"
    found = write_films(folder, n, _header({"description": about}, ["Normal", "Degenerated"]), films(), progress)
    write_json(folder / "disc_levels.json", {"note": "disc centers in pixels, by the phantom", "points": points})
    return found


def check_folder(
    directory: str | os.PathLike[str], n: int, seed: int, bits: int = 16, shares: Mapping[str, float] | None = None
) -> Path:
    """The folder, after the settings that all data sets have are found to be possible."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigurationError("a data set needs at least one film", got=n, allowed="an integer of 1 or more")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError("a seed is a non-negative integer", got=repr(seed))
    for name, share in (shares or {}).items():
        if not 0.0 <= share <= 1.0:
            raise ConfigurationError(f"the share of {name} films is a number from 0 to 1", got=share)
    _check_bits(bits)
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("the films need a folder, and this is a file", got=str(folder))
    if (folder / "annotations.json").exists():
        raise ConfigurationError(
            "the folder already holds annotations.json", got=str(folder), hint="choose another folder or empty it"
        )
    return folder


def _check_bits(bits: int) -> None:
    if bits not in (8, 16):
        raise ConfigurationError("a gray PNG has 8 or 16 bits here", got=bits, allowed=(8, 16))


def write_films(
    folder: Path,
    n: int,
    coco: dict[str, Any],
    films: Iterable[Entry],
    progress: Callable[[int, int], object] | None,
) -> Summary:
    """Go through the films, which write their files as they are drawn, number their annotations and write COCO."""
    files: list[Path] = []
    fractured = 0
    for done, (written, image, rows, broken) in enumerate(films, start=1):
        for number, row in enumerate(rows, start=len(coco["annotations"]) + 1):
            row["id"] = number
        coco["images"].append(image)
        coco["annotations"] += rows
        files += written
        fractured += broken
        if progress is not None:
            progress(done, n)
    annotations = folder / "annotations.json"
    write_json(annotations, coco)
    return Summary(folder, annotations, tuple(files), n, fractured, len(coco["annotations"]))


@dataclass(frozen=True, slots=True, eq=False)
class KeypointFilm:
    """A film with named points.

    Attributes:
        pixels: float32 (height, width) in [0, 1].
        marks: Of each thing on it its kind, its points by name, (x, y) in pixels, and what else its record holds.
        facts: What else the image's record holds.
        damaged: Whether it counts as fractured in the summary.
    """

    pixels: NDArray[np.float32]
    marks: Sequence[tuple[str, Mapping[str, tuple[float, float]], Mapping[str, Any]]]
    facts: Mapping[str, Any]
    damaged: bool


def write_keypoints(
    folder: Path,
    n: int,
    films: Iterable[KeypointFilm],
    names: Mapping[str, Sequence[str]],
    about: str,
    progress: Callable[[int, int], object] | None,
) -> Summary:
    """Write films to ``images/`` (16-bit PNG) and ``annotations.json``, COCO keypoints by the names of each kind.

    Raises:
        ConfigurationError: A film on which nothing is marked.
        OutputError: It cannot be written.
    """

    def entries() -> Iterator[Entry]:
        for index, film in enumerate(films):
            if not film.marks:
                raise ConfigurationError(
                    "a film with points shows something", got=dict(film.facts), allowed=list(names)
                )
            height, width = film.pixels.shape
            path = folder / "images" / f"painted_{index:05d}.png"
            _, data = cv2.imencode(".png", np.round(film.pixels * 65535).astype(np.uint16))
            path.write_bytes(bytes(data))
            image = {"id": index, "file_name": f"images/{path.name}", "width": width, "height": height, "fractured": 0}
            rows: list[dict[str, Any]] = []
            for kind, points, more in film.marks:
                places = [(*points[name], 2) if name in points else (0, 0, 0) for name in names[kind]]
                flat = [round(float(value), 2) for place in places for value in place]
                row = {"id": 0, "image_id": index, "category_id": 1 + list(names).index(kind), "keypoints": flat}
                rows.append({**row, **more})
            yield [path], {**image, **film.facts}, rows, film.damaged

    (folder / "images").mkdir(parents=True, exist_ok=True)
    header = _header({"description": about}, list(names))
    for category in header["categories"]:
        category["keypoints"] = names[category["name"]]
    return write_films(folder, n, header, entries(), progress)


def class_shares(odds: Mapping[str, float], count: int) -> list[str]:
    """``count`` class names: each class by its frequency, rounded down; the rest to the largest remainders."""
    total = sum(odds.values())
    exact = {name: count * share / total for name, share in odds.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda k: counts[k] - exact[k])[: count - sum(counts.values())]:
        counts[name] += 1
    return [name for name, many in counts.items() for _ in range(many)]


def coco_header() -> dict[str, Any]:
    """An empty COCO file: info, licence, the one category, no images yet."""
    about = f"Radiographs simulated by fracture.simulate {__version__}: no patients"
    return _header({"description": about, "url": "", "year": 2000}, ["fracture"])


def _hip_header() -> dict[str, Any]:
    about = f"Pelvic radiographs simulated by fracture.simulate {__version__}: no patients; one box per proximal femur"
    return _header({"description": about}, [f"{side}_hip" for side in _HIP_CATEGORIES])


def _header(info: dict[str, Any], categories: Sequence[str]) -> dict[str, Any]:
    return {
        "info": info,
        "licenses": [{"id": 1, "name": "Apache-2.0"}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories, start=1)],
        "images": [],
        "annotations": [],
    }


def coco_image(film: SimulatedFilm, index: int) -> dict[str, Any]:
    """The image record of a film, with an empty ``file_name``."""
    return {
        "id": index,
        "file_name": "",
        "width": film.width,
        "height": film.height,
        "original_width": film.width,
        "original_height": film.height,
        "license": 1,
        "regions": [film.region],
        "views": [film.view],
        "fractured": int(film.fractured),
        "hardware": 0,
        "multiscan": 0,
        "site": "simulated",
        "group": index,
        "label_conflict": False,
        "laterality": film.laterality,
        "spacing_mm": round(film.spacing, 6),
        "seed": film.seed,
    }


def _pelvis_image(film: SimulatedPelvis, index: int) -> dict[str, Any]:
    return {
        "id": index,
        "file_name": f"simulated_{index:05d}.png",
        "width": film.width,
        "height": film.height,
        "group": index,
        "augmented_by_uploader": 0,
        "axis_tilt_degrees": round(film.tilt, 1),
        "seed": film.seed,
        "view": film.view,
        "sex": film.sex,
        "age": film.age,
        "spacing_mm": [round(v, 6) for v in film.spacing],
    }


def coco_annotations(film: SimulatedFilm, image: int, first: int) -> list[dict[str, Any]]:
    """The annotation records of a film; their ids follow ``first``."""
    rows = []
    for number, found in enumerate(film.fractures):
        x0, y0, x1, y1 = found.box
        rows.append(
            {
                "id": first + number + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": float(found.mask.sum()),
                "segmentation": [[round(float(v), 2) for v in found.polygon.reshape(-1)]],
                "fracture_type": found.kind,
                "displaced": found.displaced,
                "bone": found.bone,
            }
        )
    return rows


def hip_annotations(film: SimulatedPelvis, image: int, first: int) -> list[dict[str, Any]]:
    """The annotation records of a film's hips; their ids follow ``first``."""
    rows = []
    for number, hip in enumerate(film.hips):
        hardware = hip.label in ("internal_fixation", "arthroplasty")
        row: dict[str, Any] = {
            "id": first + number + 1,
            "image_id": image,
            "category_id": _HIP_CATEGORIES[hip.side],
            "bbox": _xywh(hip.box),
            "area": round((hip.box[2] - hip.box[0]) * (hip.box[3] - hip.box[1]), 1),
            "iscrowd": 0,
            "findings": list(hip.findings),
            "hip_class": hip.label,
            "variant": hip.variant,
            "implant": hip.variant if hardware else None,
            "lesser_trochanter_detached": hip.variant == "lesser_trochanter_detached",
            "visible": round(hip.visible, 3),
        }
        if hip.fracture is not None:
            row["fracture_bbox"] = _xywh(hip.fracture.box)
        rows.append(row)
    return rows


def _xywh(box: tuple[float, float, float, float]) -> list[float]:
    return [round(box[0], 2), round(box[1], 2), round(box[2] - box[0], 2), round(box[3] - box[1], 2)]
