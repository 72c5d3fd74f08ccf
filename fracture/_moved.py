"""Modules that moved: the old name still imports the new module, with a DeprecationWarning, for one version."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from warnings import warn

_EVALUATION = {
    "stats": "agreement auc_variance checks comparison estimate hypothesis_tests intervals resampling roc scores "
    "statistics",
    "page": "plots thumbnails",
}

_ROOMS = {
    "io": "ahead files images quiet radiograph reading "
    "dicom dicom.codestream dicom.decode dicom.grayscale dicom.header dicom.parse dicom.radiograph",
    "limb": "boxes card ensemble fast operating_points prediction store",
}

MOVED = {
    **{f"fracture.{name}": f"fracture.{room}.{name}" for room, names in _ROOMS.items() for name in names.split()},
    "fracture.verification": "fracture.wing.verification",
    "fracture.hip.verification": "fracture.wing.verification",
    "fracture.hip.geometry": "fracture.hip.crops",
    "fracture.hip.networks": "fracture.models.trunks",
    "fracture.hip.readers": "fracture.evaluation.stats.reader_study",
    "fracture.hip.via": "fracture.hip.records",
    "fracture.training.base_loop": "fracture.training.loop",
    "fracture.input_check.distribution": "fracture.wing.distribution",
    "fracture.input_check.rules": "fracture.wing.rules",
    "fracture.evaluation.prediction_files": "fracture.evaluation.files.predictions",
    "fracture.evaluation.reference_files": "fracture.evaluation.files.references",
    **{
        f"fracture.evaluation.{name}": f"fracture.evaluation.{room}.{name}"
        for room, names in _EVALUATION.items()
        for name in names.split()
    },
}
"""Old module name to new module name; an entry goes with the version after the one that moved it."""


class _Forward:
    """A finder and loader for names that no file has; asked first, since a moved package would find its parts twice."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warn(f"{old} is {MOVED[old]} now; the old name goes with the next version", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(MOVED[old])


def forward() -> None:
    """Make old module names importable."""
    if not any(isinstance(finder, _Forward) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Forward())
