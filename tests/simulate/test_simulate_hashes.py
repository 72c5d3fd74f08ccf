"""Pixels and labels of sample films, bit for bit: ``hip-small`` and the examples were drawn by exactly these.

``python tests/simulate/test_simulate_hashes.py`` writes the hashes anew; a change of one is a change of films that were
trained and measured on, and belongs into the CHANGELOG.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fracture.simulate import KINDS, REGIONS, VARIANTS, SimulatedFilm, SimulatedFracture, pelvis, radiograph

PINNED = Path(__file__).with_name("film_hashes.json")
SMALL = (112, 100)

LIMBS = {
    f"{region} {view} {seed}": {"seed": seed, "region": region, "view": view, "fractured": bool(seed % 2)}
    for region, projection in REGIONS.items()
    for view in projection.views
    for seed in (4, 7)
} | {f"{kind}": {"seed": 30 + k, "fracture_type": kind} for k, kind in enumerate(KINDS)}

PELVES = {
    f"pelvis {variant}": {"seed": k, "left": variant, "right": variant}
    for k, variant in enumerate(v for group in VARIANTS.values() for v in group)
} | {
    "pelvis as drawn": {"seed": 21},
    "frog leg": {"seed": 3, "view": "frog_leg"},
    "left missing": {"seed": 5, "missing": "left", "stretch": 1.2},
    "right missing": {"seed": 6, "missing": "right", "stretch": 0.8},
}


def fracture_label(found: SimulatedFracture | None) -> object:
    return found and [found.box, found.kind, found.displaced, found.bone, found.polygon.tolist()]


def limb_hash(film: SimulatedFilm) -> str:
    masks = b"".join(f.mask.tobytes() for f in film.fractures)
    facts = [film.view, film.laterality, film.spacing, film.orientation, [fracture_label(f) for f in film.fractures]]
    return hashlib.sha256(film.pixels.tobytes() + masks + json.dumps(facts).encode()).hexdigest()


def pelvis_hash(**settings: object) -> str:
    film = pelvis(size=(128, 120), **settings)  # type: ignore[arg-type]
    masks = b"".join(h.mask.tobytes() + h.metal.tobytes() for h in film.hips)
    hips = [[h.side, h.label, h.variant, h.box, h.visible, fracture_label(h.fracture)] for h in film.hips]
    facts = [film.view, film.spacing, film.sex, film.age, film.tilt, hips]
    return hashlib.sha256(film.pixels.tobytes() + masks + json.dumps(facts).encode()).hexdigest()


def arithmetic_hash() -> str:
    """How this machine, NumPy and OpenCV round: films of another one may differ in a last bit."""
    x = np.linspace(0.01, 7.0, 4096, dtype=np.float32).reshape(64, 64)
    planes = [np.exp(-x), np.log(x), np.sin(x), np.sqrt(x), np.arctan2(x, 1.0 + x.T), np.hypot(x, x.T)]
    planes += [cv2.GaussianBlur(planes[0], (0, 0), 1.3), cv2.remap(planes[1], x, x.T.copy(), cv2.INTER_CUBIC)]
    planes += [cv2.resize(planes[0], (50, 90), interpolation=way) for way in (cv2.INTER_CUBIC, cv2.INTER_LINEAR)]
    planes += [np.random.default_rng(1).standard_normal(64).astype(np.float32)]
    wide = [np.exp(-x.astype(np.float64)), np.cos(x.astype(np.float64)), np.linalg.inv(np.eye(4) + 0.1 * x[:4, :4])]
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in (*planes, *wide))).hexdigest()


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    hashes: dict[str, str] = json.loads(PINNED.read_text(encoding="utf-8"))
    if hashes["arithmetic"] != arithmetic_hash():
        pytest.skip("NumPy or OpenCV round differently here than where the hashes were taken")
    return hashes


def test_all_sample_films_are_pinned() -> None:
    assert set(json.loads(PINNED.read_text(encoding="utf-8"))) == {"arithmetic", *LIMBS, *PELVES}


@pytest.mark.parametrize("name", LIMBS)
def test_limb_films_stay(name: str, pinned: dict[str, str]) -> None:
    assert limb_hash(radiograph(size=SMALL, **LIMBS[name])) == pinned[name]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PELVES)
def test_pelvic_films_stay(name: str, pinned: dict[str, str]) -> None:
    assert pelvis_hash(**PELVES[name]) == pinned[name]


if __name__ == "__main__":
    hashes = {"arithmetic": arithmetic_hash()}
    hashes |= {name: limb_hash(radiograph(size=SMALL, **given)) for name, given in LIMBS.items()}  # type: ignore[arg-type]
    hashes |= {name: pelvis_hash(**given) for name, given in PELVES.items()}
    PINNED.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
