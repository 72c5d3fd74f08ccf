"""Four films of a patient as one row of the challenge's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fracture.errors import ConfigurationError
from fracture.joints.layout import ROW, SUMMED, SUMS
from fracture.joints.prediction import JointsFilm

if TYPE_CHECKING:
    from fracture.io.reading import Source

FILMS: Final = ("LH", "RH", "LF", "RF")


@dataclass(frozen=True, slots=True)
class PatientJoints:
    """A patient's films and their scores.

    Attributes:
        row: The 90 columns by name, in the challenge's order; None where nothing was scored. Sums are over what was.
        films: What was read, by ``"LH"``, ``"RH"``, ``"LF"``, ``"RF"``.
        missing: Columns without a score.
    """

    row: Mapping[str, str | float | None]
    films: Mapping[str, JointsFilm]
    missing: tuple[str, ...]


def read_patient(films: Sequence[Source] | Mapping[str, Source], *, patient: str = "", **options: Any) -> PatientJoints:
    """Read left hand, right hand, left foot and right foot; the sides are those of the places.

    Args:
        films: Four films in this order, or some of them by ``"LH"``, ``"RH"``, ``"LF"``, ``"RF"``.
        patient: The row's ``Patient_ID``.
        **options: As for :func:`fracture.joints.predict`.

    Raises:
        ConfigurationError: Another number of films, another name, or a film of the other kind.
        InputError: A film cannot be read, or shows neither hand nor forefoot.
    """
    from fracture.joints.reader import predict

    given = films if isinstance(films, Mapping) else dict(zip(FILMS, films, strict=False))
    if not given or set(given) - set(FILMS) or (not isinstance(films, Mapping) and len(films) != len(FILMS)):
        raise ConfigurationError("films of a patient", got=f"{len(films)} films", allowed=f"four, or by {FILMS}")
    read: dict[str, JointsFilm] = {}
    row: dict[str, str | float | None] = {**dict.fromkeys(ROW), "Patient_ID": patient}
    for place in (name for name in FILMS if name in given):
        found = predict(given[place], side="left" if place[0] == "L" else "right", **options)
        wanted = "hand" if place[1] == "H" else "forefoot"
        limbs = [limb for limb in found.limbs if limb.kind == wanted]
        if len(limbs) != 1:
            shown = ", ".join(limb.kind for limb in found.limbs)
            raise ConfigurationError(f"{found.source}: given as {place}", got=shown, allowed=f"one {wanted}")
        read[place] = found
        row.update(limbs[0].columns)
    for name, whole in SUMS.items():
        known = [value for value in map(row.get, SUMMED[whole]) if isinstance(value, float)]
        row[name] = sum(known) if known else None
    return PatientJoints(row, read, tuple(name for name in SUMMED["total"] if row[name] is None))
