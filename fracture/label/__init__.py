"""Films to and from labeling tools: predictions as a start for people, their corrections as an annotated set.

``fracture label export`` writes a folder for Label Studio or CVAT, ``fracture label import`` reads what people made of
it. Which films are worth a person's time first: :mod:`fracture.label.picks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.label.corrected import Corrected as Corrected, read_corrections as read_corrections
    from fracture.label.proposals import export as export

lazy_names(globals())
