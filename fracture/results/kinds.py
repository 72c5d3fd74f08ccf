"""The kinds of objects, and whether the library that builds them is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fracture.errors import ConfigurationError, MissingDependencyError

RESEARCH = "research use only"

MANUFACTURER = "fracture (open source)"
"""Who made our objects; a node that meets it knows that they are results, not films."""

OBJECTS = ("sr", "sc", "gsps", "seg", "ko")
"""What can be asked for."""

DEFAULT = ("sr", "sc", "gsps")

KINDS: Mapping[str, tuple[int, str]] = {
    "image": (9700, "Picture"),
    "sr": (9701, "Findings"),
    "sc": (9702, "Findings drawn"),
    "gsps": (9703, "Findings as presentation"),
    "seg": (9704, "Probability map"),
    "ko": (9705, "Of interest"),
    "summary": (9706, "Summary of the study"),
}
"""Every kind of object: the number and description of its series (ours; high, so that the films stand before them)."""


def checked_objects(objects: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are asked for, each once.

    Raises:
        ConfigurationError: An unknown kind, or none.
        MissingDependencyError: The library that builds them is not installed.
    """
    asked = (objects,) if isinstance(objects, str) else tuple(objects)
    if not asked or not set(asked) <= set(OBJECTS):
        raise ConfigurationError("unknown DICOM objects", got=", ".join(map(str, asked)) or "none", allowed=OBJECTS)
    require_highdicom()
    return tuple(dict.fromkeys(asked))


def require_highdicom() -> None:
    """Make sure of the library that builds the objects.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM results need highdicom, which is not installed",
            got=error,
            hint='pip install "fracture-radiographs[dicom]"',
        ) from error
