"""Calibrate weights that saw all films, by others that each held some of them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fracture.calibration.cases import Case, examine_films
from fracture.calibration.fitting import Fitting
from fracture.calibration.folds import HELD_OUT, FoldWeights, read_fold, share_out
from fracture.calibration.platt import member_name
from fracture.calibration.run import (
    CalibrationResult,
    check_request,
    conclude,
    numbers_of,
    require_fractures,
    told_of,
)
from fracture.calibration.sweep import PAPERS, MapRule, Sweep
from fracture.data.records import AnnotatedSet
from fracture.data.splits import split_folds
from fracture.errors import DataError
from fracture.limb.card import Calibration, Card, MemberCard
from fracture.limb.detector import Detector
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import Method
from fracture.limb.store import open_weights
from fracture.models.devices import Precision
from fracture.wing.result import Failure


@dataclass(frozen=True, eq=False)
class _Kinship:
    """How the members of the weights relate to those of the fold weights.

    Attributes:
        same: Whether the weights' members are members of the fold weights; else they are sisters of theirs.
        names: Per fold weights, what each of their members is called here: as in the weights where they have it,
            else with the fold weights' name in front.
        words: The relation, for people.
    """

    same: bool
    names: tuple[Mapping[str, str], ...]
    words: str


def calibrate_out_of_fold(
    weights: str | Path,
    annotated: AnnotatedSet,
    fold_weights: Sequence[str | Path],
    *,
    parts: Sequence[str] = HELD_OUT,
    calibrate_members: bool | None = None,
    out: str | Path | None = None,
    method: Method = "empirical",
    maps: MapRule = PAPERS,
    folds: int = 5,
    seed: int = 0,
    precision: Precision = "auto",
    device: str = "auto",
    progress: Callable[[int], object] | None = None,
) -> CalibrationResult:
    """Find operating points and box rules for weights that have no film they never saw.

    Each of the fold weights judges the films that it held out, once, and the outputs are pooled. The weights are either
    made of the fold weights' members (the same files), or their sisters: trained in the same way on more films, none of
    their files among the fold weights'. The pooled outputs stand for theirs:

    - Made of the fold members: each member is calibrated on the films that its own fold weights held out, and its
      calibrator is copied to the weights. Members of different folds can differ in scale; calibrated scores can be
      pooled and averaged. With ``calibrate_members=False`` the calibrators in the fold weights' cards are copied.
      A film here is judged by the members of one folder, by all members later. The mean of more members spreads less;
      the points are expected to hold, which is not measured.
      A network that tells regions alone has no part in scores and boxes and may be of no fold at all.
    - Sisters: no member is calibrated unless asked for. If it is, members are matched by name, and each gets one
      calibrator, fitted on the pooled held-out films of all its namesakes: the weights' own member, too, is one whose
      scale nobody could measure. That the weights score as their sisters do is an assumption.

    The card says which of the two it is. Metrics are cross-fitted as in :func:`fracture.calibration.calibrate`; each
    part of the cross-fitting takes its share of every folder's films, by group. The fold weights' own cards are read
    and left as they are.

    Args:
        weights: Folder or name of the weights; its card is rewritten.
        annotated: The whole set that the fold weights' splits divide.
        fold_weights: Folders with a card and the split beside it (``split.json``).
        parts: Parts of these splits to judge; :func:`fracture.calibration.folds.share_out` says who judges what.
        calibrate_members: As said above; ``None`` calibrates members that are the fold weights' and no sisters.
        out, method, maps, folds, seed, precision, device, progress: As for :func:`fracture.calibration.calibrate`.

    Raises:
        DataError: As for :func:`fracture.calibration.calibrate` and :func:`fracture.calibration.folds.share_out`; some
            but not all of the weights' members are the fold weights'; or scores of the two would be on different
            scales.
        ConfigurationError: An unknown method, or predictions that cannot be written.
        WeightsError: Weights cannot be loaded.
    """
    check_request(out, method)
    opened = open_weights(weights)
    judges = [read_fold(folder) for folder in fold_weights]
    shares = share_out(judges, annotated, parts)
    require_fractures(shares)
    kinship = _kinship(opened.card, judges, by_name=calibrate_members is True)
    fitted = kinship.same if calibrate_members is None else calibrate_members
    card = _on_one_scale(opened.card, judges, kinship, fitted=fitted)

    held = _parts(shares, folds, seed)  # what cannot be divided is refused before the work
    cases: list[Case] = []
    failures: list[Failure] = []
    for judge, share, names in zip(judges, shares, kinship.names, strict=True):
        ensemble = Ensemble.load(judge.weights, device=device, precision=precision)
        detector = Detector(ensemble, judge.weights.card)
        judged, failed = examine_films(detector, share, progress=progress)
        cases += [_named(case, names, judge.weights.card) for case in judged]
        failures += failed
    count, fractured = (sum(numbers) for numbers in zip(*((len(s), s.positives) for s in shares), strict=True))
    data = (
        f"{count} films, {fractured} fractured, of {annotated.name}, out of fold: each "
        f"judged by the one of {', '.join(judge.name for judge in judges)} that held it out; {kinship.words}"
    )
    fitting = Fitting(tuple(cases), Sweep.over(cases), card, fitted, method, told_of(data, failures), maps)
    more = {"out_of_fold": _account(judges, shares, parts, kinship, card)}
    return conclude(opened, fitting, numbers_of(cases, held), ensemble, failures, out=out, seed=seed, more=more)


def _kinship(card: Card, judges: Sequence[FoldWeights], *, by_name: bool) -> _Kinship:
    """Raises: DataError: Some but not all of the members are the fold weights', or sisters' names do not fit."""
    own = {_identity(member): member_name(member) for member in card.members if not member.regions_only}
    theirs = {_identity(member) for judge in judges for member in judge.weights.card.members}
    shared = own.keys() & theirs
    if shared and len(shared) < len(own):
        raise DataError(
            f"some members of {card.name} are members of the fold weights, and some are not",
            got=f"{len(shared)} of {len(own)}",
            allowed="all or none",
            hint="give the folders of all folds that its members come from",
        )
    if shared:
        names = tuple(
            {
                member_name(member): own.get(_identity(member), f"{judge.name}/{member_name(member)}")
                for member in judge.weights.card.members
            }
            for judge in judges
        )
        words = f"{card.name} averages {len(own)} members, all of them members of these"
        return _Kinship(True, names, words)
    wanted = sorted(own.values())
    for judge in judges:
        if by_name and sorted(member_name(member) for member in judge.weights.card.members) != wanted:
            raise DataError(
                f"members of sisters are calibrated by name, and {judge.name} has other members than {card.name}",
                got=", ".join(member_name(member) for member in judge.weights.card.members),
                allowed=wanted,
                hint="do without the members' calibration, or train and assemble them under the same names",
            )
    names = tuple({member_name(m): member_name(m) for m in judge.weights.card.members} for judge in judges)
    words = f"no member of {card.name} took part: it is assumed to score as these, its sisters, do"
    return _Kinship(False, names, words)


def _identity(member: MemberCard) -> tuple[object, ...]:
    """A member by its tensors and by what it is fed."""
    return member.sha256, member.preprocess_spec


def _on_one_scale(card: Card, judges: Sequence[FoldWeights], kinship: _Kinship, *, fitted: bool) -> Card:
    """The card whose members score on the scale of the fold weights'; calibrators are copied from the fold members.

    Raises:
        DataError: Calibrators of sisters on one side only, or two calibrators for one member.
    """
    for judge in judges:
        if judge.weights.card.tree != card.tree:
            raise DataError(f"{judge.name} and {card.name} have different region trees")
    if fitted:
        return card
    if not kinship.same:
        have = {member.calibration is not None for judge in judges for member in judge.weights.card.members}
        if have != {member.calibration is not None for member in card.members} or len(have) > 1:
            raise DataError(
                f"the members of {card.name} and those of the fold weights score on different scales",
                got="some have calibrators and some have none",
                hint="assemble those that have some again, a new card has none; or calibrate the members, whose names "
                "must then be the same (--calibrate-members)",
            )
        return card
    found: dict[str, Calibration | None] = {}
    for judge, names in zip(judges, kinship.names, strict=True):
        for member in judge.weights.card.members:
            name = names[member_name(member)]
            if found.setdefault(name, member.calibration) != member.calibration:
                raise DataError(f"member {name} has different calibrators in two folders", got=judge.name)
    members = tuple(m.model_copy(update={"calibration": found.get(member_name(m))}) for m in card.members)
    return card.model_copy(update={"members": members})


def _named(case: Case, names: Mapping[str, str], judge: Card) -> Case:
    """The case with the members called as in the weights to be calibrated."""
    output = case.examined.output
    output = replace(
        output,
        member_scores={names[name]: score for name, score in output.member_scores.items()},
        member_logits={names[name]: logit for name, logit in output.member_logits.items()},
        member_peaks={names[name]: peak for name, peak in output.member_peaks.items()},
    )
    return replace(case, examined=replace(case.examined, output=output), judge=judge)


def _parts(shares: Sequence[AnnotatedSet], folds: int, seed: int) -> list[list[str]]:
    """The films of each part of the cross-fitting: its part of every share."""
    parts: list[list[str]] = [[] for _ in range(folds)]
    for share in shares:
        for part, held in zip(parts, split_folds(share, folds, seed=seed).parts.values(), strict=True):
            part += held
    return parts


def _account(
    judges: Sequence[FoldWeights],
    shares: Sequence[AnnotatedSet],
    parts: Sequence[str],
    kinship: _Kinship,
    card: Card,
) -> dict[str, Any]:
    """Who judged what, and how the points carry over, for ``card.metrics``."""
    folders = [
        {
            "name": judge.name,
            "version": judge.weights.card.version,
            "members": {member_name(m): m.sha256 for m in judge.weights.card.members},
            "split_sha256": judge.split.checksum,
            "films": len(share),
            "fractured": share.positives,
            "groups": len({film.group for film in share}),
            "parts": {
                part: sum(film.source in judge.held[part] for film in share) for part in parts if part in judge.held
            },
        }
        for judge, share in zip(judges, shares, strict=True)
    ]
    each = sorted({len(judge.weights.card.members) for judge in judges})
    count = "one member" if each == [1] else f"{'-'.join(map(str, dict.fromkeys((each[0], each[-1]))))} members"
    if kinship.same:
        averaged = sum(not member.regions_only for member in card.members)
        carried = (
            f"{card.name} averages {averaged} members; each film here was judged by the {count} of the folder "
            f"that held it out. The mean of more members spreads less, so the points are expected to hold for "
            f"{card.name}; it has not been measured."
        )
    else:
        carried = (
            f"No member of {card.name} judged these films. The points hold for {card.name} as far as it scores as the "
            f"folders' networks do, which were trained without the films they judged; it has not been measured."
        )
    return {"folders": folders, "carried_over": carried}
