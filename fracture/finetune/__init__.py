"""Fine-tuning: weights that know some regions learn a new one from few films, and say what that cost the old ones.

>>> tuned = fracture.load().finetune("data/scaphoid", region="scaphoid", parent="wrist", out="weights/scaphoid")
>>> tuned.detector.predict("film.dcm", region="scaphoid")

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.finetune.policy import FineTunePolicy as FineTunePolicy
    from fracture.finetune.run import FineTuned as FineTuned, finetune as finetune

lazy_names(globals())
