"""From a joint's crop to its damage: ordered levels, their expected value and spread.

One small network for each kind of damage and each family of joints (fingers, wrist, forefoot). What they learned are
lesions that were painted into real films; nothing is known of how they do on patients with rheumatoid arthritis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fracture.digits import Points, unit_length
from fracture.evaluation.stats.record import Record
from fracture.joints.card import ScoreSpec
from fracture.joints.frames import CROP_SIZE, joint_place
from fracture.joints.layout import COLUMNS, DAMAGES, Damage, Family, Kind, columns_of
from fracture.models.backbone import Untrained
from fracture.models.ordered_levels import LocatedLevels, OrderedLevels, expected
from fracture.preprocess.similarity import Similarity, crop_at
from fracture.wing.runner import Runner

SPANS: Final[Mapping[Family, float]] = {"finger": 0.42, "wrist": 0.36, "forefoot": 0.55}
"""Side of a crop as a share of the limb's unit length: about 3 cm, which at 224 pixels is a film's own resolution."""


def points_of(family: str, *damages: Damage) -> set[str]:
    """The points at which a family's networks read a column, of these damages alone where any is named."""
    return {c.point for c in COLUMNS if c.family == family and c.damage in (damages or DAMAGES)}


@dataclass(frozen=True, slots=True)
class Score(Record):
    """A joint's damage.

    Attributes:
        value: Expected value over the levels, fractional.
        spread: Standard deviation over the levels, as the network sees it; it knows painted lesions only.
    """

    value: float
    spread: float

    def rounded(self, near_zero: float = 0.0) -> int:
        """The whole score; values up to ``near_zero`` are 0 (0.3 by team Alpine Lads)."""
        return 0 if self.value <= near_zero else math.floor(self.value + 0.5)


class ScoreNetworks(Untrained):
    """A family's network for narrowing and its network for erosion, side by side; they share nothing but the input."""

    def __init__(self, spec: ScoreSpec) -> None:
        super().__init__()
        self.spec = spec
        kind = LocatedLevels if spec.located else OrderedLevels
        self.damages = nn.ModuleDict({damage: kind(spec.width, spec.levels(damage)) for damage in DAMAGES})

    def forward(self, planes: Tensor) -> dict[str, Tensor]:
        """Logits (B, levels) of a score of at least 1, 2, ..., by damage; of crops of :func:`place_of`, standardized,
        (B, 1, 224, 224)."""
        return {damage: network(planes) for damage, network in self.damages.items()}


def place_of(points: Points, name: str, family: Family) -> Similarity:
    """The crop of a joint that the networks see, of one size whatever the film's resolution; raises as joint_place."""
    return joint_place(points, name, CROP_SIZE / (SPANS[family] * unit_length(points)))


def score_joints(
    networks: Mapping[str, Runner], pixels: NDArray[np.float32], points: Points, kind: Kind
) -> dict[str, Score]:
    """Scores of one hand or forefoot.

    Args:
        networks: By family; columns of families without one are left out.
        pixels: float32 (height, width) in [0, 1], square pixels.
        points: By name, in source pixels; columns whose point is missing are left out.
        kind: Which limb.

    Returns:
        By the column's name without prefix, as ``"mcp_J__2"``, in the challenge's order.
    """
    found: dict[str, Score] = {}
    for family, runner in networks.items():
        columns = [c for c in columns_of(kind) if c.family == family and c.point in points]
        names = sorted({column.point for column in columns})
        if not names:
            continue
        crops = [crop_at(pixels, place_of(points, name, columns[0].family)) for name in names]
        planes = np.stack([crop.standardized()[None] for crop in crops])
        given = {damage: expected(logits) for damage, logits in runner.run({"planes": planes}).items()}
        for column in columns:
            value, spread = (float(told[names.index(column.point)]) for told in given[column.damage])
            found[column.name] = Score(value, spread)
    return {column.name: found[column.name] for column in columns_of(kind) if column.name in found}
