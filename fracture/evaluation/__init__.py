"""Evaluation: numbers that a reviewer would accept, from predictions and references alone.

No torch: any detector's output can be judged. Names are imported when first used, so that the command line answers
at once; see ``docs/evaluation.md`` for what each statistic is and where it comes from.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "stats.estimate": ("Estimate", "not_defined"),
    "stats.intervals": ("clopper_pearson", "predictive_value_at", "proportion", "wilson"),
    "stats.resampling": ("Resampler", "bootstrap"),
    "stats.scores": ("auc", "auc_replicates", "average_precision", "brier", "calibration_error", "reliability"),
    "stats.auc_variance": ("delong", "delong_covariance", "delong_test"),
    "stats.roc": (
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
        "BoxLevel",
        "FROC_RATES",
        "FractureRow",
        "Froc",
        "SizeRow",
        "average_precision_boxes",
        "box_level",
        "by_size",
        "fracture_table",
        "froc",
    ),
    "stats.agreement": (
        "MARGIN",
        "KappaComparison",
        "McNemar",
        "cohen_kappa",
        "compare_kappa",
        "mcnemar",
        "readers_point",
        "verdict",
    ),
    "stats.comparison": ("PairedDifference", "paired_bootstrap"),
    "stats.hypothesis_tests": ("chi_square", "dunn", "kruskal_wallis", "split_balance"),
    "cohorts": ("Balanced", "CohortRow", "balanced_auc", "balanced_indices", "subgroups", "without_indicators"),
    "tables": ("Cases", "Predictions", "Reference", "join", "read_predictions", "read_reference"),
    "report": ("EvaluationReport", "Settings", "evaluate"),
    "opponents": ("Opponent", "compare_models", "compare_readers", "read_readings"),
}

_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from fracture.evaluation.cohorts import (
        Balanced as Balanced,
    )
    from fracture.evaluation.cohorts import (
        CohortRow as CohortRow,
    )
    from fracture.evaluation.cohorts import (
        balanced_auc as balanced_auc,
    )
    from fracture.evaluation.cohorts import (
        balanced_indices as balanced_indices,
    )
    from fracture.evaluation.cohorts import (
        subgroups as subgroups,
    )
    from fracture.evaluation.cohorts import (
        without_indicators as without_indicators,
    )
    from fracture.evaluation.detection import (
        FROC_RATES as FROC_RATES,
    )
    from fracture.evaluation.detection import (
        BoxLevel as BoxLevel,
    )
    from fracture.evaluation.detection import (
        FractureRow as FractureRow,
    )
    from fracture.evaluation.detection import (
        Froc as Froc,
    )
    from fracture.evaluation.detection import (
        SizeRow as SizeRow,
    )
    from fracture.evaluation.detection import (
        average_precision_boxes as average_precision_boxes,
    )
    from fracture.evaluation.detection import (
        box_level as box_level,
    )
    from fracture.evaluation.detection import (
        by_size as by_size,
    )
    from fracture.evaluation.detection import (
        fracture_table as fracture_table,
    )
    from fracture.evaluation.detection import (
        froc as froc,
    )
    from fracture.evaluation.film import (
        Confusion as Confusion,
    )
    from fracture.evaluation.film import (
        FilmLevel as FilmLevel,
    )
    from fracture.evaluation.film import (
        film_level as film_level,
    )
    from fracture.evaluation.film import (
        from_confusion as from_confusion,
    )
    from fracture.evaluation.matching import (
        BoxTable as BoxTable,
    )
    from fracture.evaluation.matching import (
        Criterion as Criterion,
    )
    from fracture.evaluation.matching import (
        Matches as Matches,
    )
    from fracture.evaluation.matching import (
        box_table as box_table,
    )
    from fracture.evaluation.matching import (
        match as match,
    )
    from fracture.evaluation.opponents import (
        Opponent as Opponent,
    )
    from fracture.evaluation.opponents import (
        compare_models as compare_models,
    )
    from fracture.evaluation.opponents import (
        compare_readers as compare_readers,
    )
    from fracture.evaluation.opponents import (
        read_readings as read_readings,
    )
    from fracture.evaluation.report import (
        EvaluationReport as EvaluationReport,
    )
    from fracture.evaluation.report import (
        Settings as Settings,
    )
    from fracture.evaluation.report import (
        evaluate as evaluate,
    )
    from fracture.evaluation.stats.agreement import (
        MARGIN as MARGIN,
    )
    from fracture.evaluation.stats.agreement import (
        KappaComparison as KappaComparison,
    )
    from fracture.evaluation.stats.agreement import (
        McNemar as McNemar,
    )
    from fracture.evaluation.stats.agreement import (
        cohen_kappa as cohen_kappa,
    )
    from fracture.evaluation.stats.agreement import (
        compare_kappa as compare_kappa,
    )
    from fracture.evaluation.stats.agreement import (
        mcnemar as mcnemar,
    )
    from fracture.evaluation.stats.agreement import (
        readers_point as readers_point,
    )
    from fracture.evaluation.stats.agreement import (
        verdict as verdict,
    )
    from fracture.evaluation.stats.auc_variance import (
        delong as delong,
    )
    from fracture.evaluation.stats.auc_variance import (
        delong_covariance as delong_covariance,
    )
    from fracture.evaluation.stats.auc_variance import (
        delong_test as delong_test,
    )
    from fracture.evaluation.stats.comparison import (
        PairedDifference as PairedDifference,
    )
    from fracture.evaluation.stats.comparison import (
        paired_bootstrap as paired_bootstrap,
    )
    from fracture.evaluation.stats.estimate import Estimate as Estimate
    from fracture.evaluation.stats.estimate import not_defined as not_defined
    from fracture.evaluation.stats.hypothesis_tests import (
        chi_square as chi_square,
    )
    from fracture.evaluation.stats.hypothesis_tests import (
        dunn as dunn,
    )
    from fracture.evaluation.stats.hypothesis_tests import (
        kruskal_wallis as kruskal_wallis,
    )
    from fracture.evaluation.stats.hypothesis_tests import (
        split_balance as split_balance,
    )
    from fracture.evaluation.stats.intervals import (
        clopper_pearson as clopper_pearson,
    )
    from fracture.evaluation.stats.intervals import (
        predictive_value_at as predictive_value_at,
    )
    from fracture.evaluation.stats.intervals import (
        proportion as proportion,
    )
    from fracture.evaluation.stats.intervals import (
        wilson as wilson,
    )
    from fracture.evaluation.stats.resampling import Resampler as Resampler
    from fracture.evaluation.stats.resampling import bootstrap as bootstrap
    from fracture.evaluation.stats.roc import (
        RocBand as RocBand,
    )
    from fracture.evaluation.stats.roc import (
        RocCurve as RocCurve,
    )
    from fracture.evaluation.stats.roc import (
        nearest_corner as nearest_corner,
    )
    from fracture.evaluation.stats.roc import (
        pr_curve as pr_curve,
    )
    from fracture.evaluation.stats.roc import (
        roc_band as roc_band,
    )
    from fracture.evaluation.stats.roc import (
        roc_curve as roc_curve,
    )
    from fracture.evaluation.stats.roc import (
        threshold_table as threshold_table,
    )
    from fracture.evaluation.stats.roc import (
        youden_point as youden_point,
    )
    from fracture.evaluation.stats.scores import (
        auc as auc,
    )
    from fracture.evaluation.stats.scores import (
        auc_replicates as auc_replicates,
    )
    from fracture.evaluation.stats.scores import (
        average_precision as average_precision,
    )
    from fracture.evaluation.stats.scores import (
        brier as brier,
    )
    from fracture.evaluation.stats.scores import (
        calibration_error as calibration_error,
    )
    from fracture.evaluation.stats.scores import (
        reliability as reliability,
    )
    from fracture.evaluation.tables import (
        Cases as Cases,
    )
    from fracture.evaluation.tables import (
        Predictions as Predictions,
    )
    from fracture.evaluation.tables import (
        Reference as Reference,
    )
    from fracture.evaluation.tables import (
        join as join,
    )
    from fracture.evaluation.tables import (
        read_predictions as read_predictions,
    )
    from fracture.evaluation.tables import (
        read_reference as read_reference,
    )


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"fracture.evaluation.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
