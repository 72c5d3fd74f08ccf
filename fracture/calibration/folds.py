"""Weights beside the split that they were trained by: what they saw, and which films they may judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture.data.records import AnnotatedSet
from fracture.data.splits import Split, film_digest, rotate_folds
from fracture.errors import DataError
from fracture.limb.card import MemberCard
from fracture.limb.store import Weights, open_weights

SPLIT_FILE = "split.json"
HELD_OUT = ("validation", "tune")
"""The parts that weights judge out of fold, the one that had no part in their training at all first."""


@dataclass(frozen=True, eq=False)
class FoldWeights:
    """Weights and the films of their split.

    Attributes:
        weights: Folder and card.
        split: The file beside the card.
        train: Films that any member was trained on.
        held: Part -> films that are in this part for every member.
    """

    weights: Weights
    split: Split
    train: frozenset[str]
    held: Mapping[str, frozenset[str]]

    @property
    def name(self) -> str:
        """What the card calls the weights."""
        return self.weights.card.name


def read_fold(folder: str | Path) -> FoldWeights:
    """Read a card and the ``split.json`` beside it.

    The split is one with a ``train`` part, or one in folds, of which the members' training facts say which turn was
    theirs (``split.fold`` and ``split.tune_fold`` of the recipe). Where these facts hold the checksum of a split, it
    must be this one.

    Raises:
        WeightsError: No card, or a malformed one.
        DataError: No split, a damaged one, one that the members were not trained by, or folds without a turn.
    """
    opened = open_weights(folder)
    path = opened.folder / SPLIT_FILE
    if not path.is_file():
        raise DataError(
            f"{opened.folder} holds no {SPLIT_FILE}",
            hint="put the split that the members were trained by beside the card; `fracture assemble` does",
        )
    split = Split.read(path)
    turns = [_turn(split, member, path) for member in opened.card.members]
    return FoldWeights(
        opened,
        split,
        train=frozenset().union(*(turn["train"] for turn in turns)),
        held={
            name: frozenset(turns[0][name]).intersection(*(turn[name] for turn in turns[1:]))
            for name in turns[0]
            if all(name in turn for turn in turns)
        },
    )


def share_out(
    folds: Sequence[FoldWeights], annotated: AnnotatedSet, parts: Sequence[str] = HELD_OUT
) -> list[AnnotatedSet]:
    """Which films each of the fold weights judges: each film by one of them, and none by one that was trained on it.

    A film that several hold out is judged by the one that holds it out in the part named first: with folds in turn,
    each film is in the ``validation`` part of one turn and in the ``tune`` part of another. Two that hold it out in the
    same part are an error, and not averaged: the mean of two ensembles is another score than the one that films with a
    single judge get, and one threshold would have to serve both.

    Args:
        folds: The fold weights.
        annotated: The set that their splits divide.
        parts: Names of the parts to judge, in order of preference.

    Returns:
        The films of each of the fold weights, in the order of the set.

    Raises:
        DataError: No such part, nothing to judge, a film with two judges, a film that its judge was trained on, groups
            that straddle, films that the set lacks, or two fold weights of one name.
    """
    names = [fold.name for fold in folds]
    if not folds or len(set(names)) < len(names):
        raise DataError(
            "fold weights need distinct names",
            got=", ".join(names) or "no folder",
            hint="assemble each fold under another name",
        )
    if unknown := [part for part in parts if not any(part in fold.held for fold in folds)]:
        known = sorted({name for fold in folds for name in fold.held} - {"train"})
        if tuple(parts) != HELD_OUT or len(unknown) == len(parts):
            raise DataError("no split of the fold weights has such a part", got=", ".join(unknown), allowed=known)
    judge: dict[str, int] = {}
    for part in parts:
        fresh: dict[str, int] = {}
        double: list[str] = []
        for number, fold in enumerate(folds):
            for source in fold.held.get(part, frozenset()) - judge.keys():
                double += [source] if source in fresh else []
                fresh[source] = number
        if double:
            raise DataError(
                f"{len(double)} films are in the part {part} of several folders",
                got=_few(double),
                hint="give folders of one split in folds; weights that hold out the same films are calibrated "
                "together, without --out-of-fold",
            )
        judge |= fresh
    shares = [annotated.subset(_in_order(judge, number, annotated), name=names[number]) for number in range(len(folds))]
    for fold, share in zip(folds, shares, strict=True):
        _check_share(fold, share, annotated)
    _check_groups(shares)
    return shares


def check_unseen(weights: Weights, annotated: AnnotatedSet) -> None:
    """Refuse films that the weights were trained on, as far as a split beside them tells.

    A film is known by its file, whatever its name is now. A film of the split under its own name is in the part that
    the split says, though a copy of it be in another. Where the split has no checksums of files (:meth:`Split.signed`)
    films are known by their names in a set of the same name. Nothing is checked where there is no ``split.json``.

    Raises:
        DataError: Films of the training part; or as for :func:`read_fold`.
    """
    if not (weights.folder / SPLIT_FILE).is_file():
        return
    fold = read_fold(weights.folder)
    files = fold.split.files
    if not files and fold.split.name != annotated.name.partition("/")[0]:
        return
    trained = {files[source] for source in fold.train if source in files}

    def known(source: str) -> bool:
        digest = film_digest(annotated, source) if files else files.get(source)
        return source in fold.train if digest == files.get(source) else digest in trained

    if seen := [film.source for film in annotated if known(film.source)]:
        raise DataError(
            f"{weights.card.name} was trained on {len(seen)} of these {len(annotated)} films",
            got=_few(seen),
            hint="give films that no member has seen, as the parts that were held out (--split and --part); weights "
            "that were trained on all films are calibrated by others that were not (--out-of-fold)",
        )


def _turn(split: Split, member: MemberCard, path: Path) -> Mapping[str, tuple[str, ...]]:
    """The parts of a split as one member was trained by it."""
    told = _at(member.training, "split", "sha256")
    if isinstance(told, str) and told != split.checksum:
        raise DataError(
            f"{path} is not the split that {member.file} was trained by",
            got=split.checksum[:12],
            allowed=told[:12],
            hint="take the split.json of the member's run folder",
        )
    if "train" in split.parts:
        return split.parts
    fold = _at(member.training, "config", "split", "fold")
    if not isinstance(fold, int):
        raise DataError(
            f"{path} divides the films into folds, and the card does not say which turn {member.file} had",
            hint="put a split with the parts train and validation there",
        )
    turn = rotate_folds(split, fold)
    if _at(member.training, "config", "split", "tune_fold") is not False:
        return turn.parts
    return {"train": (*turn.parts["train"], *turn.parts["tune"]), "validation": turn.parts["validation"]}


def _at(facts: Any, *keys: str) -> Any:
    """What stands under these keys of nested dictionaries, ``None`` where nothing does."""
    for key in keys:
        facts = facts.get(key) if isinstance(facts, Mapping) else None
    return facts


def _in_order(judge: Mapping[str, int], number: int, annotated: AnnotatedSet) -> list[str]:
    """The films of one judge in the order of the set, those that it lacks last."""
    own = {source for source, by in judge.items() if by == number}
    return [film.source for film in annotated if film.source in own] + sorted(own - {f.source for f in annotated})


def _check_share(fold: FoldWeights, share: AnnotatedSet, annotated: AnnotatedSet) -> None:
    if len(share) == 0:
        raise DataError(
            f"{fold.name} has no film to judge",
            hint="its members need one common held-out part: assemble the members of one fold, without those of others",
        )
    if seen := [film.source for film in share if film.source in fold.train]:
        raise DataError(f"{fold.name} was trained on {len(seen)} of the films it is to judge", got=_few(seen))
    groups = {annotated.film(source).group for source in _present(fold, annotated)}
    if straddling := [film.source for film in share if film.group in groups]:
        raise DataError(
            f"{fold.name} was trained on films of the same groups as {len(straddling)} of those it is to judge",
            got=_few(straddling),
            hint="split by group (`fracture split-data`) and train again",
        )


def _present(fold: FoldWeights, annotated: AnnotatedSet) -> frozenset[str]:
    """The training films, all of which the set must have: else their groups are unknown."""
    if missing := [source for source in fold.train if source not in annotated]:
        raise DataError(
            f"{annotated.name} lacks {len(missing)} films that {fold.name} was trained on",
            got=_few(missing),
            hint="give the whole set that the split was made of: its groups must be known",
        )
    return fold.train


def _check_groups(shares: Sequence[AnnotatedSet]) -> None:
    """No group with two judges: cross-fitting could not keep its films together."""
    owner: dict[str, str] = {}
    for share in shares:
        for film in share:
            if owner.setdefault(film.group, share.name) != share.name:
                raise DataError(
                    f"films of one group are judged by {owner[film.group]} and by {share.name}",
                    got=film.source,
                    hint="give folders of one split by group",
                )


def _few(sources: Iterable[str]) -> str:
    listed = sorted(sources)
    return ", ".join(listed[:5]) + (" ..." if len(listed) > 5 else "")
