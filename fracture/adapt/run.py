"""``adapt``: weights, a few films of one site, and a folder of weights whose card names its parent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fracture.adapt.measure import FEWEST_FRACTURED, compared, cross_judged, judged
from fracture.adapt.site import FEWEST_NORMAL, SiteFit, fit_site
from fracture.adapt.text import told
from fracture.atomic import hold
from fracture.calibration.cases import Case, examine_films
from fracture.calibration.folds import SPLIT_FILE, check_unseen
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.errors import ConfigurationError, RegionError
from fracture.limb.card import Card
from fracture.limb.detector import Detector, measured_self_test
from fracture.limb.ensemble import Ensemble
from fracture.limb.store import STORE, Weights, open_weights
from fracture.models.devices import Precision
from fracture.wing.result import Failure

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Adapted:
    """What ``adapt`` made.

    Attributes:
        folder: The new weights.
        card: Their card; ``card.parent`` names the old ones, ``card.metrics["adaptation"]`` holds ``report``.
        report: Films, shift, thresholds before and after, guarantees, what was gained (cross-fitted), JSON-able.
        text: The same in plain words.
        failures: Films that could not be read or judged; nothing rests on them.
    """

    folder: Path
    card: Card
    report: dict[str, Any]
    text: str
    failures: tuple[Failure, ...] = ()


def adapt(
    weights: str | Path | None,
    annotated: AnnotatedSet,
    *,
    out: str | Path,
    name: str = "",
    version: str = "1",
    flag: float | None = None,
    prevalence: float | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int], object] | None = None,
) -> Adapted:
    """Set thresholds and probabilities of weights for one site, and measure what that gains there.

    Nothing is trained: the scores of all films are shifted together, and thresholds are found anew
    (:func:`fracture.adapt.site.fit_site`). What is reported was cross-fitted: each film judged by a shift and
    thresholds that it did not help to find.

    Args:
        weights: Folder or name of the old weights; None for the default ones. They stay as they are.
        annotated: Films of the site, as they come: 20 normal films or more; 13 fractured ones for a guarantee.
        out: Folder of the new weights.
        name, version: Of the new weights; the folder's name where left out.
        flag: With normal films only: the share of them that may be flagged, in (0, 1).
        prevalence: Share of fractured films among those that will be read, where it differs from that of ``annotated``.
        seed: Of the folds and intervals.
        device, precision: Those that will be used; thresholds belong to them.
        progress: Called with 1 after each film.

    Raises:
        DataError: Too few films, films that the weights were trained on, or none that can be judged.
        ConfigurationError: ``out`` holds other weights, or options that contradict the films.
        OutputError: The folder cannot be written.
        WeightsError: The old weights cannot be loaded.
    """
    parent = open_weights(weights)
    folder = Path(out)
    if folder.resolve() == parent.folder.resolve():
        raise ConfigurationError("out is the folder of the old weights", got=str(out), hint="give another folder")
    named = name or folder.name
    STORE.check_place(folder, named)
    check_unseen(parent, annotated)
    ensemble = Ensemble.load(parent, device=device, precision=precision)
    cases, failures = examine_films(Detector(ensemble, parent.card), annotated, progress=progress)
    positives = sum(bool(case.film.fractured) for case in cases)
    data = f"{len(cases)} films of {annotated.name}, {positives} fractured"

    def fit(some: Sequence[Case]) -> SiteFit:
        return fit_site(parent.card, some, flag=flag, prevalence=prevalence, data=data)

    found = fit(cases)
    before = judged(parent.card, cases, ensemble)
    report: dict[str, Any] = {
        "films": {"judged": len(cases), "fractured": positives, "failed": len(failures)},
        "shift": found.shift,
        "prevalence": prevalence,
        "flag": flag,
        "thresholds": {"before": _thresholds(parent.card), "after": _thresholds(found.card)},
        "guarantees": {
            point: {"target": one.target, "films": one.films, "likely": list(one.likely)}
            for point, one in found.guarantees.items()
        },
        "limits": list(found.limits),
        "likeness": _likeness(parent.card, cases),
        "precision": str(ensemble.dtype).removeprefix("torch."),
    }
    folds = _folds(cases, annotated, positives, seed)
    if isinstance(folds, str):
        report["gain"] = {"measured": False, "reason": folds}
    else:
        after = cross_judged(lambda some: fit(some).card, cases, folds, ensemble)
        report["gain"] = {"measured": True, **compared(cases, before, after, seed=seed)}
    text = told(report)
    card = found.card.model_copy(
        update={
            "name": named,
            "version": version,
            "created": date.today().isoformat(),
            "description": f"{parent.card.label} with thresholds for {annotated.name}: {data}",
            "parent": parent.card.as_parent(),
            "metrics": {"adaptation": report},
            "limitations": (*parent.card.limitations, *found.limits),
            "fast": None,  # its thresholds are not those of this site
            "data": {"set": annotated.name, "license": annotated.license},
            "self_test": None,
        }
    )
    with hold(folder / ".lock", f"the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for part in card.files:
            shutil.copyfile(parent.folder / part.file, folder / part.file)
        if (parent.folder / SPLIT_FILE).is_file():  # what its networks were trained on is still what they saw
            shutil.copyfile(parent.folder / SPLIT_FILE, folder / SPLIT_FILE)
        card = card.model_copy(update={"self_test": measured_self_test(Weights(folder, card))})
        card.write(folder)
    return Adapted(folder, card, report, text, tuple(failures))


def _thresholds(card: Card) -> dict[str, dict[str, float]]:
    """By node and operating point."""
    nodes = card.operating_points.get("nodes", {})
    points = ("high_sensitivity", "high_specificity")
    return {
        n: {p: t[p]["threshold"] for p in points if p in t} for n, t in nodes.items() if any(p in t for p in points)
    }


def _likeness(card: Card, cases: Sequence[Case]) -> dict[str, Any]:
    """Whether the films look like those that the weights were trained on."""
    distances = [d for case in cases if (d := case.examined.output.input_distance) is not None]
    row: dict[str, Any] = {
        "films": len(cases),
        "not_like_radiographs": sum(bool(case.examined.warnings) for case in cases),
    }
    if card.input_check is not None and distances:
        row |= {
            "far": sum(d > card.input_check.limit for d in distances),
            "median_distance": float(sorted(distances)[len(distances) // 2]),
            "limit": card.input_check.limit,
        }
    named = [right for case in cases if case.film.regions and (right := _named_right(card, case)) is not None]
    if named:
        row |= {"regions_named": len(named), "regions_right": sum(named)}
    return row


def _named_right(card: Card, case: Case) -> bool | None:
    """Whether the networks name what a film shows, by the names that they know (a wrist is ``fracatlas_hand``); None
    where they know none for it.
    """
    try:
        wanted = {card.region_tree.lookup(region, case.examined.output.regions).node for region in case.film.regions}
    except RegionError:
        return None
    return wanted == set(case.told)


def _folds(cases: Sequence[Case], annotated: AnnotatedSet, positives: int, seed: int) -> list[list[int]] | str:
    """Numbers of the cases in each part, or why there are none."""
    if 0 < positives < FEWEST_FRACTURED:
        return f"{positives} fractured films are too few to judge them by thresholds that they did not help to find"
    numbers = {case.film.source: i for i, case in enumerate(cases)}
    known = annotated.select(lambda film: film.source in numbers)
    if len({film.group for film in known}) < _FOLDS:
        return f"fewer than {_FOLDS} groups of films"
    folds = [[numbers[source] for source in part] for part in split_folds(known, _FOLDS, seed=seed).parts.values()]
    normals = len(cases) - positives
    if normals - max(sum(not cases[i].film.fractured for i in fold) for fold in folds) < FEWEST_NORMAL:
        return f"{normals} normal films are too few to set a part of them aside and to fit with the others"
    return folds
