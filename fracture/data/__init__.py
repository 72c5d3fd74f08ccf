"""Annotated films: readers, checks, splits, sampling, augmentation and targets for training.

Names are imported when they are first used, so that ``import fracture.data`` costs nothing. Two functions have the
name of their module and are imported from there: ``fracture.data.augment.augment`` and
``fracture.data.consensus.consensus``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.data.augment import (
        Augmented as Augmented,
        AugmentSpec as AugmentSpec,
        augmented_sheet as augmented_sheet,
    )
    from fracture.data.cohort import (
        CohortTable as CohortTable,
        TestSample as TestSample,
        cohort_table as cohort_table,
        sample_test_set as sample_test_set,
    )
    from fracture.data.consensus import (
        Consensus as Consensus,
        consensus_set as consensus_set,
    )
    from fracture.data.draws import (
        MiningSpec as MiningSpec,
        mine_draws as mine_draws,
        read_draws as read_draws,
        write_draws as write_draws,
    )
    from fracture.data.exif import orient_film as orient_film, repair_exif_frames as repair_exif_frames
    from fracture.data.readers import FORMATS as FORMATS, read_annotations as read_annotations
    from fracture.data.records import AnnotatedSet as AnnotatedSet, Film as Film
    from fracture.data.sampling import (
        SamplingSpec as SamplingSpec,
        epoch_order as epoch_order,
    )
    from fracture.data.seeds import derive_seed as derive_seed
    from fracture.data.splits import (
        Split as Split,
        published_split as published_split,
        rotate_folds as rotate_folds,
        split_folds as split_folds,
        split_parts as split_parts,
    )
    from fracture.data.targets import (
        draw_target as draw_target,
        fracture_rings as fracture_rings,
    )
    from fracture.data.verify import Fault as Fault, VerifyReport as VerifyReport, verify_set as verify_set

lazy_names(globals())
