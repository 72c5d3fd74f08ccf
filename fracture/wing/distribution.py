"""Where the features of real films lie: a Gaussian of few directions and one width for all others.

The model is probabilistic principal component analysis (Tipping and Bishop 1999, equations 7 and 8): covariance
``axes' diag(variances - rest) axes + rest I``. It is the shrinkage that a few hundred films allow for a few hundred
features, and unlike a distance within the leading directions alone it sees a picture that leaves them, which is what
photographs and slices do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import DataError, WeightsIntegrityError

DIRECTIONS = 32
"""How many leading directions have a variance of their own (our choice: 16, 32 and 64 did nearly alike)."""

_NAMES = ("mean", "axes", "variances", "rest")


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDistribution:
    """A Gaussian in feature space.

    Attributes:
        mean: float32, (D,).
        axes: float32, (K, D), orthonormal rows, the leading directions; K < D.
        variances: float32, (K,), along them, above 0.
        rest: Variance along every other direction, above 0.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float

    def distance(self, features: ArrayLike) -> NDArray[np.float64]:
        """Mahalanobis distance over the root of D: near 1 for a typical film.

        Args:
            features: (n, D).

        Returns:
            float64, (n,), at least 0.
        """
        offset = np.asarray(features, np.float64) - self.mean
        along = offset @ self.axes.T.astype(np.float64)
        within = (along**2 / self.variances).sum(axis=1)
        left = np.maximum((offset**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)  # rounding
        distance: NDArray[np.float64] = np.sqrt((within + left / self.rest) / self.mean.size)
        return distance

    @classmethod
    def fit(cls, features: ArrayLike, *, directions: int = DIRECTIONS) -> FeatureDistribution:
        """The maximum likelihood estimate.

        Args:
            features: (n, D) of n films.
            directions: K; fewer where n or D are small.

        Raises:
            DataError: Too few films, or features that are not finite or do not vary.
        """
        rows = np.asarray(features, np.float64)
        count, size = rows.shape
        kept = min(directions, size - 1, count - 2)
        if kept < 1 or not np.isfinite(rows).all():
            raise DataError("a distribution of features needs several films with finite features", got=rows.shape)
        mean = rows.mean(axis=0)
        _, singular, axes = np.linalg.svd(rows - mean, full_matrices=False)
        variances = singular**2 / (count - 1)
        rest = float(variances[kept:].sum()) / (size - kept)
        if not rest > 0:
            raise DataError("the films' features do not vary in enough directions", got=f"{count} films")
        single = np.float32
        return cls(mean.astype(single), axes[:kept].astype(single), variances[:kept].astype(single), rest)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The content of its safetensors file."""
        return {
            "mean": self.mean,
            "axes": np.ascontiguousarray(self.axes),
            "variances": self.variances,
            "rest": np.array([self.rest], np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], *, size: int, source: str) -> FeatureDistribution:
        """The inverse of :meth:`tensors`.

        Args:
            tensors: By name, anything numpy can take.
            size: D of the member's features.
            source: How errors call the file.

        Raises:
            WeightsIntegrityError: Names, shapes or values that are no such distribution.
        """
        given = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
        if sorted(given) != sorted(_NAMES):
            raise WeightsIntegrityError(
                f"{source} holds other tensors than an input check's", got=", ".join(sorted(given)), allowed=_NAMES
            )
        mean, axes, variances, rest = (given[name] for name in _NAMES)
        count = variances.size
        shapes = {"mean": (size,), "axes": (count, size), "variances": (count,), "rest": (1,)}
        if wrong := {name: given[name].shape for name in _NAMES if given[name].shape != shapes[name]}:
            raise WeightsIntegrityError(
                f"{source} does not fit the member whose features it describes", got=wrong, allowed=str(shapes)
            )
        if not all(np.isfinite(given[name]).all() for name in _NAMES) or min(variances.min(), rest[0]) <= 0:
            raise WeightsIntegrityError(f"{source}: the distribution is not finite, or a variance is not above 0")
        return cls(mean, axes, variances, float(rest[0]))
