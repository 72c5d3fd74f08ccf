"""Operating points: score thresholds per region, how they are found, and which one a film is judged by.

A score at or above the threshold means present (``>=``). A threshold is always a score that was observed, never an
interpolated one (Jones et al. 2020; Angelopoulos 2024 for the conformal rule). With n films of a class and
alpha = 1 - target:

===========  ======================================================  ==========================================
             sensitivity, positives ascending s_1 <= s_2 ...         specificity, negatives descending d_1 >= d_2 ...
===========  ======================================================  ==========================================
empirical    s_k, k = floor(alpha n) + 1: the largest observed       the smallest observed score (of either class)
             score at which the observed sensitivity reaches the     above d_j, j = floor(alpha n) + 1: the smallest
             target                                                  at which the observed specificity reaches it
conformal    s_k, k = floor(alpha (n + 1)); undefined for k = 0      the smallest observed score above d_j,
                                                                     j = floor(alpha (n + 1)); undefined for j = 0
===========  ======================================================  ==========================================

The conformal rule promises the target for the next, exchangeable film, on average over the calibration set; the
empirical rule promises it on the calibration set itself. Ties need no rule of their own: films that tie with the
threshold count as present in both rows. A specificity threshold is undefined where no observed score lies above d_j
(saturated scores): no film would reach it.

alpha is taken from the decimal digits of the target, so that 1 - 0.925 times 40 is 3 and not 2.9999999999999982.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as calendar_date
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from fracture.errors import CardError, EvaluationError, FractureError, OperatingPointError, RegionError, meant
from fracture.intervals import wilson
from fracture.regions import DEFAULT_TREE, RegionTree
from fracture.schema import Line, Name, Record, Share
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

TargetKind: TypeAlias = Literal["sensitivity", "specificity"]
Method: TypeAlias = Literal["empirical", "conformal"]

POINTS = (HIGH_SENSITIVITY, HIGH_SPECIFICITY)
DEFAULT_TARGETS: dict[str, float] = {HIGH_SENSITIVITY: 0.925, HIGH_SPECIFICITY: 0.95}
"""92.5 % sensitivity is the paper's; 95 % specificity is ours, after the two points of Guermazi et al. 2022."""

UNCALIBRATED: Final = (
    "these weights were never calibrated: their threshold is a placeholder, so 'fractured' means nothing; "
    "run fracture calibrate"
)
"""The warning on every film that weights judge at a threshold found on no film."""

_KINDS = ("sensitivity", "specificity")
_METHODS = ("empirical", "conformal")
_KIND_OF_POINT: dict[str, TargetKind] = {HIGH_SENSITIVITY: "sensitivity", HIGH_SPECIFICITY: "specificity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint(Record):
    """One score threshold with where it comes from.

    Attributes:
        name: ``"high_sensitivity"`` or ``"high_specificity"``.
        node: The region node on whose films it was found.
        threshold: A film whose probability is at or above it is called fractured.
        target: The wanted sensitivity or specificity, in (0, 1].
        target_kind: Which of the two it is.
        method: ``"empirical"`` or ``"conformal"``.
        n_positive, n_negative: Films with and without a fracture that it was found on.
        sensitivity, specificity: Observed on those same films; ``None`` where there is no film of the class.
        sensitivity_interval, specificity_interval: Wilson 95 % intervals of these.
        data: Which films, in words.
        date: The day it was found, ISO 8601.
    """

    ERROR: ClassVar[type[FractureError]] = CardError

    name: str
    node: Name
    threshold: Share
    target: Annotated[float, Field(gt=0, le=1)]
    target_kind: TargetKind
    method: Method
    n_positive: Annotated[int, Field(ge=0)]
    n_negative: Annotated[int, Field(ge=0)]
    sensitivity: Share | None = None
    sensitivity_interval: tuple[Share, Share] | None = None
    specificity: Share | None = None
    specificity_interval: tuple[Share, Share] | None = None
    data: Line = ""
    date: Annotated[str, Field(max_length=64)] = ""

    def _check(self) -> None:
        # Found on normal films alone, a high-sensitivity point is set by the share of them that it flags.
        if self.name == HIGH_SENSITIVITY and self.n_positive == 0 < self.n_negative:
            return
        if self.target_kind != _KIND_OF_POINT.get(self.name):
            raise CardError(
                "an operating point's name and target_kind do not belong together",
                got=f"{self.name!a} and {self.target_kind}",
                allowed=[f"{name} and {kind}" for name, kind in _KIND_OF_POINT.items()],
            )

    @property
    def provisional(self) -> bool:
        """Whether it was set before any calibration: found on no film, so that it decides nothing."""
        return self.n_positive + self.n_negative == 0

    def reached(self, probability: float) -> bool:
        """Whether the film is called fractured at this point: ``probability >= threshold``."""
        return probability >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionThresholds(Record):
    """What one region node has: up to two operating points and a map threshold, each ``None`` where undefined.

    Attributes:
        high_sensitivity: Decides ``fractured`` unless asked otherwise.
        high_specificity: A film that reaches it has its boxes drawn solid.
        map_threshold: Replaces ``BoxParameters.threshold`` or, where cells tell the boxes, ``quality``, in (0, 1].
        map_threshold_source: Where the map threshold comes from: sweep, data, count, date.
    """

    ERROR: ClassVar[type[FractureError]] = CardError

    high_sensitivity: OperatingPoint | None = None
    high_specificity: OperatingPoint | None = None
    map_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    map_threshold_source: Line | None = None

    def _check(self) -> None:
        for name in POINTS:
            if (point := self.point(name)) is not None and point.name != name:
                raise CardError(f"the operating point under {name!r} has another name", got=point.name)

    def point(self, name: str) -> OperatingPoint | None:
        """The operating point of that name, ``None`` where this node has none.

        Raises:
            OperatingPointError: There is no operating point of such a name at all.
        """
        _check_point_name(name)
        return cast("OperatingPoint | None", getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """All that is defined, as JSON-able values."""
        points = {name: point.to_dict() for name in POINTS if (point := self.point(name)) is not None}
        rest = {"map_threshold": self.map_threshold, "map_threshold_source": self.map_threshold_source}
        return {**points, **{key: value for key, value in rest.items() if value is not None}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RegionThresholds:
        """The inverse of ``to_dict``.

        Raises:
            CardError: A key is unknown, or a value is malformed.
        """
        if not isinstance(data, Mapping):
            raise CardError("a region's thresholds are an object", got=type(data).__name__)
        points = {name: OperatingPoint.from_dict(data[name]) for name in POINTS if data.get(name) is not None}
        return super(RegionThresholds, cls).from_dict({**data, **points})


@dataclass(frozen=True, slots=True)
class AppliedPoint:
    """The operating point that judges a film, and how it was found.

    Attributes:
        point: The operating point itself.
        region: The region of the film that brought it in.
        reason: Why this node answers for that region.
    """

    point: OperatingPoint
    region: str
    reason: str

    @property
    def node(self) -> str:
        """The region node that the operating point belongs to."""
        return self.point.node

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the operating point itself."""
        return (UNCALIBRATED,) if self.point.provisional else ()


@dataclass(frozen=True, slots=True)
class FilmThresholds:
    """What a film is judged by.

    Attributes:
        points: The applied operating points by name; a point that no node up to the root has is left out.
        map_threshold: The map threshold, ``None`` where no node has one.
        map_node: The node that it belongs to.
    """

    points: Mapping[str, AppliedPoint]
    map_threshold: float | None = None
    map_node: str | None = None

    def __getitem__(self, name: str) -> AppliedPoint:
        _check_point_name(name)
        if name not in self.points:
            raise OperatingPointError(
                f"these weights have no operating point {name!r} for the film's regions",
                allowed=tuple(self.points) or "none",
                hint="choose another operating point, or run fracture calibrate",
            )
        return self.points[name]

    @property
    def thresholds(self) -> dict[str, float]:
        """Score threshold by name of the operating point."""
        return {name: applied.point.threshold for name, applied in self.points.items()}

    def reached(self, probability: float) -> tuple[str, ...]:
        """Names of the operating points that the probability reaches, in the order of ``POINTS``.

        With a strong model the high-specificity threshold can lie below the high-sensitivity one; each point is
        judged by its own threshold all the same.
        """
        return tuple(name for name in POINTS if name in self.points and self.points[name].point.reached(probability))

    def strictest(self, probability: float) -> str | None:
        """The operating point that boxes of such a film carry: solid if it reaches high specificity."""
        reached = self.reached(probability)
        return reached[-1] if reached else None


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """All thresholds of a model, by region node.

    Attributes:
        nodes: The nodes that have any.
        omitted: Nodes that were left out when fitting, with the reason, as ``"node/point"`` keys.
    """

    nodes: Mapping[str, RegionThresholds] = field(default_factory=dict)
    omitted: Mapping[str, str] = field(default_factory=dict)

    def lookup(self, regions: Sequence[str] = (), tree: RegionTree = DEFAULT_TREE) -> FilmThresholds:
        """The thresholds for a film that shows these regions.

        For each region and each operating point the tree is climbed to the nearest node that has that point. A film
        that shows several regions is judged at the lowest of their thresholds, so that no region loses the
        sensitivity it was promised; ties go to the region named first. The map threshold follows the same rule.

        Args:
            regions: Canonical region names; none stands for the root ``any``.
            tree: The model's region tree.

        Raises:
            RegionError: A region is not in the tree.
        """
        shown = tuple(regions) or ("any",)
        points = {}
        for name in POINTS:
            have = [node for node, thresholds in self.nodes.items() if thresholds.point(name) is not None]
            applied = [self._applied(name, region, have, tree) for region in shown]
            lowest = min((a for a in applied if a is not None), key=lambda a: a.point.threshold, default=None)
            if lowest is not None:
                points[name] = lowest
        have = [node for node, thresholds in self.nodes.items() if thresholds.map_threshold is not None]
        maps = [(cast("float", self.nodes[n].map_threshold), n) for r in shown if (n := _climb(r, have, tree)[0])]
        threshold, node = min(maps, key=lambda pair: pair[0], default=(None, None))
        return FilmThresholds(points, threshold, node)

    def _applied(self, name: str, region: str, have: list[str], tree: RegionTree) -> AppliedPoint | None:
        node, reason = _climb(region, have, tree)
        point = self.nodes[node].point(name) if node else None
        if point is None:
            return None
        if why := self.omitted.get(f"{region}/{name}"):
            reason = f"{reason}; {region} has none of its own: {why}"
        return AppliedPoint(point, region, reason)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "nodes": {node: thresholds.to_dict() for node, thresholds in self.nodes.items()},
            "omitted": dict(self.omitted),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OperatingPoints:
        """The inverse of ``to_dict``.

        Raises:
            CardError: A key is unknown, a value is malformed, or a point is filed under another node.
        """
        tables = [data.get(key, {}) for key in ("nodes", "omitted")] if isinstance(data, Mapping) else [None]
        if not all(isinstance(table, Mapping) for table in tables) or set(data) - {"nodes", "omitted"}:
            raise CardError("operating points are two objects, 'nodes' and 'omitted', and nothing else")
        nodes = {n: RegionThresholds.from_dict(v) for n, v in tables[0].items()}
        for node, thresholds in nodes.items():
            for name in POINTS:
                point = thresholds.point(name)
                if point is not None and point.node != node:
                    raise CardError(f"the operating point filed under {node!r} is another's", got=point.node)
        if not all(isinstance(why, str) for why in tables[1].values()):
            raise CardError("operating points are omitted for reasons in words")
        return cls(nodes, dict(tables[1]))


def fewest_films(target: float) -> int:
    """Fewest films of a class for which the conformal rule is defined: 13 for 92.5 %, 19 for 95 %.

    Raises:
        EvaluationError: The target is 1 or outside (0, 1): no count is enough.
    """
    alpha = _alpha(target)
    if alpha == 0:
        raise EvaluationError("no number of films guarantees a target of 1", got=target, allowed="below 1")
    return math.ceil(1 / alpha) - 1


def find_threshold(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    target: float,
    kind: TargetKind = "sensitivity",
    method: Method = "empirical",
) -> float | None:
    """The observed score that meets a target, by the rules in this module's text.

    Args:
        scores: Finite scores, shape (n,), any monotone scale.
        labels: Bool or 0/1, shape (n,): 1 where a fracture is present.
        target: Wanted sensitivity or specificity in (0, 1].
        kind: Which of the two.
        method: ``"empirical"`` or ``"conformal"``.

    Returns:
        One of ``scores``, or ``None`` where the rule is not defined for so few films (or, for specificity, where
        no score lies above the negatives that must stay below).

    Raises:
        EvaluationError: Malformed scores or labels, an unknown rule, or a target outside (0, 1].
    """
    values, present = _checked(scores, labels)
    _check_rule(kind, method)
    alpha = _alpha(target)
    own = np.sort(values[present] if kind == "sensitivity" else -values[~present])  # the class's worst case first
    n = own.size
    k = math.floor(alpha * (n + 1)) if method == "conformal" else math.floor(alpha * n) + 1
    if k == 0 or n == 0:
        return None
    if k > n:  # alpha (n + 1) can pass n only for a target near 0, where every threshold will do
        k = n
    if kind == "sensitivity":
        return float(own[k - 1])
    above = values[values > -own[k - 1]]
    return float(above.min()) if above.size else None


def measure(scores: ArrayLike, labels: ArrayLike, threshold: float) -> dict[str, Any]:
    """Counts, sensitivity and specificity at a threshold under the ``>=`` rule, with Wilson intervals.

    Returns:
        ``n_positive``, ``n_negative``, ``sensitivity``, ``sensitivity_interval``, ``specificity``,
        ``specificity_interval``, as ``OperatingPoint`` takes them; ``None`` for a class without films.

    Raises:
        EvaluationError: Malformed scores or labels.
    """
    values, present = _checked(scores, labels)
    called = values >= threshold
    n_positive, n_negative = int(present.sum()), int((~present).sum())
    hits, passes = int((called & present).sum()), int((~called & ~present).sum())
    return {
        "n_positive": n_positive,
        "n_negative": n_negative,
        "sensitivity": hits / n_positive if n_positive else None,
        "sensitivity_interval": wilson(hits, n_positive) if n_positive else None,
        "specificity": passes / n_negative if n_negative else None,
        "specificity_interval": wilson(passes, n_negative) if n_negative else None,
    }


def fit_operating_points(
    scores: ArrayLike,
    labels: ArrayLike,
    regions: Sequence[Sequence[str] | str],
    *,
    nodes: Iterable[str] | None = None,
    targets: Mapping[str, float] = DEFAULT_TARGETS,
    method: Method = "empirical",
    minimum_positives: int | None = None,
    minimum_negatives: int | None = None,
    map_thresholds: Mapping[str, float] | None = None,
    map_threshold_source: str | None = None,
    data: str = "",
    date: str | None = None,
    tree: RegionTree = DEFAULT_TREE,
) -> OperatingPoints:
    """Find the operating points of every node from scored films.

    A film counts for each region that it shows and for all their ancestors, ``any`` included. A point
    that is not defined, or has fewer films of its class than the minimum, is left out with its reason, and
    ``OperatingPoints.lookup`` climbs past it. Scores must come from films that the scoring weights were not
    trained on.

    Args:
        scores: Finite probabilities, shape (n,), of the very weights and precision that ship.
        labels: Bool or 0/1, shape (n,).
        regions: Per film its region or regions; an empty sequence counts for ``any`` only.
        nodes: Nodes to fit; all that a film counts for where left out.
        targets: Target by name of the operating point; a name left out is not fitted.
        method: ``"empirical"`` (the paper's) or ``"conformal"``.
        minimum_positives: Fewest fractured films for a high-sensitivity point; ``fewest_films(target)`` where left
            out (13 for 92.5 %), for the empirical rule too: below it one film moves the threshold by more than the
            target allows. Our choice.
        minimum_negatives: The same for films without a fracture and a high-specificity point (19 for 95 %).
        map_thresholds: Map threshold by node, from a sweep, to be kept beside the points.
        map_threshold_source: Where these come from.
        data: Which films, in words; kept in each point.
        date: ISO 8601 day; today where left out.
        tree: The region tree of the model.

    Returns:
        The points by node, in tree order.

    Raises:
        EvaluationError: Malformed scores, labels or targets, or another number of regions than of scores.
        RegionError: A region, or a node to fit, is not in the tree.
        OperatingPointError: An operating point has an unknown name.
    """
    values, present = _checked(scores, labels)
    if len(regions) != values.size:
        raise EvaluationError("each film needs its regions", got=f"{len(regions)} for {values.size} films")
    for name in targets:
        _check_point_name(name)
    members: dict[str, list[int]] = {"any": list(range(values.size))}
    for index, shown in enumerate(regions):
        for node in _with_ancestors((shown,) if isinstance(shown, str) else shown, tree):
            if node != "any":
                members.setdefault(node, []).append(index)
    wanted = set(members) if nodes is None else {tree.normalize(node) for node in nodes}
    map_thresholds = {tree.normalize(node): value for node, value in (map_thresholds or {}).items()}
    day = calendar_date.today().isoformat() if date is None else date

    fitted: dict[str, RegionThresholds] = {}
    omitted: dict[str, str] = {}
    for node in (name for name in tree.names if name in wanted or name in map_thresholds):
        own = np.array(members.get(node, []), dtype=np.intp)
        points: dict[str, OperatingPoint] = {}
        for name, target in targets.items() if node in wanted else ():
            kind = _KIND_OF_POINT[name]
            minimum = minimum_positives if kind == "sensitivity" else minimum_negatives
            threshold, why = _fit_one(values[own], present[own], target, kind, method, minimum)
            if threshold is None:
                omitted[f"{node}/{name}"] = why
                continue
            points[name] = OperatingPoint(
                name=name,
                node=node,
                threshold=threshold,
                target=float(target),
                target_kind=kind,
                method=method,
                data=data,
                date=day,
                **measure(values[own], present[own], threshold),
            )
        map_threshold = map_thresholds.get(node)
        if points or map_threshold is not None:
            fitted[node] = RegionThresholds(
                high_sensitivity=points.get(HIGH_SENSITIVITY),
                high_specificity=points.get(HIGH_SPECIFICITY),
                map_threshold=map_threshold,
                map_threshold_source=None if map_threshold is None else map_threshold_source,
            )
    return OperatingPoints(fitted, omitted)


def _fit_one(
    scores: NDArray[np.float64],
    present: NDArray[np.bool_],
    target: float,
    kind: TargetKind,
    method: Method,
    minimum: int | None,
) -> tuple[float | None, str]:
    """A threshold, or None with the reason."""
    have = int(present.sum() if kind == "sensitivity" else (~present).sum())
    films = "fractured films" if kind == "sensitivity" else "films without a fracture"
    if minimum is None:
        minimum = fewest_films(target) if _alpha(target) else 1
    if have < max(1, minimum):
        return None, f"{have} {films} of the {max(1, minimum)} needed"
    threshold = find_threshold(scores, present, target=target, kind=kind, method=method)
    if threshold is not None:
        return threshold, ""
    if method == "conformal" and math.floor(_alpha(target) * (have + 1)) == 0:
        return None, f"{have} {films} are too few for a conformal {target:.4g} {kind}"
    return None, f"no observed score leaves {target:.4g} of the {films} below it"


def _with_ancestors(shown: Sequence[str], tree: RegionTree) -> set[str]:
    return {node for region in shown for node in (tree.normalize(region), *tree.ancestors(region))}


def _climb(region: str, have: list[str], tree: RegionTree) -> tuple[str, str]:
    """The nearest node that is available and why; an empty name where there is none up to the root."""
    name = tree.normalize(region)
    try:
        return tree.lookup(name, [node for node in have if node in tree])
    except RegionError:
        return "", ""


def _alpha(target: float) -> Fraction:
    """1 - target, exactly as the target's decimal digits say."""
    if not 0.0 < target <= 1.0:
        raise EvaluationError("a target is a fraction", got=target, allowed="above 0, up to 1")
    return 1 - Fraction(repr(float(target)))


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.asarray(scores, dtype=np.float64)
    marks = np.asarray(labels)
    if values.ndim != 1 or marks.shape != values.shape:
        raise EvaluationError("scores and labels are two lists of one length", got=f"{values.shape} and {marks.shape}")
    if not np.isfinite(values).all():
        raise EvaluationError("scores must be finite", got=f"{int((~np.isfinite(values)).sum())} that are not")
    if not np.isin(marks, (0, 1)).all():
        raise EvaluationError("labels are 0 or 1", got=sorted(set(marks.tolist()) - {0, 1})[:3])
    return values, marks.astype(np.bool_)


def _check_rule(kind: str, method: str) -> None:
    if kind not in _KINDS:
        raise EvaluationError("unknown kind of target", got=repr(kind), allowed=_KINDS)
    if method not in _METHODS:
        raise EvaluationError("unknown method for a threshold", got=repr(method), allowed=_METHODS)


def _check_point_name(name: str) -> None:
    if name not in POINTS:
        raise OperatingPointError("unknown operating point", got=repr(name), allowed=POINTS, hint=meant(name, POINTS))
