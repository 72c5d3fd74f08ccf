"""Platt scaling of each member's logit and best box, fitted on films that the member was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.calibration.cases import Case
from fracture.errors import DataError
from fracture.limb.card import Calibration, Card, MemberCard

_TOLERANCE = 1e-12  # of the gradient


def fit_platt(
    logits: ArrayLike, labels: ArrayLike, *, peaks: ArrayLike | None = None, name: str = "the member"
) -> Calibration:
    """The sigmoid of slope * logit + peak * best + intercept with the highest likelihood, without a penalty.

    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2: a fractured film's target is
    (N+ + 1) / (N+ + 2) and a normal one's 1 / (N- + 2), so that the optimum is finite even where the logits part the
    classes. Found by scikit-learn's Newton method on standardized logits: the likelihood is strictly concave, so the
    scale of the logits and the order of the films make no difference. That a member's best box counts beside its
    logit is ours; a weight that would be negative is 0, and the other is fitted alone.

    The calibrated score is a probability at the prevalence of the films it was fitted on.

    Args:
        logits: Finite, shape (n,), as the member gives them.
        labels: Bool or 0/1, shape (n,): 1 where a fracture is present.
        peaks: Finite, shape (n,): the logit of the highest quality of a box, where the member tells boxes.
        name: What the error calls the member.

    Raises:
        DataError: Logits that are not finite or all equal, films of one class only, or logits that are not higher
            on fractured films (a slope that is not positive would turn the member's opinion around).
    """
    opinions = {"slope": np.asarray(logits, dtype=np.float64)}
    if peaks is not None:
        opinions["peak"] = np.asarray(peaks, dtype=np.float64)
    present: NDArray[np.bool_] = np.asarray(labels).astype(np.bool_)
    _check_fittable(opinions, present, name)
    told = {key: z for key, z in opinions.items() if _varies(z)}
    found = _most_likely(told, present)
    if len(told) == 2 and min(found.weights.values()) <= 0:
        alone = [_most_likely({key: z}, present) for key, z in told.items()]
        found = max(alone, key=lambda one: (min(one.weights.values()) > 0, one.likelihood))
    if not min(found.weights.values()) > 0:
        positives = int(present.sum())
        raise DataError(
            f"{name} cannot be calibrated: its scores are not higher on fractured films",
            got=f"slope {min(found.weights.values()):.4g} on {positives} fractured and "
            f"{present.size - positives} other films",
            allowed="a positive slope",
            hint="leave the member out, calibrate on more films, or do without the members' calibration",
        )
    return Calibration(**{"slope": 0.0, **found.weights}, intercept=found.intercept)


class _Optimum(NamedTuple):
    """Weights of the opinions by their name in :class:`Calibration`, and the mean log-likelihood that they reach."""

    weights: dict[str, float]
    intercept: float
    likelihood: float


def _check_fittable(opinions: Mapping[str, NDArray[np.float64]], present: NDArray[np.bool_], name: str) -> None:
    """Refuse what has no optimum."""
    positives = int(present.sum())
    negatives = present.size - positives
    for z in opinions.values():
        if not np.isfinite(z).all():
            raise DataError(f"{name}: logits must be finite", got=f"{int((~np.isfinite(z)).sum())} that are not")
    if not positives or not negatives:
        raise DataError(
            f"{name} cannot be calibrated on films of one class",
            got=f"{positives} fractured, {negatives} without a fracture",
            hint="calibrate on more films, or with fewer folds, or without the members' calibration",
        )
    if not any(_varies(z) for z in opinions.values()):
        first = float(opinions["slope"][0])
        raise DataError(f"{name} gives all {present.size} films the same score", got=first, hint="leave it out")


def _varies(z: NDArray[np.float64]) -> bool:
    return bool(z.std() > 1e-9 * max(1.0, float(np.abs(z).max())))


def _most_likely(opinions: Mapping[str, NDArray[np.float64]], present: NDArray[np.bool_]) -> _Optimum:
    """The optimum of the likelihood of the smoothed targets, whatever the signs of the weights."""
    from sklearn.linear_model import LogisticRegression

    z = np.stack(list(opinions.values()), axis=1)
    center, spread = z.mean(axis=0), z.std(axis=0)
    positives = int(present.sum())
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (present.size - positives + 2))
    # A target between 0 and 1 is a film that counts for both classes, by its shares.
    both, weights = np.tile((z - center) / spread, (2, 1)), np.concatenate([target, 1 - target])
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=_TOLERANCE)
    fitted.fit(both, np.repeat([1, 0], present.size), sample_weight=weights)
    slopes = fitted.coef_[0] / spread
    intercept = float(fitted.intercept_[0] - slopes @ center)
    s = z @ slopes + intercept
    likelihood = -float(np.mean(np.logaddexp(0.0, s) - target * s))
    return _Optimum(dict(zip(opinions, map(float, slopes), strict=True)), intercept, likelihood)


def fit_members(cases: Sequence[Case]) -> dict[str, Calibration]:
    """A calibrator for every member that judged any of the cases, by name, on the cases that it judged.

    Raises:
        DataError: As for :func:`fit_platt`.
    """
    outputs = [case.examined.output for case in cases]
    fitted = {}
    for name in dict.fromkeys(name for output in outputs for name in output.member_logits):
        own = [i for i, output in enumerate(outputs) if name in output.member_logits]
        labels = [cases[i].film.fractured for i in own]
        logits = [outputs[i].member_logits[name] for i in own]
        peaks = [outputs[i].member_peaks[name] for i in own] if name in outputs[own[0]].member_peaks else None
        fitted[name] = fit_platt(logits, labels, peaks=peaks, name=f"member {name}")
    return fitted


def member_name(member: MemberCard) -> str:
    """What the ensemble calls a member: the stem of its file."""
    return PurePosixPath(member.file).stem


def with_calibrators(card: Card, calibrators: Mapping[str, Calibration | None]) -> Card:
    """The card with the calibrators of the members that are named; the others keep theirs."""
    members = tuple(
        member.model_copy(update={"calibration": calibrators.get(member_name(member), member.calibration)})
        for member in card.members
    )
    return card.model_copy(update={"members": members})
