"""Learned attention over the films of a study: a rule that somebody fitted to studies of theirs.

Auto-pool (McFee, Salamon and Bello 2018, IEEE/ACM TASLP 26:2180), on the log odds z of the films' suspicions: a film
weighs ``softmax(sharpness * z)``, the study's log odds are the weighted mean minus an offset. Sharpness 0 is
``"mean"``, a large one ``"or"``, a large negative one ``"and"``; one number is learned, since sites have dozens of
studies, not thousands. The offset is that at which the wanted share of the fractured studies is called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fracture.atomic import write_json
from fracture.errors import ConfigurationError, DataError
from fracture.limb.operating_points import find_threshold
from fracture.schema import Record, read_json

FEWEST = 13
"""Studies of either kind that a fit needs: as many as a guarantee at 92.5 % would (our choice)."""

_GRID = np.linspace(-4.0, 4.0, 81)  # sharpness per unit of log odds; beyond, it is a maximum or a minimum (ours)
_LIMIT = 1e-9
_LARGEST = 10_000


@dataclass(frozen=True)
class Attention(Record):
    """A fitted rule; ``rule=`` of :meth:`fracture.Detector.predict_study`.

    Attributes:
        sharpness: By how much the more suspicious film weighs more, per unit of log odds.
        offset: Log odds at which a study is called fractured, before they are shifted to 0.
        studies: How many it was fitted to.
        fractured: How many of them were fractured.
        target: Share of the fractured ones that is called so at the offset.
        weights_checksum: Of the weights whose suspicions these were; others are refused. ``""`` takes any.
    """

    VERSION: ClassVar[int | None] = 1

    sharpness: Annotated[float, Field(ge=-4, le=4)]
    offset: float
    studies: Annotated[int, Field(ge=1)] = 1
    fractured: Annotated[int, Field(ge=0)] = 0
    target: Annotated[float, Field(gt=0, le=1)] = 0.925
    weights_checksum: str = ""

    @classmethod
    def read(cls, path: str | Path) -> Attention:
        """The rule in a file that :meth:`write` wrote.

        Raises:
            ConfigurationError: There is none, or it is not of this kind.
        """
        return cls.from_dict(read_json(Path(path), limit=_LARGEST, error=ConfigurationError))

    def write(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            OutputError: It cannot be written.
        """
        write_json(Path(path), self.to_dict())

    def weights(self, suspicions: Sequence[float]) -> NDArray[np.float64]:
        """How much each film counts, float64 (films,), of sum 1; ``suspicions`` are in [0, 1]."""
        return _attended(_log_odds(suspicions), self.sharpness)

    def fused(self, suspicions: Sequence[float]) -> float:
        """The study's suspicion in [0, 1], 0.5 at the threshold, from those of its films."""
        odds = _log_odds(suspicions)
        return float(1 / (1 + np.exp(self.offset - _attended(odds, self.sharpness) @ odds)))

    def check_weights(self, checksums: Sequence[str | None]) -> None:
        """Refuse films that other weights judged.

        Raises:
            ConfigurationError: ``checksums`` of the films' weights hold another than the rule's.
        """
        if self.weights_checksum and any(one != self.weights_checksum for one in checksums):
            raise ConfigurationError(
                "the learned rule for studies was fitted to results of other weights",
                got=", ".join(sorted({str(one)[:12] for one in checksums})),
                allowed=self.weights_checksum[:12],
                hint="fit it again with `fracture adapt-studies`",
            )


def fit_attention(
    studies: Sequence[Sequence[float]],
    labels: Sequence[bool | int],
    *,
    target: float = 0.925,
    weights_checksum: str = "",
) -> Attention:
    """Fit sharpness and offset to studies.

    The sharpness is the likeliest one of a logistic regression on the pooled log odds, under a normal prior of mean 0
    and deviation 1 (ours), so that few studies stay near ``"mean"``.

    Args:
        studies: The suspicions of each study's films, in [0, 1].
        labels: Whether each study is fractured.
        target: Share of the fractured studies to be called so; the empirical rule of ``fracture calibrate``.
        weights_checksum: Of the weights that judged the films.

    Raises:
        DataError: Fewer than 13 studies of either kind with several films, or lengths that differ.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.asarray(labels, dtype=bool)
    several = np.array([len(one) > 1 for one in studies], dtype=bool)
    if len(studies) != truth.size:
        raise DataError("studies and labels differ in number", got=f"{len(studies)} and {truth.size}")
    counts = [int((several & (truth == kind)).sum()) for kind in (True, False)]
    if min(counts) < FEWEST:
        raise DataError(
            "too few studies of several films to learn how to fuse them",
            got=f"{counts[0]} fractured, {counts[1]} normal",
            allowed=f"{FEWEST} of each",
            hint="rule='mean' needs none",
        )
    odds = [_log_odds(one) for one in studies]

    def pooled(sharpness: float) -> NDArray[np.float64]:
        return np.array([_attended(one, sharpness) @ one for one in odds])

    def likelihood(sharpness: float) -> float:
        column = pooled(sharpness)[:, None]
        told = LogisticRegression(C=100.0).fit(column, truth).predict_log_proba(column)
        return float(np.where(truth, told[:, 1], told[:, 0]).sum() - sharpness**2 / 2)

    best = float(max(_GRID, key=likelihood))
    offset: Any = find_threshold(pooled(best), truth, target=target)
    return Attention(best, float(offset), truth.size, int(truth.sum()), target, weights_checksum)


def _log_odds(suspicions: Sequence[float]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(suspicions, dtype=np.float64), _LIMIT, 1 - _LIMIT)
    return np.log(clipped / (1 - clipped))


def _attended(odds: NDArray[np.float64], sharpness: float) -> NDArray[np.float64]:
    weights = np.exp(sharpness * odds - (sharpness * odds).max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)
