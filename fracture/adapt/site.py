"""What is found on a site's films: one shift of all scores, and two thresholds.

The networks stay as they are. All logits are shifted by one number, so that the mean of the scores fits the share of
fractured films here (ours: a shift is all that fifty films can carry; a slope of its own would follow single films).
Thresholds are found on the shifted scores by the rules of :mod:`fracture.limb.operating_points`: conformal where there
are enough films for it (13 fractured films for a sensitivity of 92.5 %, 19 normal ones for a specificity of 95 %),
which comes with a guarantee (Angelopoulos et al. 2024); else the observed rule, which guarantees nothing. Without a
fractured film the high-sensitivity point is set by the share of normal films that it flags, and says nothing of
sensitivity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from fracture.calibration.cases import Case, recalibrated
from fracture.calibration.platt import member_name
from fracture.errors import ConfigurationError, DataError
from fracture.limb.card import Calibration, Card
from fracture.limb.operating_points import (
    DEFAULT_TARGETS,
    OperatingPoint,
    OperatingPoints,
    RegionThresholds,
    fewest_films,
    find_threshold,
    fit_operating_points,
    measure,
)
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

FEWEST_NORMAL: Final = 20
"""Fewest normal films that a site is described by (ours): a share of 5 % is then one film."""

_FARTHEST: Final = 8.0  # of a shift, in logits: odds change by 3,000
_INTERVAL: Final = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a conformal threshold promises for the next film of its class that comes as these did.

    Attributes:
        target: Sensitivity or specificity, on average over samples of as many films.
        films: Of the class, that the threshold was found on.
        likely: Between which bounds the share lies for nine in ten such samples (a beta distribution).
    """

    target: float
    films: int
    likely: tuple[float, float]

    @classmethod
    def of(cls, target: float, films: int) -> Guarantee | None:
        """None where there are too few films for one.

        Args:
            target: Least sensitivity that is promised, in (0, 1).
            films: How many fractured films there are.
        """
        if films < fewest_films(target):
            return None
        k = math.floor((1 - Fraction(repr(target))) * (films + 1))
        low, high = beta.ppf(_INTERVAL, films + 1 - k, k)
        return cls(target, films, (float(low), float(high)))


@dataclass(frozen=True, slots=True, eq=False)
class SiteFit:
    """A card's new thresholds and calibrators.

    Attributes:
        card: The card with them; thresholds of the map and the rules for boxes are the old ones.
        shift: Added to every logit.
        guarantees: By name of the operating point; a point without a guarantee is missing.
        limits: What the films were too few for, in words.
    """

    card: Card
    shift: float
    guarantees: Mapping[str, Guarantee]
    limits: tuple[str, ...]


def fit_site(
    card: Card,
    cases: Sequence[Case],
    *,
    flag: float | None = None,
    prevalence: float | None = None,
    data: str = "",
) -> SiteFit:
    """Find shift and thresholds on films of one site.

    Args:
        card: Of the weights that judged them.
        cases: The films, with what the networks said.
        flag: With normal films only: the share of them that the high-sensitivity point flags, in (0, 1).
        prevalence: Share of fractured films among those that will be read, in (0, 1), where the films at hand hold
            another share; None: as at hand.
        data: Which films, in words; kept in each operating point.

    Raises:
        DataError: Fewer than ``FEWEST_NORMAL`` normal films, or no score above those that must stay below a threshold.
        ConfigurationError: ``flag`` with fractured films, or missing without; a share outside (0, 1).
    """
    labels = np.array([case.film.fractured for case in cases], np.bool_)
    positives, normals = int(labels.sum()), int((~labels).sum())
    _check(positives, normals, flag, prevalence)
    shift = _shift(cases, labels, prevalence) if positives else 0.0
    calibrators = {
        member_name(m): _shifted(m.calibration, shift)
        for m in card.members
        if m.has_opinion and (shift or m.calibration is not None)
    }
    scored = recalibrated(cases, calibrators)
    scores = np.array([case.score for case in scored])
    limits: list[str] = []
    if positives:
        points, guarantees = _by_labels(card, scores, labels, [c.film.regions for c in cases], data, limits)
    else:
        points, guarantees = _by_share(scores, float(flag or 0.0), data), {}
        limits.append(
            "no fractured film: the high-sensitivity threshold is set by the share of normal films that it flags; "
            "what share of fractures it finds here is not known"
        )
        if (normal := Guarantee.of(DEFAULT_TARGETS[HIGH_SPECIFICITY], normals)) is not None:
            guarantees = {HIGH_SPECIFICITY: normal}
    members = tuple(
        m.model_copy(update={"calibration": calibrators.get(member_name(m), m.calibration)}) for m in card.members
    )
    merged = _with_map_thresholds(points, OperatingPoints.from_dict(card.operating_points))
    return SiteFit(
        card.model_copy(update={"members": members, "operating_points": merged.to_dict()}),
        shift,
        guarantees,
        tuple(limits),
    )


def _check(positives: int, normals: int, flag: float | None, prevalence: float | None) -> None:
    if normals < FEWEST_NORMAL:
        raise DataError(
            "too few normal films to describe a site",
            got=f"{normals} normal and {positives} fractured films",
            allowed=f"{FEWEST_NORMAL} normal films or more",
            hint="take films as they come, without choosing",
        )
    if positives and flag is not None:
        raise ConfigurationError(
            "flag sets the share of normal films that is flagged where there is no fractured film",
            got=f"{positives} fractured films",
            hint="leave it out: fractured films say more",
        )
    if not positives and flag is None:
        raise ConfigurationError(
            "there is no fractured film among these",
            got=f"{normals} normal films",
            hint="add fractured films, 13 or more for a guarantee; or say by flag=0.2 (--flag 0.2) which share of "
            "normal films may be flagged",
        )
    for name, value in (("flag", flag), ("prevalence", prevalence)):
        if value is not None and not 0.0 < value < 1.0:
            raise ConfigurationError(f"{name} is a share", got=value, allowed="above 0 and below 1")
    if prevalence is not None and not positives:
        raise ConfigurationError("prevalence needs fractured films to start from", got="none")


def _shift(cases: Sequence[Case], labels: NDArray[np.bool_], prevalence: float | None) -> float:
    """The shift with the highest likelihood on smoothed labels (Platt 1999), then to another share of fractures."""
    scores = np.clip([case.score for case in cases], 1e-9, 1 - 1e-9)
    logit = np.log(scores / (1 - scores))
    positives, negatives = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(shift: float) -> float:
        s = logit + shift
        return float(np.mean(np.logaddexp(0.0, s) - target * s))

    found = float(minimize_scalar(loss, bounds=(-_FARTHEST, _FARTHEST), method="bounded").x)
    if prevalence is not None:  # Saerens et al. 2002: odds follow the prior's
        found += math.log(prevalence / (1 - prevalence)) - math.log(positives / negatives)
    return found


def _shifted(calibration: Calibration | None, shift: float) -> Calibration:
    known = calibration or Calibration(slope=1.0, intercept=0.0)
    return known.model_copy(update={"intercept": known.intercept + shift})


def _by_labels(
    card: Card,
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    regions: Sequence[Sequence[str]],
    data: str,
    limits: list[str],
) -> tuple[OperatingPoints, dict[str, Guarantee]]:
    """Both points for all films, and those of regions with enough films of their own."""
    counts = {HIGH_SENSITIVITY: int(labels.sum()), HIGH_SPECIFICITY: int((~labels).sum())}
    nodes: dict[str, dict[str, OperatingPoint]] = {}
    omitted: dict[str, str] = {}
    guarantees: dict[str, Guarantee] = {}
    for name, target in DEFAULT_TARGETS.items():
        promised = Guarantee.of(target, counts[name])
        if promised is not None:
            guarantees[name] = promised
        else:
            kind = "fractured" if name == HIGH_SENSITIVITY else "normal"
            limits.append(
                f"{counts[name]} {kind} films of the {fewest_films(target)} that a guarantee needs: the "
                f"{name.replace('_', '-')} threshold fits these films and guarantees nothing"
            )
        for own, fewest in ((["any"], 1), (None, None)):  # regions need as many films as a guarantee does
            fitted = fit_operating_points(
                scores,
                labels,
                regions,
                nodes=own,
                targets={name: target},
                method="empirical" if promised is None else "conformal",
                minimum_positives=fewest,
                minimum_negatives=fewest,
                data=data,
                tree=card.region_tree,
            )
            for node, thresholds in fitted.nodes.items():
                if (point := thresholds.point(name)) is not None:
                    nodes.setdefault(node, {}).setdefault(name, point)
            omitted |= {key: why for key, why in fitted.omitted.items() if not key.startswith("any/")}
    if HIGH_SPECIFICITY not in nodes["any"]:
        nodes["any"][HIGH_SPECIFICITY] = _just_above(scores, labels, data)
    found = {node: RegionThresholds(**points) for node, points in nodes.items()}  # type: ignore[arg-type]
    return OperatingPoints(found, omitted), guarantees


def _just_above(scores: NDArray[np.float64], labels: NDArray[np.bool_], data: str) -> OperatingPoint:
    """Where no film scores above the normal ones that must stay below the threshold: the next number above them."""
    target = DEFAULT_TARGETS[HIGH_SPECIFICITY]
    normal = np.sort(scores[~labels])[::-1]
    threshold = float(np.nextafter(normal[math.floor((1 - Fraction(repr(target))) * normal.size)], 2.0))
    if threshold > 1.0:
        raise DataError(
            "no threshold separates these films", got="normal films with a score of 1", hint="look at them; fine-tune"
        )
    return OperatingPoint(
        name=HIGH_SPECIFICITY,
        node="any",
        threshold=threshold,
        target=target,
        target_kind="specificity",
        method="empirical",
        data=data,
        date=date.today().isoformat(),
        **measure(scores, labels, threshold),
    )


def _by_share(scores: NDArray[np.float64], flag: float, data: str) -> OperatingPoints:
    """Both points from normal films alone, by the share of them that is flagged."""
    labels = np.zeros(scores.size, np.bool_)
    highest = np.nextafter(scores.max(), 1.0)  # a threshold may lie just above all of them
    values, present = np.append(scores, highest), np.append(labels, True)
    points = {}
    shares = {HIGH_SENSITIVITY: 1 - flag, HIGH_SPECIFICITY: DEFAULT_TARGETS[HIGH_SPECIFICITY]}
    for name, target in shares.items():
        threshold = find_threshold(values, present, target=round(target, 6), kind="specificity", method="conformal")
        if threshold is None:
            raise DataError(
                f"no threshold leaves {target:.4g} of the normal films below it",
                got=f"{scores.size} normal films",
                hint="add films, or flag a larger share",
            )
        points[name] = OperatingPoint(
            name=name,
            node="any",
            threshold=threshold,
            target=round(target, 6),
            target_kind="specificity",
            method="conformal",
            data=data,
            date=date.today().isoformat(),
            **measure(scores, labels, threshold),
        )
    return OperatingPoints({"any": RegionThresholds(**points)})  # type: ignore[arg-type]


def _with_map_thresholds(points: OperatingPoints, old: OperatingPoints) -> OperatingPoints:
    """The map's thresholds are kept: they are of the networks, not of a site."""
    nodes = dict(points.nodes)
    for node, before in old.nodes.items():
        if before.map_threshold is not None:
            known = nodes.get(node, RegionThresholds())
            nodes[node] = replace(
                known, map_threshold=before.map_threshold, map_threshold_source=before.map_threshold_source
            )
    return OperatingPoints(nodes, points.omitted)
