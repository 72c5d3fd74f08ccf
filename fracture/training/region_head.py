"""The region head of a network that has learned the rest: fitted anew, by logistic regression on what the head sees.

Ours. What the head sees are means over the film, which differ by a few hundredths from film to film. Gradient descent
at the rate of the other heads leaves it where it began: after 12,000 windows the head of a pyramid had 37 % of the
films right. The regression is solved to its end, on films as in use and on windows of them with other looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fracture.errors import TrainingError
from fracture.models import FractureModel
from fracture.training.dataset import Batch, Films, Place, collate, evaluation_batches

_STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of the regression's data against its penalty (ours)
_FOLDS = 5


def fit_region_head(
    model: FractureModel, whole: Films, windows: Films, *, views: int, device: torch.device
) -> dict[str, Any]:
    """Fit the head; everything else stays as it is.

    Args:
        model: Changed in place, on ``device``.
        whole: The training films as in use. Those without regions teach nothing.
        windows: The same films as training shows them.
        views: Windows of each film.
        device: Of the model.

    Returns:
        ``films``, ``views``, ``strength``, and ``right``, the share of films with every region right when their group
        was left out.

    Raises:
        TrainingError: The model has no such head, or no film names a region.
        InputError: A film cannot be read.
    """
    head = model.heads.region
    if not isinstance(head, torch.nn.Linear):
        raise TrainingError("the model has no region head", hint="set regions of the data, or leave region_views at 0")
    seen, shown, known, groups = _features(model, head, whole, windows, views, device)
    if not known.any() or len(set(groups[known])) < _FOLDS:
        raise TrainingError(
            "the region head is fitted on films of known regions",
            got=f"{int(known.sum())} films of {len(set(groups[known]))} groups",
            allowed=f"at least {_FOLDS} groups",
            hint="set region_views = 0",
        )
    seen, shown, groups = seen[known], shown[known], groups[known]
    plain = np.arange(len(seen)) < known[: len(whole)].sum()  # films come first, then their windows
    right = {strength: _right(seen, shown, groups, plain, strength) for strength in _STRENGTHS}
    best = max(_STRENGTHS, key=lambda strength: (right[strength], -strength))
    weight, bias = _regression(seen, shown, best)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    return {"films": int(plain.sum()), "views": views, "strength": best, "right": right[best]}


def _features(
    model: FractureModel, head: torch.nn.Linear, whole: Films, windows: Films, views: int, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.str_]]:
    """What the head sees of every film and window, which regions are shown, whether that is known, and groups."""
    seen: list[NDArray[np.float64]] = []
    shown: list[NDArray[np.bool_]] = []
    known: list[bool] = []
    groups: list[str] = []
    taken = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double().cpu().numpy()))
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in _batches(whole, windows, views):
                model(batch.planes.to(device), batch.mask.to(device))
                shown.append(batch.targets.regions.numpy() > 0.5)
                known += (batch.targets.known > 0.5).tolist()
                groups += [film.group or film.source for film in batch.films]
    finally:
        taken.remove()
        model.train(training)
    return np.concatenate(seen), np.concatenate(shown), np.array(known), np.array(groups)


def _batches(whole: Films, windows: Films, views: int) -> Iterator[Batch]:
    yield from evaluation_batches(whole, micro_batch=1, workers=0)
    for view in range(views):
        for first in range(0, len(windows), 8):
            places = [Place(k, 0, view * len(windows) + k) for k in range(first, min(first + 8, len(windows)))]
            yield collate(
                [windows.augmented(one.film, epoch=one.epoch, place=one.place) for one in places], windows.regions
            )


def _right(
    seen: NDArray[np.float64],
    shown: NDArray[np.bool_],
    groups: NDArray[np.str_],
    plain: NDArray[np.bool_],
    strength: float,
) -> float:
    """Share of films as in use with every region right, by a regression that did not see their group."""
    from sklearn.model_selection import GroupKFold

    right = np.zeros(len(seen), bool)
    for fitted, left_out in GroupKFold(_FOLDS).split(seen, groups=groups):
        weight, bias = _regression(seen[fitted], shown[fitted], strength)
        right[left_out] = ((seen[left_out] @ weight.T + bias > 0) == shown[left_out]).all(axis=1)
    return float(right[plain].mean())


def _regression(
    seen: NDArray[np.float64], shown: NDArray[np.bool_], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (regions, features) and biases (regions,) for the features as they are."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-6)
    weights, biases = [], []
    for region in shown.T:
        if region.all() or not region.any():  # never the question here: a sure answer
            weights.append(np.zeros(seen.shape[1]))
            biases.append(10.0 if region.all() else -10.0)
            continue
        # All ways to solve it find the same minimum; this one is quick for some hundred features.
        found = LogisticRegression(C=strength, solver="newton-cholesky").fit((seen - mean) / spread, region)
        weights.append(found.coef_[0] / spread)
        biases.append(float(found.intercept_[0] - found.coef_[0] @ (mean / spread)))
    return np.array(weights), np.array(biases)
