"""The six classes of a hip, what they mean together, and how other vocabularies map to them.

Source of the classes and of the groups by operation: Krogue et al. 2020, Materials and Methods and Fig 1. The mapping
of other findings is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from fracture.errors import DataError

CLASSES: Final = (
    "normal",
    "displaced_neck",
    "nondisplaced_neck",
    "intertrochanteric",
    "internal_fixation",
    "arthroplasty",
)
"""In the order of the network's outputs."""

FRACTURES: Final = ("displaced_neck", "nondisplaced_neck", "intertrochanteric")
"""The classes whose probabilities add up to that of a fracture; hardware counts as no fracture."""

HARDWARE: Final = ("internal_fixation", "arthroplasty")

SIDES: Final = ("left", "right")
"""The patient's sides, in the order of the localizer's classes."""

LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "normal": "no fracture",
        "displaced_neck": "displaced femoral neck fracture",
        "nondisplaced_neck": "nondisplaced femoral neck fracture",
        "intertrochanteric": "intertrochanteric fracture",
        "internal_fixation": "previous internal fixation",
        "arthroplasty": "previous arthroplasty",
    }
)
"""Words for people."""

OPERATIONS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "normal": None,
        "displaced_neck": "arthroplasty",
        "nondisplaced_neck": "cannulated screws",
        "intertrochanteric": "cephalomedullary nail or internal fixation",
        "internal_fixation": None,
        "arthroplasty": None,
    }
)
"""The operation that usually follows, by class (Krogue et al. 2020, Fig 1); None where the class asks for none."""

REGIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "none": ("normal",),
        "neck": ("displaced_neck", "nondisplaced_neck"),
        "trochanteric": ("intertrochanteric",),
        "hardware": HARDWARE,
    }
)
"""Four coarse groups, for sets that do not know the displacement of neck fractures."""

FINDINGS: Final[Mapping[str, tuple[str, ...] | None]] = MappingProxyType(
    {
        "normal": ("normal",),
        "neck": ("displaced_neck", "nondisplaced_neck"),
        "intertrochanteric": ("intertrochanteric",),
        "subtrochanteric": ("intertrochanteric",),
        "greater-trochanter": ("intertrochanteric",),
        "lesser-trochanter": ("intertrochanteric",),
        "dislocation": None,
        "internal-fixation": ("internal_fixation",),
        "arthroplasty": ("arthroplasty",),
    }
)
"""Findings of the public hip set to the classes that they leave possible; None: the hip has no place among the six.
The last two are the simulated hips' own: the public set has no word for hardware.

Ours, and the reasons: a neck fracture of unknown displacement leaves both neck classes possible, and trains only that
it is one of them. Subtrochanteric and isolated trochanter fractures are fractures, lie in the same box, and lead to
the same group of operations as intertrochanteric ones, so they count there. A dislocated hip is neither normal nor
fractured nor operated on, and is left out of the classifier; it still trains the localizer.
"""


def is_fracture(name: str) -> bool:
    """Whether a class counts as a fracture in the binary reading.

    Raises:
        DataError: No such class.
    """
    return _known(name) in FRACTURES


def fracture_probability(probabilities: Mapping[str, float]) -> float:
    """Probability of any fracture: the sum over the fracture classes (Krogue et al. 2020), in [0, 1]."""
    return min(1.0, sum(float(probabilities[name]) for name in FRACTURES))


def allowed_classes(*, hip_class: str | None = None, findings: Iterable[str] = ()) -> tuple[str, ...] | None:
    """The classes that an annotation leaves possible, in the order of :data:`CLASSES`.

    ``hip_class``, where given, says it all. Else every finding adds its classes; ``normal`` beside a fracture adds
    nothing, and one finding without a place among the six (a dislocation) takes the hip out.

    Args:
        hip_class: One of :data:`CLASSES`, or None where unknown.
        findings: Names of :data:`FINDINGS`, any case, with spaces or underscores for hyphens.

    Returns:
        One class or more; None where the hip must be left out of the classifier, or where nothing is said of it.

    Raises:
        DataError: A class or finding of another name.
    """
    if hip_class is not None:
        return (_known(hip_class),)
    possible: set[str] = set()
    for finding in findings:
        name = str(finding).strip().lower().replace("_", "-").replace(" ", "-")
        if name not in FINDINGS:
            raise DataError("unknown finding of a hip", got=finding, allowed=FINDINGS)
        classes = FINDINGS[name]
        if classes is None:
            return None
        possible.update(classes)
    if len(possible) > 1:
        possible.discard("normal")
    return tuple(name for name in CLASSES if name in possible) or None


def stratum(allowed: tuple[str, ...] | None) -> str:
    """One word for what is known of a hip, for stratifying: the class, ``a|b`` of several, or ``unlabeled``."""
    return "|".join(allowed) if allowed else "unlabeled"


def _known(name: str) -> str:
    if name not in CLASSES:
        raise DataError("unknown class of a hip", got=name, allowed=CLASSES)
    return name
