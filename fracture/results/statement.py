"""What a result of any wing says, read from its JSON line alone: of the film as a whole, and of every place on it.

A line's numbers, yes and no, and words are statements about the film. A list of records that have a place (a box or a
point) are statements about these places: ``boxes`` of the limbs' detector, ``hips`` of the hip reader, and those of
any other wing. What was asked for and by what it was judged are settings, which identify the algorithm.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fracture.errors import ConfigurationError

Value: TypeAlias = float | bool | str

_SETTINGS = (
    "threshold",
    "thresholds",
    "operating_point",
    "operating_node",
    "operating_reason",
    "map_threshold",
    "advise_threshold",
    "region_source",
)
# Neither found nor asked for, or said elsewhere: candidates are what the film's decision left out, `reached` follows
# from the thresholds, `top2` from the probabilities.
_APART = (
    *("source", "width", "height", "spacing", "seconds", "error", "overlay", "dicom", "warnings", "candidates"),
    *("model", "model_version", "weights_checksum", "member_scores", "regions", "reached", "top2", "views", "side"),
)
_OF_SERIES = ("frame", "levels", "aspect")  # which file has the slice, its discs once more by name, a pixel's shape
_EDGES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class Place:
    """A place on the film and what is said of it.

    Attributes:
        name: What a person calls it: "box 1", "left hip".
        kind: The list that it is from, in the singular: "box", "hip".
        edges: (x0, y0, x1, y1), or (x, y) of a point, in source pixels.
        values: What is said, by key; mappings as ``key.name``.
        side: "left" or "right", the patient's, where the result says.
    """

    name: str
    kind: str
    edges: tuple[float, ...]
    values: Mapping[str, Value]
    side: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a result says of one film.

    Attributes:
        width, height: Of the film in pixels.
        model, version, checksum: The weights, and the SHA-256 of their card; empty where the result does not say.
        values: Of the whole film, by key.
        places: Of places on it.
        regions: Anatomical regions shown.
        settings: What was asked for and what judged, by key.
        remarks: What a user should know of the film or the weights.
        positive: Whether a finding is reported.
        digest: Of settings and findings: results that differ have another one. Numbers count to three decimals, and
            where a box lies not at all, so that what processors differ in makes no other object.
    """

    width: int
    height: int
    model: str
    version: str
    checksum: str
    digest: str = field(compare=False)
    values: Mapping[str, Value] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    regions: tuple[str, ...] = ()
    settings: Mapping[str, Value] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    positive: bool = False


def statement_of(line: Mapping[str, Any]) -> Statement:
    """What a result's JSON line says.

    Raises:
        ConfigurationError: It is the line of a film that failed, or of no film.
    """
    source = line.get("source") or "<result>"
    if line.get("error") is not None:
        raise ConfigurationError(f"{source}: the film failed, so there is no result", got=line["error"].get("message"))
    if not all(isinstance(line.get(key), int) and line[key] > 0 for key in ("width", "height")):
        raise ConfigurationError(f"{source}: a result says how large its film is", got="no width and height")
    places = tuple(_places(line))
    settings = dict(_flat({key: line[key] for key in _SETTINGS if key in line}))
    for key, records in line.items():
        for record in records if isinstance(records, list) and key != "boxes" else ():
            if isinstance(record, Mapping):
                settings |= _flat({key: record[key] for key in _SETTINGS if key in record})
    values = dict(_flat({key: value for key, value in line.items() if key not in (*_APART, *_SETTINGS, *_OF_SERIES)}))
    reached = line.get("reached") or ()
    values |= {f"reached.{name}": name in reached for name in line.get("thresholds") or ()}
    inside = [(place.kind, place.side, dict(place.values)) for place in places]
    facts = [line.get("model"), line.get("model_version"), line.get("weights_checksum"), line.get("regions")]
    coarse = json.dumps(_coarse([*facts, values, settings, inside]), sort_keys=True)
    return Statement(
        width=line["width"],
        height=line["height"],
        model=str(line.get("model") or "fracture"),
        version=str(line.get("model_version") or "unknown"),
        checksum=str(line.get("weights_checksum") or ""),
        values=values,
        places=places,
        regions=tuple(line.get("regions") or ()),
        settings=settings,
        remarks=tuple(map(str, line.get("warnings") or ())),
        positive=bool(line.get("fractured")) or any(place.values.get("fractured") is True for place in places),
        digest=hashlib.sha256(coarse.encode()).hexdigest(),
    )


def _places(line: Mapping[str, Any]) -> Iterator[Place]:
    for key, records in line.items():
        if key in _APART or not isinstance(records, list):
            continue
        kind = {"boxes": "box"}.get(key, key.removesuffix("s"))
        placed = [(record, edges) for record in records if (edges := _edges(record))]
        for number, (record, edges) in enumerate(placed, 1):
            side = record.get("side") if record.get("side") in ("left", "right") else None
            name = f"{side} {kind}" if side else str(record.get("level") or f"{kind} {number}")
            apart = {*_APART, *_SETTINGS, *_EDGES, "x", "y", "box"} - {"operating_point"}
            values = dict(_flat({k: value for k, value in record.items() if k not in apart}))
            yield Place(name, kind, edges, values, side)


def _edges(record: Any) -> tuple[float, ...]:
    if not isinstance(record, Mapping):
        return ()
    inner = record.get("box", record)
    for keys in (_EDGES, ("x", "y")):
        found: Any = [inner.get(key) for key in keys] if isinstance(inner, Mapping) else inner
        if (
            isinstance(found, list)
            and len(found) == len(keys)
            and all(isinstance(v, int | float) and math.isfinite(v) for v in found)
        ):
            return tuple(float(value) for value in found)
    return ()


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Numbers, words, yes and no; those of mappings as ``key.name``, lists of words as ``key`` and ``key.2``, ..."""
    for key, value in record.items():
        if isinstance(value, bool | str) or (isinstance(value, int | float) and math.isfinite(value)):
            if value != "":
                yield key, value
        elif isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in _flat(value))
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            yield from ((key if not k else f"{key}.{k + 1}", one) for k, one in enumerate(value))


def _coarse(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Mapping):
        return {key: _coarse(inner) for key, inner in value.items()}
    return [_coarse(inner) for inner in value] if isinstance(value, list | tuple) else value
