"""Linear attenuation of what a limb is made of.

Mass attenuation coefficients (with coherent scattering, cm2/g) and densities (g/cm3) of cortical bone, soft tissue
and adipose tissue after ICRU-44 are those of Hubbell and Seltzer, *Tables of X-Ray Mass Attenuation Coefficients*,
NISTIR 5632 (1995, updated 2004), table 4, at 30 to 100 keV; titanium and iron are from its table 3. A film is
simulated at one effective energy; which energy stands for which tube voltage is our choice (about 0.6 of the peak
voltage).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ENERGY = np.array([30.0, 40.0, 50.0, 60.0, 80.0, 100.0])
_CORTICAL = 1.92 * np.array([1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855])
_SOFT = 1.06 * np.array([0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693])
_FAT = 0.95 * np.array([0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688])

_TITANIUM = np.array([4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721])
_IRON = np.array([8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717])
METALS = {"titanium": 4.43 * _TITANIUM, "steel": 7.9 * _IRON, "cobalt_chromium": 8.3 * _IRON}
"""Attenuation of implants in 1/cm at 30 to 100 keV: titanium alloy, steel as iron, cobalt-chromium as iron of its
density (cobalt and chromium are iron's neighbors in the periodic table)."""


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

    return Attenuation(_at(_CORTICAL, energy), _at(_SOFT, energy), _at(_FAT, energy))


def metal(name: str, energy: float) -> float:
    """The coefficient in 1/mm of one of ``METALS`` at ``energy`` keV."""
    return _at(METALS[name], energy)


def _at(values: np.ndarray[tuple[int], np.dtype[np.float64]], energy: float) -> float:
    return float(np.exp(np.interp(np.log(energy), np.log(_ENERGY), np.log(values)))) / 10.0
