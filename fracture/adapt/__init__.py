"""Weights for one's own hospital: thresholds and probabilities from a few local films; nothing is trained.

>>> adapted = adapt("fracatlas-small", "data/ours", out="weights/ours")
>>> print(adapted.text)

See docs/adapt.md, "before you trust it".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.adapt.run import Adapted as Adapted, adapt as adapt
    from fracture.adapt.site import Guarantee as Guarantee, SiteFit as SiteFit, fit_site as fit_site
    from fracture.adapt.studies import adapt_studies as adapt_studies

lazy_names(globals())
