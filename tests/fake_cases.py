"""Films and what networks would have said about them, without networks: for tests of calibration."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from fracture.calibration.cases import Case
from fracture.data.records import AnnotatedSet, Film
from fracture.io.radiograph import Radiograph
from fracture.limb.card import Card
from fracture.limb.detector import Examined
from fracture.limb.ensemble import Ensemble, EnsembleOutput
from tests.weights import operating_points

SIZE = 64  # source pixels, with a map of 8 x 8 cells
NO_ENSEMBLE = cast("Ensemble", None)  # judging runs no network


def fake_films(n: int, *, per_group: int = 3, every: int = 3) -> AnnotatedSet:
    """Films in groups, two regions; every third is fractured, with one box."""
    films = tuple(
        Film(
            source=f"{k:03d}.png",
            width=SIZE,
            height=SIZE,
            fractured=int(k % every == 0),
            regions=("fracatlas_hand",) if k % 2 else ("fracatlas_leg",),
            boxes=((16.0, 16.0, 32.0, 32.0),) if k % every == 0 else (),
            group=str(k // per_group),
        )
        for k in range(n)
    )
    return AnnotatedSet(films, "fake", Path("/nowhere"))


def fake_logit(film: Film, member: str, *, salt: str = "") -> float:
    """Higher where the source says every third film is fractured, whatever the label; each member has a scale."""
    rng = np.random.default_rng(zlib.crc32(f"{film.source} {member} {salt}".encode()))
    scale = 1.0 + zlib.crc32(member.encode()) % 5 / 4
    return float(scale * (2.0 * (int(film.source[:3]) % 3 == 0) - 1.5 + rng.normal()))


def fake_case(film: Film, logits: Mapping[str, float], card: Card | None = None) -> Case:
    """A case whose map glows more or less where every third film has its box."""
    rng = np.random.default_rng(zlib.crc32(film.source.encode()))
    probability_map = rng.uniform(0.0, 0.1, (8, 8)).astype(np.float32)
    probability_map[2:4, 2:4] += np.float32(0.5 * rng.uniform() * (int(film.source[:3]) % 3 == 0))
    output = EnsembleOutput(0.0, 0.0, {}, probability_map, (8.0, 8.0, 0.0, 0.0), {}, dict(logits))
    known = {} if card is None else {Path(member.file).stem: member.calibration for member in card.members}
    pixels = np.broadcast_to(np.float32(0.0), (SIZE, SIZE))
    radiograph = Radiograph(pixels, source=film.source, regions=film.regions, region_source="caller")
    return Case(film, Examined(radiograph, output.recalibrated(known), 0.0), film.regions)


def fake_cases(annotated: Sequence[Film] | AnnotatedSet, members: Sequence[str], *, salt: str = "") -> tuple[Case, ...]:
    """Cases of all films, each judged by all members."""
    return tuple(fake_case(film, {m: fake_logit(film, m, salt=salt) for m in members}) for film in annotated)


def fake_card(members: Sequence[str], **more: Any) -> Card:
    """A card without tensors."""
    from fracture.limb.boxes import BoxParameters
    from fracture.limb.card import MemberCard
    from fracture.models import ModelSpec
    from fracture.preprocess import PreprocessSpec

    values: dict[str, Any] = {
        "name": "fake",
        "version": "1",
        "created": "2026-01-01",
        "description": "",
        "license": "none",
        "attribution": (),
        "intended_use": "tests",
        "limitations": (),
        "members": tuple(
            MemberCard(
                file=f"{name}.safetensors",
                sha256="0" * 64,
                model=ModelSpec().to_dict(),
                preprocess=PreprocessSpec().to_dict(),
            )
            for name in members
        ),
        "operating_points": operating_points({"any": (0.1, 0.9)}).to_dict(),
        "boxes": BoxParameters().to_dict(),
        **more,
    }
    return Card(**values)
