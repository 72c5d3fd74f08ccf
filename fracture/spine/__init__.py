"""The spine: series of CT and MR slices read in patient space, and the wings that stand on them.

>>> from fracture.spine import find_series
>>> for found in find_series("study").series:
...     print(found, found.read().volume.spacing)

Names are imported when they are first used, so that this package is quick to import and needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.spine.planes import oriented as oriented, plane_of as plane_of
    from fracture.spine.series import (
        Found as Found,
        Series as Series,
        Stack as Stack,
        find_series as find_series,
        read_series as read_series,
    )

lazy_names(globals())
