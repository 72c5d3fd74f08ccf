"""Annotated films: readers, checks, splits, sampling, augmentation and targets for training.

Names are imported when they are first used, so that ``import fracture.data`` costs nothing. Two functions have the
name of their module and are imported from there: ``fracture.data.augment.augment`` and
``fracture.data.consensus.consensus``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fracture.data.augment import Augmented, AugmentSpec, augmented_sheet
    from fracture.data.cohort import CohortTable, TestSample, cohort_table, sample_test_set
    from fracture.data.consensus import Consensus, consensus_set, without_disagreement
    from fracture.data.exif import orient_film, repair_exif_frames
    from fracture.data.readers import FORMATS, read_annotations
    from fracture.data.records import AnnotatedSet, Film
    from fracture.data.sampling import EpochSampler, SamplingSpec, epoch_order
    from fracture.data.seeds import derive_seed
    from fracture.data.splits import Split, published_split, rotate_folds, split_folds, split_parts
    from fracture.data.targets import draw_target, fracture_rings, rasterize
    from fracture.data.verify import Fault, VerifyReport, verify_set

__all__ = [
    "FORMATS",
    "AnnotatedSet",
    "AugmentSpec",
    "Augmented",
    "CohortTable",
    "Consensus",
    "EpochSampler",
    "Fault",
    "Film",
    "SamplingSpec",
    "Split",
    "TestSample",
    "VerifyReport",
    "augmented_sheet",
    "cohort_table",
    "consensus_set",
    "derive_seed",
    "draw_target",
    "epoch_order",
    "fracture_rings",
    "orient_film",
    "published_split",
    "rasterize",
    "read_annotations",
    "repair_exif_frames",
    "rotate_folds",
    "sample_test_set",
    "split_folds",
    "split_parts",
    "verify_set",
    "without_disagreement",
]

_HOMES = {
    "augment": ("AugmentSpec", "Augmented", "augmented_sheet"),
    "cohort": ("CohortTable", "TestSample", "cohort_table", "sample_test_set"),
    "consensus": ("Consensus", "consensus_set", "without_disagreement"),
    "exif": ("orient_film", "repair_exif_frames"),
    "readers": ("FORMATS", "read_annotations"),
    "records": ("AnnotatedSet", "Film"),
    "sampling": ("EpochSampler", "SamplingSpec", "epoch_order"),
    "seeds": ("derive_seed",),
    "splits": ("Split", "published_split", "rotate_folds", "split_folds", "split_parts"),
    "targets": ("draw_target", "fracture_rings", "rasterize"),
    "verify": ("Fault", "VerifyReport", "verify_set"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        return getattr(import_module(f"fracture.data.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'fracture.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
