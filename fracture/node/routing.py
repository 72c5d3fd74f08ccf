"""What is received, which weights read a film, and which objects are not films at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fracture.errors import WeightsError
from fracture.node.config import SLICES, Config
from fracture.results.kinds import MANUFACTURER
from fracture.wing.contract import find_wing

_NO_FILMS = {"SR", "PR", "SEG", "KO", "DOC", "PLAN", "AU"}


def route(config: Config, payload: Mapping[str, Any]) -> tuple[list[str], str]:
    """The weights for a film by its head, and where there are none the reason."""
    if payload["Manufacturer"] == MANUFACTURER:  # reading these would go round for ever
        return [], "it is a result of fracture"
    if payload["Modality"].upper() in _NO_FILMS:
        return [], f"modality {payload['Modality']} is no film"
    for number, rule in enumerate(config.rules, 1):
        wanted = {"Modality": rule.modality, "BodyPartExamined": rule.body_part, "caller": rule.caller}
        if all(not values or _among(payload[key], values) for key, values in wanted.items()):
            return rule.weights, "" if rule.weights else f"rule {number} says that it is not read"
    return config.weights, "" if config.weights else "no rule fits it, and no weights are named"


def taken(config: Config) -> list[str]:
    """Storage classes that are received: those that are named, and slices that one of the weights reads."""
    found = dict.fromkeys(config.receive)
    for name in config.readers:
        try:
            wing = find_wing(name)[0]
        except WeightsError:  # not there yet; the worker says so
            continue
        found |= dict.fromkeys(sop_class for modality in wing.series for sop_class in SLICES.get(modality, ()))
    return list(found)


def fits(series: tuple[str, ...], modality: str) -> bool:
    """Whether an object of a modality is for a wing that reads these series: slices for it alone, films for others."""
    return modality in series if series else modality not in SLICES


def _among(value: str, values: list[str]) -> bool:
    return value.strip().upper() in {one.strip().upper() for one in values}
