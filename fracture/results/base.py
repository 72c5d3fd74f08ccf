"""What a result is that can be stored in the film's study: every wing's result derives from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fracture.results.kinds import DEFAULT
from fracture.wing.result import ResultBase

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class DicomResult(ResultBase):
    """A result with :meth:`to_dicom`; a wing gives ``to_dict``, ``scene`` and the film as ``radiograph``."""

    __slots__ = ()

    def to_dicom(self, objects: Sequence[str] = DEFAULT, **options: Any) -> list[Dataset]:
        """DICOM objects in the study of the film; see :func:`fracture.results.to_dicom` for options and errors.

        Args:
            objects: Of ``"sr"``, ``"sc"``, ``"gsps"``, ``"seg"``, ``"ko"``.
            **options: ``source``, ``frame``, ``previous``, ``new_study``, ``comprehensive_3d``.
        """
        from fracture.results.objects import to_dicom

        return to_dicom(self, objects, **options)
