"""Platt scaling of each member's logit, fitted on films that the member was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracture.calibration.cases import Case
from fracture.errors import DataError
from fracture.limb.card import Calibration, Card, MemberCard

__all__ = ["fit_members", "fit_platt", "member_name", "with_calibrators"]

_TOLERANCE = 1e-12  # of the gradient


def fit_platt(logits: ArrayLike, labels: ArrayLike, *, name: str = "the member") -> Calibration:
    """The sigmoid of slope * logit + intercept with the highest likelihood, without a penalty, on smoothed targets.

    Platt 1999, "Probabilistic outputs for support vector machines", section 2.2: a fractured film's target is
    (N+ + 1) / (N+ + 2) and a normal one's 1 / (N- + 2), so that the optimum is finite even where the logits part the
    classes. Found by scikit-learn's Newton method on standardized logits: the likelihood is strictly concave, so the
    scale of the logits and the order of the films make no difference.

    The calibrated score is a probability at the prevalence of the films it was fitted on.

    Args:
        logits: Finite, shape (n,), as the member gives them.
        labels: Bool or 0/1, shape (n,): 1 where a fracture is present.
        name: What the error calls the member.

    Raises:
        DataError: Logits that are not finite or all equal, films of one class only, or logits that are not higher
            on fractured films (a slope that is not positive would turn the member's opinion around).
    """
    z: NDArray[np.float64] = np.asarray(logits, dtype=np.float64)
    present: NDArray[np.bool_] = np.asarray(labels).astype(np.bool_)
    positives = int(present.sum())
    negatives = present.size - positives
    if not np.isfinite(z).all():
        raise DataError(f"{name}: logits must be finite", got=f"{int((~np.isfinite(z)).sum())} that are not")
    if not positives or not negatives:
        raise DataError(
            f"{name} cannot be calibrated on films of one class",
            got=f"{positives} fractured, {negatives} without a fracture",
            hint="calibrate on more films, or with fewer folds, or without the members' calibration",
        )
    spread = float(z.std())
    if not spread > 1e-9 * max(1.0, float(np.abs(z).max())):
        raise DataError(f"{name} gives all {z.size} films the same score", got=float(z[0]), hint="leave it out")
    center = float(z.mean())
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    from sklearn.linear_model import LogisticRegression

    # A target between 0 and 1 is a film that counts for both classes, by its shares.
    both, weights = np.tile((z - center) / spread, 2)[:, None], np.concatenate([target, 1 - target])
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=_TOLERANCE)
    fitted.fit(both, np.repeat([1, 0], z.size), sample_weight=weights)
    slope = float(fitted.coef_[0, 0]) / spread
    intercept = float(fitted.intercept_[0]) - slope * center
    if not slope > 0:
        raise DataError(
            f"{name} cannot be calibrated: its scores are not higher on fractured films",
            got=f"slope {slope:.4g} on {positives} fractured and {negatives} other films",
            allowed="a positive slope",
            hint="leave the member out, calibrate on more films, or do without the members' calibration",
        )
    return Calibration(slope=slope, intercept=intercept)


def fit_members(cases: Sequence[Case]) -> dict[str, Calibration]:
    """A calibrator for every member that judged any of the cases, by name, on the cases that it judged.

    Raises:
        DataError: As for :func:`fit_platt`.
    """
    outputs = [case.examined.output.member_logits for case in cases]
    fitted = {}
    for name in dict.fromkeys(name for logits in outputs for name in logits):
        own = [i for i, logits in enumerate(outputs) if name in logits]
        labels = [cases[i].film.fractured for i in own]
        fitted[name] = fit_platt([outputs[i][name] for i in own], labels, name=f"member {name}")
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
