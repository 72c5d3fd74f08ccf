"""From trained networks to weights that ship: assembling, thresholds, box rules, and what the card says of them.

>>> assemble("runs/mine", "weights/mine", name="mine", ...)      # members and a provisional card
>>> calibrate("weights/mine", annotated, out="runs/mine/oof")   # operating points, box rules, metrics into the card

Calibration uses films that no member was trained on, at the precision and with the very tensors that ship.
"""

from __future__ import annotations

from fracture.calibration.assemble import assemble
from fracture.calibration.run import CalibrationResult, calibrate

__all__ = ["CalibrationResult", "assemble", "calibrate"]
