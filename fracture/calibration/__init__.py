"""From trained networks to weights that ship: assembling, thresholds, box rules, and what the card says of them.

>>> assemble("runs/mine", "weights/mine", name="mine", ...)      # members and a provisional card
>>> calibrate("weights/mine", annotated, out="runs/mine/oof")   # operating points, box rules, metrics into the card
>>> calibrate_out_of_fold("weights/all", annotated, ["weights/fold0", "weights/fold1", ...])   # by its folds' networks

Calibration uses films that no member was trained on, at the precision and with the very tensors that ship, or, where
every film was trained on by some member, the outputs of networks that each held some of them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.calibration.assembly import assemble as assemble
    from fracture.calibration.out_of_fold import calibrate_out_of_fold as calibrate_out_of_fold
    from fracture.calibration.run import CalibrationResult as CalibrationResult, calibrate as calibrate

lazy_names(globals())
