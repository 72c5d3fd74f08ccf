"""What differs between sites and with hardware, from predictions and annotations alone.

A network that tells hospitals or plates apart gains AUC without seeing a fracture (Badgeley et al. 2019, npj Digital
Medicine 2:31; Zech et al. 2018, PLoS Medicine 15:e1002683). So: the AUC within each site, with and without hardware,
and with fractured and normal films of every combination weighted alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from studies.sections import told

from fracture.errors import DataError
from fracture.evaluation.cohorts import balanced_auc, subgroups
from fracture.evaluation.files.predictions import read_predictions
from fracture.evaluation.files.references import read_reference
from fracture.evaluation.stats.checks import BoolArray
from fracture.evaluation.stats.resampling import Bootstrap
from fracture.evaluation.tables import Cases, join

__all__ = ["FORMAT", "merge_sites", "site_analysis", "sites_of"]

FORMAT = "fracture-sites/1"

_UNKNOWN = "unknown"


def merge_sites(pairs: Sequence[str]) -> dict[str, str]:
    """``["C=C+C_hires", "A=A_prime_clinic"]`` to ``{"C": "C", "C_hires": "C", "A_prime_clinic": "A"}``.

    Raises:
        DataError: Not of that form, or a site that is put into two.
    """
    names: dict[str, str] = {}
    for text in pairs:
        target, equals, members = text.partition("=")
        parts = [part.strip() for part in members.split("+")]
        if not equals or not target.strip() or not all(parts):
            raise DataError("sites are merged as NAME=SITE+SITE", got=text)
        for part in parts:
            if names.setdefault(part, target.strip()) != target.strip():
                raise DataError("a site is put into two", got=part)
    return names


def sites_of(values: Sequence[object], names: Mapping[str, str]) -> list[str]:
    """Every film's site after merging; ``"unknown"`` where the annotations name none."""
    return [_UNKNOWN if value is None else names.get(str(value), str(value)) for value in values]


def site_analysis(
    predictions: str | PathLike[str],
    reference: str | PathLike[str],
    *,
    merge: Mapping[str, str] | None = None,
    groups: str | None = "group",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Results within each site, with and without hardware, and balanced for both.

    Args:
        predictions: As :func:`fracture.evaluation.read_predictions` takes them; films without one are left out.
        reference: COCO or CSV with ``site`` or ``hardware`` per film.
        merge: Sites by name to the name they are reported under; see :func:`merge_sites`.
        groups: Field that films are resampled by.
        resamples, seed, level: Of the bootstrap.

    Returns:
        JSON: ``films``; ``cells``, the films and fractured films of each site with and without hardware; ``rows`` of
        film-level results (AUC, sensitivity, specificity at the predictions' own calls); ``balanced``, the AUC where
        site, hardware, both, or both and the region tell nothing about the label.

    Raises:
        DataError: Neither site nor hardware is annotated, or files that do not fit together.
    """
    cases = join(read_predictions(predictions), read_reference(reference, groups=groups), allow_missing=True)
    facts = _facts(cases, merge or {})
    if not facts:
        raise DataError(f"{reference}: no film says where it was taken or whether it shows hardware")
    draws = Bootstrap(resamples, seed, level, cases.groups)
    rows = []
    for field, members in _cuts(facts).items():
        for row in subgroups(field, members, cases.labels, cases.scores, calls=cases.calls, bootstrap=draws):
            result = row.result
            wanted = ("auc", "sensitivity", "specificity", "ppv", "npv")
            rows.append(
                {
                    "field": field,
                    "name": row.name,
                    "films": 0 if result is None else result.films,
                    "fractured": 0 if result is None else result.fractured,
                    "remark": row.remark,
                    **({} if result is None else {name: result[name].to_dict() for name in wanted}),
                }
            )
    confounders: dict[str, Sequence[object]] = dict(facts)
    balanced = [{"confounders": [name], **_balanced(cases, {name: facts[name]}, draws)} for name in facts]
    if len(facts) > 1:
        balanced.append({"confounders": list(facts), **_balanced(cases, confounders, draws)})
    if any(cases.regions):
        confounders["region"] = ["+".join(sorted(parts)) for parts in cases.regions]
        balanced.append({"confounders": list(confounders), **_balanced(cases, confounders, draws)})
    return told(
        {
            "format": FORMAT,
            "models": list(cases.models),
            "films": len(cases),
            "fractured": int(cases.labels.sum()),
            "groups": None if cases.groups is None else len(set(cases.groups)),
            "cells": _cells(cases, facts),
            "rows": rows,
            "balanced": balanced,
        }
    )


def _facts(cases: Cases, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Site and hardware of every film, as far as the reference knows them."""
    facts = {}
    if "site" in cases.attributes:
        facts["site"] = sites_of(cases.attributes["site"], names)
    if "hardware" in cases.attributes:
        facts["hardware"] = [_UNKNOWN if value is None else str(value) for value in cases.attributes["hardware"]]
    return facts


def _cuts(facts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, BoolArray]]:
    """The subgroups: each fact by itself, then both together."""
    cuts = {field: _members(values) for field, values in facts.items()}
    if len(facts) > 1:
        both = [", ".join(parts) for parts in zip(*facts.values(), strict=True)]
        cuts[" and ".join(facts)] = _members(both)
    return cuts


def _members(values: Sequence[str]) -> dict[str, BoolArray]:
    return {name: np.array([value == name for value in values], dtype=bool) for name in sorted(set(values))}


def _cells(cases: Cases, facts: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    keys = list(zip(*facts.values(), strict=True))
    labels = cases.labels.tolist()
    return [
        {
            **dict(zip(facts, key, strict=True)),
            "films": sum(other == key for other in keys),
            "fractured": sum(label for other, label in zip(keys, labels, strict=True) if other == key),
        }
        for key in sorted(set(keys))
    ]


def _balanced(cases: Cases, confounders: Mapping[str, Sequence[object]], draws: Bootstrap) -> dict[str, Any]:
    found = balanced_auc(cases.labels, cases.scores, confounders, calls=cases.calls, bootstrap=draws).to_dict()
    del found["confounders"]
    return found
