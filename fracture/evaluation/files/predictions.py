"""Reading predictions: our JSON lines, COCO results, or a CSV of scores.

JSON lines are those of ``fracture predict --json``: ``source`` (or ``id``), ``probability``, ``fractured``,
``threshold``, ``region``, ``boxes`` and ``candidates`` as lists of ``{x0, y0, x1, y1, score}`` in source pixels, and
``error``. COCO results are a list of ``{image_id, category_id, bbox [x, y, width, height], score}``. A CSV has one row
per film with its name and score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fracture.data.entries import id_text
from fracture.data.files import Problems, as_number, first_of, four, load_csv, load_json, load_json_lines, read_text
from fracture.data.words import as_label
from fracture.errors import DataError, UnreadableDataError
from fracture.evaluation.matching import BoxTable, box_table
from fracture.evaluation.stats.checks import BoolArray, FloatArray

if TYPE_CHECKING:
    from fracture.evaluation.files.references import Reference

NAME_COLUMNS = ("id", "file_name", "filename", "source", "image", "path", "name", "image_id")
_SCORE_COLUMNS = ("probability", "score", "prob", "prediction_score", "y_score")
_CALL_COLUMNS = ("fractured", "call", "prediction", "predicted")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a detector said, film by film; k films that it could read.

    Attributes:
        source: The file, as given.
        names: Name or path of each film.
        image_ids: COCO image ids as text, ``None`` where films go by name.
        scores: float64 (k,), film scores, finite.
        calls: bool (k,), or ``None`` where there are none.
        thresholds: float64 (k,), NaN where not given.
        boxes: Boxes shown, ``None`` where the file has none at all.
        candidates: All candidate boxes, ``None`` where the file has none at all.
        sizes: (width, height) of each film in pixels, ``None`` where not given.
        failures: Name and reason of films that could not be read.
        models: Distinct model names with versions.
        sparse: Films without a detection are not listed (COCO results).
    """

    source: str
    names: tuple[str, ...]
    image_ids: tuple[str, ...] | None
    scores: FloatArray
    calls: BoolArray | None
    thresholds: FloatArray
    boxes: BoxTable | None
    candidates: BoxTable | None
    sizes: tuple[tuple[int, int] | None, ...]
    failures: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()
    sparse: bool = False


def read_predictions(
    path: str | PathLike[str], *, reference: Reference | None = None, any_score: bool = False
) -> Predictions:
    """Read predictions; the kind is known by the content, not by the file's ending.

    Args:
        path: The file.
        reference: Needed for COCO results, which name films and categories by the reference's numbers.
        any_score: Accept scores outside [0, 1] (logits); calibration is then not defined.

    Raises:
        UnreadableDataError: Missing, empty, or not one of the three kinds.
        DataError: Faults in it, all told at once: duplicates, NaN scores, scores outside [0, 1], broken boxes,
            entries of films or categories that the reference does not list.
    """
    file = Path(path)
    text = read_text(file)
    start = text.lstrip()[:1]
    if start == "[":
        return _coco(file, load_json(file, text), reference, any_score=any_score)
    return _films(file, (load_json_lines if start == "{" else _csv)(file, text), any_score=any_score)


class _Rows:
    """Films as they are read, with every fault noted."""

    def __init__(self, file: Path, *, any_score: bool) -> None:
        self.problems = Problems(str(file))
        self.any_score = any_score
        self.names: list[str] = []
        self.scores: list[float] = []
        self.calls: list[bool | None] = []
        self.thresholds: list[float] = []
        self.sizes: list[tuple[int, int] | None] = []
        self.failures: list[tuple[str, str]] = []
        self._seen: set[str] = set()

    def name(self, value: object, where: str) -> str | None:
        if not isinstance(value, str | int) or isinstance(value, bool) or str(value).strip() == "":
            self.problems.add("lines without a film name", where)
            return None
        name = str(value)
        if name in self._seen:
            self.problems.add("films that occur twice", name)
            return None
        self._seen.add(name)
        return name

    def score(self, value: object, name: str) -> float | None:
        number = as_number(value)
        if number is None:
            self.problems.add("scores that are missing, NaN or not a number", f"{name} {value!r}")
        elif not self.any_score and not 0.0 <= number <= 1.0:
            self.problems.add("scores outside [0, 1]", f"{name} {number:g}")
            return None
        return number

    def add(self, name: str, score: float, call: bool | None, threshold: object, size: tuple[int, int] | None) -> None:
        self.names.append(name)
        self.scores.append(score)
        self.calls.append(call)
        number = as_number(threshold)
        self.thresholds.append(float("nan") if number is None else number)
        self.sizes.append(size)

    def finish(
        self, file: Path, boxes: BoxTable | None, candidates: BoxTable | None, models: Sequence[str]
    ) -> Predictions:
        some, every = any(c is not None for c in self.calls), all(c is not None for c in self.calls)
        if some and not every:
            for name, call in zip(self.names, self.calls, strict=True):
                if call is None:
                    self.problems.add("films without a call while others have one", name)
        self.problems.raise_if_any("scores that are not probabilities need any_score=True (--any-score)")
        if not self.names:
            raise DataError(
                f"{file}: no film has a prediction", got=f"{len(self.failures)} films that could not be read"
            )
        return Predictions(
            str(file),
            tuple(self.names),
            None,
            np.array(self.scores, dtype=np.float64),
            np.array([bool(c) for c in self.calls]) if some else None,
            np.array(self.thresholds, dtype=np.float64),
            boxes,
            candidates,
            tuple(self.sizes),
            tuple(self.failures),
            tuple(dict.fromkeys(models)),
        )


def _csv(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row's place, and its cells under the names that JSON lines have."""
    table = load_csv(file, text)
    columns = table.columns
    name, score = first_of(columns, NAME_COLUMNS), first_of(columns, _SCORE_COLUMNS)
    if name is None or score is None:
        raise UnreadableDataError(
            f"{file}: a CSV of predictions needs a column with film names and one with scores",
            got=", ".join(columns[:12]),
            allowed=f"one of {', '.join(NAME_COLUMNS)} and one of {', '.join(_SCORE_COLUMNS)}",
        )
    call = first_of(columns, _CALL_COLUMNS)
    for number, row in enumerate(table.rows, 2):
        called = row.get(call) or None if call else None
        cells = {"id": row.get(name), "probability": row.get(score), "fractured": called}
        yield f"row {number}", {**cells, "threshold": row.get("threshold")}


def _films(file: Path, records: Iterable[tuple[str, Mapping[str, Any]]], *, any_score: bool) -> Predictions:
    rows = _Rows(file, any_score=any_score)
    boxes: dict[str, list[tuple[int, tuple[float, ...]]]] = {}
    models: list[str] = []
    for where, record in records:
        name = rows.name(record.get("source") if record.get("id") in (None, "") else record["id"], where)
        if name is None:
            continue
        if record.get("error") is not None:
            rows.failures.append((name, _reason(record["error"])))
            continue
        score = rows.score(record.get("probability", record.get("score")), name)
        if score is None:
            continue
        place = len(rows.names)
        call = as_label(record.get("fractured"))
        if call is None and record.get("fractured") is not None:
            rows.problems.add("calls that are neither true nor false", name)
        rows.add(name, score, call, record.get("threshold"), _size(record))
        for kind in ("boxes", "candidates"):
            if isinstance(record.get(kind), list):
                boxes.setdefault(kind, []).extend(_corner_boxes(record[kind], place, name, rows.problems))
        if record.get("model"):
            models.append(f"{record['model']} {record.get('model_version') or ''}".strip())
    rows.problems.raise_if_any("scores that are not probabilities need any_score=True (--any-score)")
    tables = {kind: _table(found, len(rows.names)) for kind, found in boxes.items()}
    return rows.finish(file, tables.get("boxes"), tables.get("candidates"), models)


def _coco(file: Path, content: Any, reference: Reference | None, *, any_score: bool) -> Predictions:
    if reference is None or reference.image_ids is None:
        raise DataError(
            f"{file}: COCO results name films by number",
            hint="they need a COCO reference, whose images carry these numbers",
        )
    problems = Problems(str(file))
    film_of = {key: index for index, key in enumerate(reference.image_ids)}
    boxes: list[tuple[int, tuple[float, ...]]] = []
    film_scores: dict[int, float] = {}
    others = 0
    for number, record in enumerate(content):
        where = f"entry {number}"
        if not isinstance(record, dict) or "image_id" not in record or "score" not in record:
            problems.add("entries without image_id and score", where)
            continue
        film = film_of.get(id_text(record["image_id"]))
        if film is None:
            problems.add("image ids that the reference does not have", record["image_id"])
            continue
        score = as_number(record["score"])
        if score is None or (not any_score and not 0.0 <= score <= 1.0):
            problems.add("scores that are NaN or outside [0, 1]", f"{where} {record['score']!r}")
            continue
        if record.get("bbox") is None:
            if film in film_scores:
                problems.add("films with two scores", reference.names[film])
            film_scores[film] = score
            continue
        category = id_text(record.get("category_id"))
        if category in reference.other_categories:
            others += 1
            continue
        if reference.categories and category not in reference.categories:
            problems.add("category ids that the reference does not list", f"{where} {category or 'none'}")
            continue
        corners = four(record["bbox"], corners=False)
        if corners is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
            problems.add("boxes that are broken or empty", where)
            continue
        boxes.append((film, (*corners, score)))
    if others and not boxes and not film_scores:
        problems.add("boxes of other categories than a fracture, and none of one", others)
    problems.raise_if_any(
        "images and categories go by the reference's ids (some tools count categories from 0); scores that are not "
        "probabilities need any_score=True (--any-score)"
    )
    table = _table(boxes, len(reference.names)) if boxes or not film_scores else None
    floor = -np.inf if any_score else 0.0
    scores = np.full(len(reference.names), floor)
    if table is not None:
        np.maximum.at(scores, table.film, table.scores)
    for film, score in film_scores.items():
        scores[film] = score
    if any_score:
        listed = np.isfinite(scores)
        scores[~listed] = scores[listed].min() if listed.any() else 0.0
    nothing = np.full(scores.size, np.nan)
    return Predictions(
        str(file),
        reference.names,
        reference.image_ids,
        scores,
        None,
        nothing,
        table,
        None,
        reference.sizes,
        sparse=True,
    )


def _reason(error: object) -> str:
    if isinstance(error, Mapping):
        return str(error.get("type") or error.get("message") or "unknown error")
    return str(error)


def _size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = as_number(record.get("width")), as_number(record.get("height"))
    return None if width is None or height is None else (int(width), int(height))


def _corner_boxes(
    entries: Sequence[Any], film: int, name: str, problems: Problems
) -> list[tuple[int, tuple[float, ...]]]:
    result: list[tuple[int, tuple[float, ...]]] = []
    for entry in entries:
        values = (
            [as_number(entry.get(key)) for key in ("x0", "y0", "x1", "y1", "score")] if isinstance(entry, dict) else []
        )
        numbers = tuple(value for value in values if value is not None)
        if len(numbers) != 5 or numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
            problems.add("boxes that are broken or empty", name)
            continue
        result.append((film, numbers))
    return result


def _table(rows: Sequence[tuple[int, tuple[float, ...]]], films: int) -> BoxTable:
    values = np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 5)
    return box_table([row[0] for row in rows], values[:, :4], values[:, 4], films=films, name="predicted boxes")
