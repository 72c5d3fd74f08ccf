"""A folder of simulated pelvic films in the layout of the real set of hips."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture._version import __version__
from fracture.atomic import write_json
from fracture.errors import ConfigurationError
from fracture.simulate.dataset import Summary, film_seed, png_bytes
from fracture.simulate.hip_fractures import HIP_CLASSES
from fracture.simulate.pelvis import HIP_MIX, pelvis

if TYPE_CHECKING:
    from fracture.simulate.pelvis_record import SimulatedPelvis

__all__ = ["hip_annotations", "write_hips"]

_CATEGORIES = {"left": 1, "right": 2}
_FRACTURES = ("displaced_neck", "nondisplaced_neck", "intertrochanteric")


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
    folder = Path(directory)
    odds = _checked(folder, n, seed, mix, {"frog-leg": frog_leg_rate, "single": single_rate}, png_bits)
    draw = np.random.default_rng([seed, 200])
    labels = draw.permutation(_shares(odds, 2 * n)).reshape(n, 2)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    coco = _header()
    files: list[Path] = []
    fractured = 0
    for index in range(n):
        one = np.random.default_rng([seed, 201, index])
        frog, single, side, wide = float(one.random()), float(one.random()), float(one.random()), float(one.normal())
        film = pelvis(
            film_seed(seed, index),
            left=str(labels[index, 0]),
            right=str(labels[index, 1]),
            view="frog_leg" if frog < frog_leg_rate else "ap",
            missing=None if single >= single_rate else ("left" if side < 0.5 else "right"),
            stretch=float(np.clip(np.exp(0.13 * wide), 0.75, 1.33)) if stretched else 1.0,
            size=size,
        )
        name = f"simulated_{index:05d}.png"
        files.append(folder / "images" / name)
        files[-1].write_bytes(png_bytes(film.to_film(), png_bits))
        coco["images"].append(
            {
                "id": index,
                "file_name": name,
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
        )
        rows = hip_annotations(film, index, len(coco["annotations"]))
        coco["annotations"] += rows
        fractured += any(row["hip_class"] in _FRACTURES for row in rows)
        if progress is not None:
            progress(index + 1, n)
    annotations = folder / "annotations.json"
    write_json(annotations, coco)
    return Summary(folder, annotations, tuple(files), n, fractured, len(coco["annotations"]))


def _checked(
    folder: Path, n: int, seed: int, mix: Mapping[str, float] | None, rates: Mapping[str, float], bits: int
) -> Mapping[str, float]:
    """The mix, after all settings are found to be possible."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigurationError("a data set needs at least one film", got=n, allowed="an integer of 1 or more")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError("a seed is a non-negative integer", got=repr(seed))
    odds = dict(HIP_MIX if mix is None else mix)
    for name, share in odds.items():
        if name not in HIP_CLASSES:
            raise ConfigurationError("unknown class of hip", got=repr(name), allowed=HIP_CLASSES)
        if not 0.0 <= share < np.inf:
            raise ConfigurationError(f"the frequency of {name} is a number of 0 or more", got=share)
    if sum(odds.values()) <= 0.0:
        raise ConfigurationError("no class of hip to draw", got=odds, hint="give at least one class a frequency")
    for name, rate in rates.items():
        if not 0.0 <= rate <= 1.0:
            raise ConfigurationError(f"the share of {name} films is a number from 0 to 1", got=rate)
    if bits not in (8, 16):
        raise ConfigurationError("a gray PNG has 8 or 16 bits here", got=bits, allowed=(8, 16))
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("the films need a folder, and this is a file", got=str(folder))
    if (folder / "annotations.json").exists():
        raise ConfigurationError(
            "the folder already holds annotations.json", got=str(folder), hint="choose another folder or empty it"
        )
    return odds


def _shares(odds: Mapping[str, float], count: int) -> list[str]:
    """``count`` class names, each class rounded down, the rest to the largest remainders."""
    total = sum(odds.values())
    exact = {name: count * share / total for name, share in odds.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda k: counts[k] - exact[k])[: count - sum(counts.values())]:
        counts[name] += 1
    return [name for name, many in counts.items() for _ in range(many)]


def _header() -> dict[str, Any]:
    return {
        "info": {
            "description": f"Pelvic radiographs simulated by fracture.simulate {__version__}: no patients; one box per "
            "proximal femur",
        },
        "licenses": [{"id": 1, "name": "Apache-2.0"}],
        "categories": [{"id": number, "name": f"{side}_hip"} for side, number in _CATEGORIES.items()],
        "images": [],
        "annotations": [],
    }


def hip_annotations(film: SimulatedPelvis, image: int, first: int) -> list[dict[str, Any]]:
    """The annotation records of a film's hips; their ids follow ``first``."""
    rows = []
    for number, hip in enumerate(film.hips):
        hardware = hip.label in ("internal_fixation", "arthroplasty")
        row: dict[str, Any] = {
            "id": first + number + 1,
            "image_id": image,
            "category_id": _CATEGORIES[hip.side],
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
