"""One labeled hip with everything that was said about it: what evaluation takes. No torch, no pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from fracture.atomic import write_text
from fracture.data.files import load_json_lines, read_text
from fracture.data.records import Box
from fracture.errors import DataError, FractureError
from fracture.hip.classes import CLASSES, FRACTURES
from fracture.iou import iou
from fracture.schema import Record

Probabilities = Annotated[tuple[float, ...], Field(min_length=len(CLASSES), max_length=len(CLASSES))]


@dataclass(frozen=True, slots=True)
class ExtraBox(Record):
    """A box on a side without a labeled hip.

    Attributes:
        source: The film.
        side: The side that the localizer named.
        box: In source pixels.
        score: Of the box.
    """

    ERROR: ClassVar[type[FractureError]] = DataError

    source: str
    side: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class HipCase(Record):
    """One labeled hip.

    Attributes:
        source: Its film.
        group: Patient or accession.
        side: The patient's.
        box: As labeled, in source pixels.
        allowed: The classes that its label leaves possible; ``()`` where it has no place among the six.
        findings: The label's own words.
        found: The box that was found on this side, None where there is none.
        found_score: Its score.
        wrong_side: IoU of the labeled box with the box found on the other side.
        manual: Probabilities of the six classes by the labeled box; None where not asked for.
        automatic: The same by the box that was found; None where nothing was found.

    Raises:
        DataError: Probabilities that are not six.
    """

    ERROR: ClassVar[type[FractureError]] = DataError

    source: str
    group: str
    side: str
    box: Box
    allowed: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    found: Box | None = None
    found_score: float | None = None
    wrong_side: float = 0.0
    manual: Probabilities | None = None
    automatic: Probabilities | None = None

    @property
    def iou(self) -> float:
        """Of the labeled box and the box found on its side; 0 where there is none."""
        return 0.0 if self.found is None else float(iou(self.box, self.found))

    @property
    def fractured(self) -> bool | None:
        """Whether it is fractured; None where the label leaves that open, or has no place among the six."""
        known = {name in FRACTURES for name in self.allowed}
        return known.pop() if len(known) == 1 else None

    @property
    def hip_class(self) -> str | None:
        """The class where exactly one is possible."""
        return self.allowed[0] if len(self.allowed) == 1 else None


def write_cases(path: str | Path, cases: Iterable[HipCase], extra: Iterable[ExtraBox] = ()) -> None:
    """JSON lines: hips with ``"kind": "hip"``, boxes without a labeled hip with ``"kind": "extra"``.

    Raises:
        DataError: The file cannot be written.
    """
    lines = [{"kind": "hip", **case.to_dict()} for case in cases]
    lines += [{"kind": "extra", **box.to_dict()} for box in extra]
    try:
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    except OSError as error:
        raise DataError(f"{path}: the cases cannot be written", got=error.strerror) from error


def read_cases(paths: Sequence[str | Path]) -> tuple[tuple[HipCase, ...], tuple[ExtraBox, ...]]:
    """Cases of one file or several (the folds of a cross-validation), in order.

    Raises:
        DataError: A file that cannot be read, or one hip in two files.
    """
    cases: list[HipCase] = []
    extra: list[ExtraBox] = []
    for path in paths:
        try:
            for _, row in load_json_lines(Path(path), read_text(Path(path), blank=True)):
                if row.pop("kind") == "hip":
                    cases.append(HipCase.from_dict(row))
                else:
                    extra.append(ExtraBox.from_dict(row))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a file of judged hips", got=error) from error
    keys = [(case.source, case.side) for case in cases]
    if len(set(keys)) != len(keys):
        double = sorted({key for key in keys if keys.count(key) > 1})[:5]
        raise DataError("the same hip is in two files", got=double, hint="give every fold's held-out part once")
    return tuple(cases), tuple(extra)
