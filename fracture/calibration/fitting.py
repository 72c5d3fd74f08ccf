"""Calibrators, thresholds and box rules found on some films, and the others judged by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from fracture.calibration.cases import Case, recalibrated
from fracture.calibration.platt import fit_members, with_calibrators
from fracture.calibration.sweep import PAPERS, MapRule, Sweep
from fracture.errors import DataError
from fracture.limb.boxes import BoxParameters
from fracture.limb.card import Card
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import DEFAULT_TARGETS, Method, OperatingPoints, fit_operating_points
from fracture.limb.prediction import Prediction
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

FEWEST_BOXES = 40  # a node with fewer annotated fractures takes its parent's map threshold (our choice)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was found on some of the cases.

    Attributes:
        card: With thresholds, box rules and, where they were fitted, the members' calibrators.
        cases: All cases, scored by these calibrators.
    """

    card: Card
    cases: tuple[Case, ...]


@dataclass(frozen=True, eq=False)
class Fitting:
    """How a card is fitted on films: everything but the choice of the films.

    Attributes:
        cases: All films with what the networks said.
        sweep: Their boxes under all box rules tried.
        card: The card to fill.
        calibrate_members: Whether members get calibrators. Then thresholds and box rules are found on the scores that
            these calibrators give to the very films they were fitted on: see :func:`cross_fit` for why.
        method: Of the thresholds.
        data: Which films all of them are, in words.
        maps: How the map thresholds are chosen.
    """

    cases: tuple[Case, ...]
    sweep: Sweep
    card: Card
    calibrate_members: bool
    method: Method
    data: str
    maps: MapRule = PAPERS

    def on(self, keep: Sequence[int]) -> Fitted:
        """Calibrators, then thresholds and box rules, found on the cases of these numbers only.

        Raises:
            DataError: Too few films of a class for thresholds that hold everywhere (node ``any``), or a member that
                cannot be calibrated.
        """
        card, cases, sweep = self.card, self.cases, self.sweep
        if self.calibrate_members:
            calibrators = fit_members([cases[i] for i in keep])
            card = with_calibrators(card, calibrators)
            cases = tuple(recalibrated(cases, calibrators))
            sweep = sweep.rescored(cases)
        chosen = [cases[i] for i in keep]
        rules = self.maps.choose(sweep, keep, sweep.best(keep))
        tree = card.region_tree
        points = fit_operating_points(
            [case.score for case in chosen],
            [case.film.fractured for case in chosen],
            [case.film.regions or ("any",) for case in chosen],
            method=self.method,
            map_thresholds={"any": rules.reports(told=sweep.told), **self._map_thresholds(sweep, keep, rules)},
            map_threshold_source=self.maps.words(f"{self.data}; {date.today().isoformat()}"),
            data=self.data,
            date=date.today().isoformat(),
            tree=tree,
        )
        _check_root(points, len(keep))
        return Fitted(
            card.model_copy(update={"operating_points": points.to_dict(), "boxes": rules.to_dict()}), tuple(cases)
        )

    def _map_thresholds(self, sweep: Sweep, keep: Sequence[int], rules: BoxParameters) -> dict[str, float]:
        """A map threshold for each region node with enough annotated fractures."""
        tree, thresholds = self.card.region_tree, {}
        for region in sorted({region for i in keep for region in sweep.cases[i].film.regions}):
            own = [i for i in keep if region in sweep.cases[i].film.regions]
            if sum(len(sweep.cases[i].film.boxes) for i in own) >= FEWEST_BOXES:
                thresholds[tree.normalize(region)] = self.maps.choose(sweep, own, rules).reports(told=sweep.told)
        return thresholds


def cross_fit(
    fitting: Fitting, folds: Sequence[Sequence[int]], ensemble: Ensemble
) -> tuple[tuple[Prediction, ...], tuple[Prediction, ...]]:
    """Every film judged by calibrators, thresholds and box rules that it did not help to find.

    For each fold, the calibrators are fitted on the films of all other folds, their scores are made again with these
    calibrators, and thresholds and box rules are found on those same films and scores. The fold's own films are then
    scored by the same calibrators and judged by the same thresholds. A film's label and boxes thus have no part in
    anything that decides about it, but for the folds themselves, which are stratified; its annotated regions only say
    which node's thresholds it is judged by.

    Thresholds are found on scores of the films that the calibrators were fitted on, not on nested out-of-fold scores
    (our choice). A threshold must lie on the scale of the scores that it judges, and nested scores come from as many
    scales as there are inner folds; in simulations they missed the target by more than they saved. Platt scaling is
    increasing: with one member the same films are flagged as without any calibration, whatever the calibrator, so the
    conformal guarantee holds exactly as it would on raw scores. With several members two numbers per member were
    fitted to the films that the threshold is found on; what that costs is contained in the cross-fitted metrics, and
    was up to 0.15 points of sensitivity or specificity in simulations (``docs/calibration.md``).

    Args:
        fitting: How a card is fitted.
        folds: Numbers of the cases in each fold; together all cases, each once.
        ensemble: Any ensemble: judging runs no network.

    Returns:
        Predictions in the order of the cases, candidates included, at the high-sensitivity point and at the
        high-specificity point.

    Raises:
        DataError: As for :meth:`Fitting.on`.
    """
    everything = range(len(fitting.cases))
    sensitive: dict[int, Prediction] = {}
    specific: dict[int, Prediction] = {}
    for held in folds:
        inside = set(held)
        found = fitting.on([i for i in everything if i not in inside])
        detector = Detector(ensemble, found.card)
        for i in held:
            case = found.cases[i]
            sensitive[i] = _judged(detector, case, HIGH_SENSITIVITY, candidates=True)
            specific[i] = _judged(detector, case, HIGH_SPECIFICITY, candidates=False)
    return tuple(sensitive[i] for i in everything), tuple(specific[i] for i in everything)


def _judged(detector: Detector, case: Case, point: str, *, candidates: bool) -> Prediction:
    prediction = detector.judge(case.examined, operating_point=point, candidates=candidates).drop_pixels()
    if case.judge is None:
        return prediction
    return replace(prediction, model=case.judge.name, model_version=case.judge.version)


def _check_root(points: OperatingPoints, films: int) -> None:
    """Every film must find a threshold when its own region has none."""
    root = points.nodes["any"]  # there is always a map threshold
    for name in DEFAULT_TARGETS:
        if root.point(name) is None:
            raise DataError(
                f"no {name} threshold can be found on {films} films",
                got=points.omitted[f"any/{name}"],
                hint="calibrate on more films, or with fewer folds",
            )
