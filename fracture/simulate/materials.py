"""Linear attenuation of what a limb is made of.

Mass attenuation coefficients (with coherent scattering, cm2/g) and densities (g/cm3) of cortical bone, soft tissue
and adipose tissue after ICRU-44 are those of Hubbell and Seltzer, *Tables of X-Ray Mass Attenuation Coefficients*,
NISTIR 5632 (1995, updated 2004), table 4, at 30 to 100 keV. A film is simulated at one effective energy; which
energy stands for which tube voltage is our choice (about 0.6 of the peak voltage).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Attenuation", "attenuation"]

_ENERGY = np.array([30.0, 40.0, 50.0, 60.0, 80.0, 100.0])
_CORTICAL = 1.92 * np.array([1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855])
_SOFT = 1.06 * np.array([0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693])
_FAT = 0.95 * np.array([0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688])


class Attenuation(NamedTuple):
    """Linear attenuation coefficients in 1/mm at one energy."""

    mineral: float
    soft: float
    fat: float

    @property
    def marrow(self) -> float:
        """Yellow and red marrow: half fat, half soft tissue (our choice)."""
        return 0.5 * (self.soft + self.fat)


def attenuation(energy: float) -> Attenuation:
    """Coefficients at ``energy`` keV, log-log interpolated between 30 and 100 keV and held beyond."""

    def at(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(np.exp(np.interp(np.log(energy), np.log(_ENERGY), np.log(values)))) / 10.0

    return Attenuation(at(_CORTICAL), at(_SOFT), at(_FAT))
