"""The checks that every statistic makes on its input, once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.errors import EvaluationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def as_scores(values: ArrayLike, name: str = "scores", *, unit_interval: bool = False) -> FloatArray:
    """One finite score per film.

    Args:
        values: Anything that NumPy reads as a vector of numbers.
        name: What to call it in an error.
        unit_interval: Also require probabilities in [0, 1].

    Returns:
        float64, shape (n,).

    Raises:
        EvaluationError: Not a vector, empty, NaN or infinite, or outside [0, 1] where that is required.
    """
    array = _vector(values, name)
    if array.dtype.kind not in "fiub":
        raise EvaluationError(f"{name} must be numbers", got=array.dtype, hint="convert them to floats first")
    scores = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise EvaluationError(
            f"{name} must be finite: {bad.size} of {scores.size} are NaN or infinite",
            got=f"{scores[bad[0]]} at position {bad[0]}",
            hint="leave films without a score out, or say what a missing score means",
        )
    if unit_interval and (scores.min() < 0.0 or scores.max() > 1.0):
        raise EvaluationError(
            f"{name} must be probabilities",
            got=f"{scores.min():g} .. {scores.max():g}",
            allowed="[0, 1]",
            hint="map logits through a sigmoid or calibrate them first",
        )
    return scores


def as_binary(values: ArrayLike, name: str = "labels") -> BoolArray:
    """One yes or no per film: booleans, or the numbers 0 and 1.

    Returns:
        bool, shape (n,).

    Raises:
        EvaluationError: Not a vector, empty, or values other than 0 and 1.
    """
    array = _vector(values, name)
    if array.dtype.kind == "b":
        return array.astype(np.bool_)
    if array.dtype.kind not in "iuf" or not bool(np.isin(array, (0, 1)).all()):
        wrong: Any = array.dtype
        if array.dtype.kind in "iuf":
            wrong = array[~np.isin(array, (0, 1))][0]
        raise EvaluationError(f"{name} must be 0 or 1", got=wrong, allowed=(0, 1))
    return array.astype(np.bool_)


def as_groups(values: ArrayLike | None, n: int) -> IntArray:
    """Clusters of films (patient, study, ID block) as numbers 0 .. G-1, in order of first appearance.

    Args:
        values: One hashable label per film (numbers or strings), or ``None``: every film is its own cluster.
        n: Number of films.

    Returns:
        int64, shape (n,).

    Raises:
        EvaluationError: Not a vector of length ``n``, or a missing label (NaN).
    """
    if values is None:
        return np.arange(n, dtype=np.int64)
    array = _vector(values, "groups")
    if array.size != n:
        raise EvaluationError("groups need one entry per film", got=array.size, allowed=n)
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        raise EvaluationError("groups hold NaN", hint="give every film a group, or leave groups out")
    _, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(first.size)
    numbered: IntArray = rank[inverse]
    return numbered


def as_weights(weights: ArrayLike, n: int) -> NDArray[Any]:
    """Resampling weights of shape (b, n): row = one resample, column = one film; a vector becomes one row.

    Raises:
        EvaluationError: The number of columns is not the number of films.
    """
    array = np.atleast_2d(np.asarray(weights))
    if array.ndim != 2 or array.shape[1] != n:
        raise EvaluationError("weights need one column per film", got=array.shape, allowed=f"(resamples, {n})")
    return array


def as_level(level: float) -> float:
    """A confidence level strictly between 0 and 1.

    Raises:
        EvaluationError: It is not.
    """
    if not 0.0 < level < 1.0:
        raise EvaluationError("a confidence level lies between 0 and 1", got=level, hint="0.95 is usual")
    return float(level)


def paired(first: NDArray[Any], second: NDArray[Any], names: str = "labels and scores") -> None:
    """Require two vectors of the same length.

    Raises:
        EvaluationError: The lengths differ.
    """
    if first.shape != second.shape:
        raise EvaluationError(f"{names} must have the same length", got=f"{first.size} and {second.size}")


def labeled(
    labels: ArrayLike, scores: ArrayLike, name: str = "scores", *, unit_interval: bool = False
) -> tuple[BoolArray, FloatArray]:
    """Labels and scores of the same films, checked by ``as_binary``, ``as_scores`` and ``paired``.

    Raises:
        EvaluationError: As these do.
    """
    truth, score = as_binary(labels), as_scores(scores, name, unit_interval=unit_interval)
    paired(truth, score)
    return truth, score


def _vector(values: ArrayLike, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1:
        raise EvaluationError(f"{name} must be a vector", got=f"shape {array.shape}", allowed="shape (films,)")
    if array.size == 0:
        raise EvaluationError(f"{name} are empty: there is no film to judge", hint="check the filter or the file")
    return array
