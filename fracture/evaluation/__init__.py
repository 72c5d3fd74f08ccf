"""Evaluation: numbers that a reviewer would accept, from predictions and references alone.

No torch: any detector's output can be judged. Names are imported when first used, so that the command line answers
at once; see ``docs/evaluation.md`` for what each statistic is and where it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.evaluation.cohorts import (
        Balanced as Balanced,
        CohortRow as CohortRow,
        balanced_auc as balanced_auc,
        subgroups as subgroups,
        without_indicators as without_indicators,
    )
    from fracture.evaluation.detection import (
        FROC_RATES as FROC_RATES,
        BoxLevel as BoxLevel,
        FractureRow as FractureRow,
        Froc as Froc,
        SizeRow as SizeRow,
        average_precision_boxes as average_precision_boxes,
        box_level as box_level,
        by_size as by_size,
        fracture_table as fracture_table,
        froc as froc,
    )
    from fracture.evaluation.files.predictions import Predictions as Predictions, read_predictions as read_predictions
    from fracture.evaluation.files.references import Reference as Reference, read_reference as read_reference
    from fracture.evaluation.film import (
        Confusion as Confusion,
        FilmLevel as FilmLevel,
        film_level as film_level,
        from_confusion as from_confusion,
    )
    from fracture.evaluation.findings import Settings as Settings
    from fracture.evaluation.matching import (
        BoxTable as BoxTable,
        Criterion as Criterion,
        Matches as Matches,
        box_table as box_table,
        match as match,
    )
    from fracture.evaluation.opponents import (
        Opponent as Opponent,
        compare_models as compare_models,
        compare_readers as compare_readers,
        read_readings as read_readings,
    )
    from fracture.evaluation.report import EvaluationReport as EvaluationReport, evaluate as evaluate
    from fracture.evaluation.stats.agreement import (
        MARGIN as MARGIN,
        KappaComparison as KappaComparison,
        McNemar as McNemar,
        cohen_kappa as cohen_kappa,
        compare_kappa as compare_kappa,
        mcnemar as mcnemar,
        readers_point as readers_point,
        verdict as verdict,
    )
    from fracture.evaluation.stats.auc_variance import (
        delong as delong,
        delong_covariance as delong_covariance,
        delong_test as delong_test,
    )
    from fracture.evaluation.stats.comparison import (
        PairedDifference as PairedDifference,
        paired_bootstrap as paired_bootstrap,
    )
    from fracture.evaluation.stats.estimate import Estimate as Estimate, not_defined as not_defined
    from fracture.evaluation.stats.hypothesis_tests import (
        chi_square as chi_square,
        dunn as dunn,
        kruskal_wallis as kruskal_wallis,
        split_balance as split_balance,
    )
    from fracture.evaluation.stats.intervals import (
        clopper_pearson as clopper_pearson,
        predictive_value_at as predictive_value_at,
        proportion as proportion,
    )
    from fracture.evaluation.stats.ranking import (
        PairedTest as PairedTest,
        bayes_factors as bayes_factors,
        concordance_index as concordance_index,
        paired_tests as paired_tests,
    )
    from fracture.evaluation.stats.resampling import (
        Bootstrap as Bootstrap,
        Resampler as Resampler,
        bootstrap as bootstrap,
    )
    from fracture.evaluation.stats.roc import (
        RocBand as RocBand,
        RocCurve as RocCurve,
        nearest_corner as nearest_corner,
        pr_curve as pr_curve,
        roc_band as roc_band,
        roc_curve as roc_curve,
        threshold_table as threshold_table,
        youden_point as youden_point,
    )
    from fracture.evaluation.stats.scores import (
        auc as auc,
        auc_replicates as auc_replicates,
        average_precision as average_precision,
        brier as brier,
        calibration_error as calibration_error,
        reliability as reliability,
    )
    from fracture.evaluation.tables import Cases as Cases, join as join
    from fracture.intervals import wilson as wilson

lazy_names(globals())
