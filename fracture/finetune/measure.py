"""What fine-tuning gained and lost, and the thresholds of the new region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fracture.calibration.cases import Case
from fracture.calibration.fitting import FEWEST_BOXES
from fracture.calibration.metrics import cohorts_of, number_of
from fracture.calibration.sweep import PAPERS, Sweep
from fracture.evaluation.stats.comparison import paired_bootstrap
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.stats.scores import one_class_reason
from fracture.limb.boxes import BoxParameters
from fracture.limb.operating_points import Method, OperatingPoints, fit_operating_points
from fracture.regions import RegionTree


def thresholds_for(
    cases: Sequence[Case],
    region: str,
    tree: RegionTree,
    rules: BoxParameters,
    *,
    method: Method = "empirical",
    data: str = "",
) -> OperatingPoints:
    """The region's own operating points and map threshold, or the reasons why it has none.

    Args:
        cases: Held-out films of the region under the new weights.
        region: The region.
        tree: A tree that holds it.
        rules: The box rules; only their map threshold is sought anew, where there are 40 annotated fractures.
        method: ``"empirical"`` or ``"conformal"``.
        data: Which films, in words.
    """
    maps, rule = {}, PAPERS
    if sum(len(case.film.boxes) for case in cases) >= FEWEST_BOXES:
        sweep = Sweep.thresholds(cases, rules)
        maps[region] = rule.choose(sweep, range(len(cases)), rules).reports(told=sweep.told)
    return fit_operating_points(
        [case.score for case in cases],
        [case.film.fractured for case in cases],
        [(region,)] * len(cases),
        nodes=(region,),
        method=method,
        map_thresholds=maps,
        map_threshold_source=rule.words(data),
        data=data,
        tree=tree,
    )


def compare(after: Sequence[Case], before: Sequence[Case], *, seed: int = 0) -> dict[str, Any]:
    """AUC before and after, over all films and per region, with paired bootstrap intervals by group.

    Args:
        after: Films under the new weights.
        before: The same films, in the same order, under the old ones.
        seed: Of the bootstrap.

    Returns:
        By cohort (``"all"`` and each region): films, fractured, ``before``, ``after`` and ``change`` (after minus
        before), or the reason why they are not defined.
    """
    cohorts = cohorts_of([case.film for case in after])
    return {name: _cohort(after, before, keep, seed) for name, keep in cohorts.items()}


def _cohort(after: Sequence[Case], before: Sequence[Case], keep: Sequence[int], seed: int) -> dict[str, Any]:
    labels = [after[i].film.fractured for i in keep]
    row: dict[str, Any] = {"films": len(keep), "fractured": sum(labels)}
    if len(set(labels)) < 2:
        return {**row, "reason": one_class_reason(np.array(labels, np.bool_))}
    found = paired_bootstrap(
        labels,
        [after[i].score for i in keep],
        [before[i].score for i in keep],
        "auc",
        bootstrap=Bootstrap(seed=seed, groups=[after[i].film.group for i in keep]),
    )
    row |= {"before": number_of(found.second), "after": number_of(found.first), "change": number_of(found.difference)}
    row["told right"] = sum(set(after[i].told) == set(after[i].film.regions) for i in keep) / len(keep)
    return row
