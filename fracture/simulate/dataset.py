"""A folder of simulated films with COCO annotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fracture._version import __version__
from fracture.atomic import write_json
from fracture.errors import ConfigurationError, RegionError
from fracture.simulate.scene import REGIONS, radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fracture.simulate.record import SimulatedFilm

__all__ = [
    "FORMATS",
    "Summary",
    "coco_annotations",
    "coco_header",
    "coco_image",
    "film_seed",
    "png_bytes",
    "write_dataset",
]

FORMATS = ("dicom", "png", "both")


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``write_dataset`` wrote.

    Attributes:
        directory: The folder.
        annotations: The COCO file in it.
        files: All image files, in the order of the films.
        films: How many films.
        fractured: How many of them show a fracture.
        boxes: How many fractures are annotated.
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
    if bits not in (8, 16):
        raise ConfigurationError("a gray PNG has 8 or 16 bits here", got=bits, allowed=(8, 16))
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
    folder = Path(directory)
    names = _checked(folder, n, seed, format, fracture_rate, regions, png_bits)
    folder.mkdir(parents=True, exist_ok=True)
    broken = np.zeros(n, np.bool_)
    broken[: round(n * fracture_rate)] = True
    broken = np.random.default_rng([seed, 100]).permutation(broken)
    coco = coco_header()
    files: list[Path] = []
    for index in range(n):
        film = radiograph(
            film_seed(seed, index), region=names[index % len(names)], fractured=bool(broken[index]), size=size
        )
        stem = f"simulated_{index:05d}"
        image = coco_image(film, index)
        if format != "png":
            image["file_name"] = image["dicom"] = f"{stem}.dcm"
            files.append(folder / image["dicom"])
            film.to_dicom().save_as(files[-1], enforce_file_format=True)
        if format != "dicom":
            image["file_name"] = f"{stem}.png"
            files.append(folder / image["file_name"])
            files[-1].write_bytes(png_bytes(film, png_bits))
        coco["images"].append(image)
        coco["annotations"] += coco_annotations(film, index, len(coco["annotations"]))
        if progress is not None:
            progress(index + 1, n)
    annotations = folder / "annotations.json"
    write_json(annotations, coco)
    return Summary(folder, annotations, tuple(files), n, int(broken.sum()), len(coco["annotations"]))


def _checked(
    folder: Path,
    n: int,
    seed: int,
    kind: str,
    rate: float,
    regions: Sequence[str] | None,
    bits: int,
) -> tuple[str, ...]:
    """The regions to go around, after all other settings are found to be possible."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigurationError("a data set needs at least one film", got=n, allowed="an integer of 1 or more")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError("a seed is a non-negative integer", got=repr(seed))
    if kind not in FORMATS:
        raise ConfigurationError("unknown file format", got=repr(kind), allowed=FORMATS)
    if not 0.0 <= rate <= 1.0:
        raise ConfigurationError("the share of fractured films is a number from 0 to 1", got=rate)
    if bits not in (8, 16):
        raise ConfigurationError("a gray PNG has 8 or 16 bits here", got=bits, allowed=(8, 16))
    names = tuple(REGIONS) if regions is None else tuple(regions)
    if not names:
        raise ConfigurationError("no region to simulate", allowed=REGIONS, hint="leave regions out for all of them")
    for name in names:
        if name not in REGIONS:
            raise RegionError("this region cannot be simulated", got=repr(name), allowed=REGIONS)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("the films need a folder, and this is a file", got=str(folder))
    if (folder / "annotations.json").exists():
        raise ConfigurationError(
            "the folder already holds annotations.json", got=str(folder), hint="choose another folder or empty it"
        )
    return names


def coco_header() -> dict[str, Any]:
    """An empty COCO file: info, licence, the one category, no images yet."""
    return {
        "info": {
            "description": f"Radiographs simulated by fracture.simulate {__version__}: no patients",
            "url": "",
            "year": 2000,
        },
        "licenses": [{"id": 1, "name": "Apache-2.0"}],
        "categories": [{"id": 1, "name": "fracture"}],
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
