"""Evaluation: numbers that a reviewer would accept, from predictions and references alone.

No torch: any detector's output can be judged. Names are imported when first used, so that the command line answers
at once; see ``docs/evaluation.md`` for what each statistic is and where it comes from.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "estimate": ("Estimate", "not_defined"),
    "intervals": ("clopper_pearson", "predictive_value_at", "proportion", "wilson"),
    "bootstrap": ("Resampler", "bootstrap"),
    "scores": ("auc", "auc_replicates", "average_precision", "brier", "calibration_error", "reliability"),
    "delong": ("delong", "delong_covariance", "delong_test"),
    "roc": (
        "RocBand",
        "RocCurve",
        "nearest_corner",
        "pr_curve",
        "roc_band",
        "roc_curve",
        "threshold_table",
        "youden_point",
    ),
    "film": ("Confusion", "FilmLevel", "film_level", "from_confusion"),
    "matching": ("BoxTable", "Criterion", "Matches", "box_table", "match"),
    "detection": (
        "FROC_RATES",
        "BoxLevel",
        "Froc",
        "average_precision_boxes",
        "box_level",
        "by_size",
        "fracture_table",
        "froc",
    ),
    "agreement": (
        "MARGIN",
        "KappaComparison",
        "McNemar",
        "cohen_kappa",
        "compare_kappa",
        "mcnemar",
        "readers_point",
        "verdict",
    ),
    "comparison": ("PairedDifference", "paired_bootstrap"),
    "hypothesis_tests": ("chi_square", "dunn", "kruskal_wallis", "split_balance"),
    "cohorts": ("Balanced", "CohortRow", "balanced_auc", "balanced_indices", "subgroups", "without_indicators"),
    "tables": ("Cases", "Predictions", "Reference", "join", "read_predictions", "read_reference"),
    "report": ("EvaluationReport", "Settings", "evaluate"),
}

_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from fracture.evaluation.agreement import (
        MARGIN as MARGIN,
    )
    from fracture.evaluation.agreement import (
        KappaComparison as KappaComparison,
    )
    from fracture.evaluation.agreement import (
        McNemar as McNemar,
    )
    from fracture.evaluation.agreement import (
        cohen_kappa as cohen_kappa,
    )
    from fracture.evaluation.agreement import (
        compare_kappa as compare_kappa,
    )
    from fracture.evaluation.agreement import (
        mcnemar as mcnemar,
    )
    from fracture.evaluation.agreement import (
        readers_point as readers_point,
    )
    from fracture.evaluation.agreement import (
        verdict as verdict,
    )


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"fracture.evaluation.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
