"""Small random weights for tests of everything around the networks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from fracture.limb.boxes import BoxParameters
from fracture.limb.card import Calibration, Card, MemberCard
from fracture.limb.operating_points import OperatingPoint, OperatingPoints, RegionThresholds
from fracture.models import ModelSpec, build_model
from fracture.models.persistence import state_for_saving
from fracture.preprocess import PreprocessSpec
from fracture.spine.cervical.card import CervicalCard
from fracture.spine.cervical.networks import build_fractures, build_levels
from fracture.spine.cervical.spec import FractureSpec, LevelSpec

REGIONS = ("fracatlas_hand", "fracatlas_leg", "fracatlas_hip", "fracatlas_shoulder")


def point(name: str, node: str, threshold: float) -> OperatingPoint:
    sensitive = name == "high_sensitivity"
    return OperatingPoint(
        name=name,
        node=node,
        threshold=threshold,
        target=0.925 if sensitive else 0.95,
        target_kind="sensitivity" if sensitive else "specificity",
        method="empirical",
        n_positive=50,
        n_negative=200,
    )


def operating_points(thresholds: dict[str, tuple[float, float]]) -> OperatingPoints:
    return OperatingPoints(
        {
            node: RegionThresholds(
                high_sensitivity=point("high_sensitivity", node, low),
                high_specificity=point("high_specificity", node, high),
                map_threshold=0.5,
            )
            for node, (low, high) in thresholds.items()
        }
    )


def write_weights(
    folder: Path,
    *,
    sizes: tuple[int, ...] = (128, 128),
    channels: tuple[tuple[str, ...], ...] = (("raw",), ("raw", "lcn")),
    maps: tuple[bool, ...] = (True, True),
    regions: tuple[str, ...] = REGIONS,
    thresholds: dict[str, tuple[float, float]] | None = None,
    calibration: Calibration | None = None,
    pyramid: bool = False,
    **card: Any,
) -> Card:
    """A folder of random members with a card; the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for index, (size, planes, has_map) in enumerate(zip(sizes, channels, maps, strict=True)):
        spec = ModelSpec(
            backbone="resnet18",
            stages=2,
            output_stride=8,
            inputs=planes,
            map=has_map,
            regions=regions,
            pyramid=pyramid,
        )
        preprocess = PreprocessSpec(size=size, shape="stride", enlarge=False, channels=planes)
        path = folder / f"member_{index}.safetensors"
        safetensors.torch.save_file(state_for_saving(build_model(spec, seed=index)), path)
        members.append(
            MemberCard(
                file=path.name,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                model=spec.to_dict(),
                preprocess=preprocess.to_dict(),
                calibration=calibration,
            )
        )
    points = operating_points(thresholds or {"any": (0.0, 0.9), "fracatlas_hand": (0.01, 0.95)})
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "0",
        "created": "2026-01-01",
        "description": "random numbers for tests",
        "license": "none",
        "attribution": (),
        "intended_use": "tests",
        "limitations": (),
        "members": tuple(members),
        "operating_points": points.to_dict(),
        "boxes": BoxParameters(min_area_px=0.0).to_dict(),
        **card,
    }
    made = Card(**values)
    made.write(folder)
    return made


def write_cervical(folder: Path, *, level: float = 0.5, patient: float = 0.5) -> CervicalCard:
    """A folder of random networks of the neck with a card; thresholds of a level and of the patient."""
    folder.mkdir(parents=True, exist_ok=True)
    finder, judge = LevelSpec(widths=(4, 4, 4, 4)), FractureSpec(widths=(4, 4, 4), hidden=4)
    torch.manual_seed(0)
    networks = {"levels": build_levels(finder), "fractures": build_fractures(judge)}
    files = {}
    for name, network in networks.items():
        path = folder / f"{name}.safetensors"
        safetensors.torch.save_file(state_for_saving(network), path)
        files[name] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    made = CervicalCard(
        name="tiny-neck",
        version="0",
        created="2026-01-01",
        description="random numbers for tests",
        license="none",
        attribution=(),
        intended_use="tests",
        limitations=(),
        finder={**files["levels"], "model": finder},
        judge={**files["fractures"], "model": judge},
        thresholds={"level": level, "patient": patient},
    )
    made.write(folder)
    return made
