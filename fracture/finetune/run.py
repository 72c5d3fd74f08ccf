"""``finetune``: old weights and films of a new region to new weights with a card that says what was gained and lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, get_args

from fracture.atomic import hold
from fracture.calibration.cases import Case, examine_films
from fracture.data.readers import read_annotations
from fracture.data.records import AnnotatedSet, Film
from fracture.data.seeds import derive_seed, generator
from fracture.data.splits import Split, split_parts
from fracture.errors import ConfigurationError, DataError, RegionError, TrainingError
from fracture.finetune.measure import compare, thresholds_for
from fracture.finetune.members import Start, mix, start_member
from fracture.finetune.policy import FineTunePolicy
from fracture.limb.card import Card, MemberCard
from fracture.limb.detector import Detector, measured_self_test
from fracture.limb.ensemble import Ensemble
from fracture.limb.operating_points import Method, OperatingPoints
from fracture.limb.store import STORE, Weights, open_weights
from fracture.models.devices import Precision, resolve_device, resolve_precision
from fracture.regions import PARTS, RegionTree
from fracture.schema import validated
from fracture.training.run import train
from fracture.wing.result import Failure
from fracture.wing.store import Weights as Opened

_FEWEST_REPLAYED = 30  # old films beside the new ones, where there are any (our choice)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What fine-tuning made.

    Attributes:
        detector: Ready to use, with the new weights.
        card: Their card; ``card.parent`` names the old weights.
        folder: Where they lie: ``fracture.load(folder)``.
        report: ``card.metrics["fine_tuning"]``: films, the new region before and after, the old regions before and
            after, the new thresholds or why there are none.
    """

    detector: Detector
    card: Card
    folder: Path
    report: Mapping[str, Any]


def finetune(
    weights: str | Path | Weights | None,
    data: AnnotatedSet | str | Path,
    *,
    region: str,
    out: str | Path,
    parent: str | None = None,
    old: AnnotatedSet | str | Path | None = None,
    policy: FineTunePolicy | None = None,
    split: Split | str | Path | None = None,
    method: Method = "empirical",
    name: str | None = None,
    version: str = "1",
    run: str | Path | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    progress: bool = True,
) -> FineTuned:
    """Teach weights a new region; a call that was interrupted resumes when it is repeated.

    The films are divided by group; one part trains, the other finds the region's operating points and measures.
    Every member learns by the policy: its heads, then its last stages too, then a step back towards its old weights.
    Where the other part has too few films for a threshold of its own
    (:func:`fracture.limb.operating_points.fewest_films`), the region is judged by its parent's in the tree, and card
    and predictions say so. The thresholds of all other regions stay as they were; how far the old regions' AUC moved is
    measured where ``old`` is given.

    Args:
        weights: Folder or name of the old weights; ``None`` for the default ones.
        data: Films of the new region. Their own region names are kept beside ``region`` where the weights know them.
        region: Name of the region; a new one is added to the weights' region tree below ``parent``. So is a bone
            that was so far a spelling of the region around it: scapula, patella, calcaneus, radius, ulna, tibia,
            fibula, thumb.
        out: Folder of the new weights.
        parent: Region that the new one is a part of; where left out, what the tree says for a region or a bone that
            it knows, else the root ``any``.
        old: Films of the old regions that the old weights were not trained on. Half of their groups is measured
            before and after; from the other half as many films as there are new ones (at least 30) are trained on
            beside the new ones, so that the networks learn to tell the new region from the old. Without them the new
            region is never recognized by the networks: name it in ``predict(..., region=...)``.
        policy: What learns, how long and how fast.
        split: A split of ``data`` with the parts ``train`` and ``validation``; made by ``policy.validation`` where
            left out. It is kept beside the weights.
        method: How thresholds are found: ``"empirical"`` or ``"conformal"``.
        name, version: Of the new weights; the name is ``<old name>-<region>`` where left out.
        run: Folder for checkpoints and logs; ``<out>-training`` where left out.
        cache: Folder for prepared films; below the user's cache where left out.
        seed: Of the split, the films that are replayed, and the training.
        threads: torch threads; torch's own choice where left out.
        device: As for :func:`fracture.load`.
        precision: That thresholds are found in; training is float32 on a CPU without bfloat16, else bfloat16.
        progress: Progress bars on standard error.

    Raises:
        ConfigurationError: ``out`` is the folder of the old weights or of others, or an illegal name or setting.
        OutputError: Another process works in ``out``, or the disk is full.
        RegionError: The region's name is malformed, or the parent is not in the tree.
        DataError: Too few films or groups, no fractured film to train on, unreadable films.
        WeightsError: The old weights cannot be loaded.
        TrainingError: The training cannot go on, or a signal ended it (everything is saved).
    """
    policy = policy or FineTunePolicy()
    parents = weights if isinstance(weights, Opened) else open_weights(weights)
    folder = Path(out)
    if folder.resolve() == parents.folder.resolve():
        raise ConfigurationError("out is the folder of the old weights", got=str(out), hint="give another folder")
    tree, region, named = checked_names(parents.card, region, parent, name=name, version=version, method=method)
    known = {r for member in parents.card.members for r in member.model_spec.regions}
    annotated = _showing(_read(data), region, known)
    made = _split(annotated, split, policy, seed)
    training, held = made.part(annotated, "train"), made.part(annotated, "validation")
    if training.positives == 0:
        raise DataError(
            "no fractured film to learn from",
            got=f"{len(training)} normal films in the training part",
            hint="collect fractured films, or use another seed or split",
        )
    runs = Path(run) if run is not None else folder.with_name(f"{folder.name}-training")
    STORE.check_place(folder, named, begun=(runs / "start").is_dir())
    replayed, measured = _old_films(old, len(training), seed)
    films = training if replayed is None else AnnotatedSet.merge([training, replayed], name=f"{annotated.name}+old")
    dtype = resolve_precision(precision, resolve_device(device))

    with hold(folder / ".lock", f"the folder {folder}"):
        members = []
        for number, member in enumerate(parents.card.members):
            start = start_member(parents, member, region, seed=derive_seed(seed, number, 0, stream="finetune") % 2**31)
            settings: dict[str, Any] = {
                "split": {"shares": {"train": 1.0}},
                "data": {"cache": str(cache) if cache is not None else None},
                "loss": {"region": 0.2 if replayed is not None else 0.0},
                "sampling": {"later": "label" if films.positives < len(films) else "natural"},
                "loop": {"threads": threads, "precision": str(dtype).removeprefix("torch.")},
            }
            trained, facts = _train(start, films, policy, settings, runs, device=device, progress=progress)
            file = f"{start.config.name}.safetensors"
            digest = mix(start, trained, policy.keep, folder / file)
            members.append(_member_card(member, start, file, digest, facts, policy))

        draft = parents.card.model_copy(
            update={
                "name": named,
                "version": version,
                "created": date.today().isoformat(),
                "description": f"{parents.card.label} fine-tuned on {region}: "
                f"{len(training)} films of {annotated.name}",
                "members": tuple(members),
                "tree": tree.to_dict(),
                "parent": parents.card.as_parent(),
                "metrics": {},
                "self_test": None,
                # Both were made for the old members' tensors.
                "fast": None,
                "input_check": None,
            }
        )
        draft.write(folder)
        made.signed(annotated).write(folder / "split.json")
        new = Detector(Ensemble.load(Weights(folder, draft), device=device, precision=precision), draft)
        before = Detector(Ensemble.load(parents, device=device, precision=precision), parents.card)
        card = _finished(draft, new, before, held, measured, region, method, policy, made, replayed, seed)
        card = card.model_copy(update={"self_test": measured_self_test(Weights(folder, card))})
        card.write(folder)
        detector = Detector(new.ensemble, card, folder=folder)
        return FineTuned(detector, card, folder, card.metrics["fine_tuning"])


def _finished(
    draft: Card,
    new: Detector,
    before: Detector,
    held: AnnotatedSet,
    measured: AnnotatedSet | None,
    region: str,
    method: Method,
    policy: FineTunePolicy,
    made: Split,
    replayed: AnnotatedSet | None,
    seed: int,
) -> Card:
    """The card with the new region's thresholds, and what was gained and lost."""
    cases, earlier, failures = _both(new, before, held)
    told = f"{len(held)} films, {held.positives} fractured: validation of {made.name}, split {made.checksum[:12]}"
    points = thresholds_for(cases, region, new.tree, new.box_parameters, method=method, data=told)
    old_points = OperatingPoints.from_dict(draft.operating_points)
    merged = OperatingPoints({**old_points.nodes, **points.nodes}, {**old_points.omitted, **points.omitted})
    applied = merged.lookup((region,), new.tree)
    report: dict[str, Any] = {
        "region": region,
        "tree_parent": new.tree.ancestors(region)[0],
        "policy": policy.to_dict(),
        "films": {
            "trained on": made.counts.get("train", {}),
            "held out": made.counts.get("validation", {}),
            "old films trained on": len(replayed) if replayed is not None else 0,
        },
        "new region": compare(cases, earlier, seed=seed)["all"],
        "operating points": {
            name: {"node": point.node, "threshold": point.point.threshold, "reason": point.reason}
            for name, point in applied.points.items()
        },
    }
    if measured is None:
        report["old regions"] = {"measured": False, "reason": "no films of the old regions were given (old=...)"}
        limit = "the old regions' accuracy after fine-tuning was not measured"
    else:
        now, earlier, more = _both(new, before, measured)
        failures += more
        report["old regions"] = {"measured": True, **compare(now, earlier, seed=seed)}
        limit = "the old regions moved as metrics.fine_tuning says"
    if failures:
        report["failed"] = [{"film": one.source, "error": str(one.error)} for one in failures]
    limits = (
        *draft.limitations,
        f"Fine-tuned on {region} from few films; {limit}; other regions keep the thresholds of {before.card.label}",
    )
    attribution = tuple(dict.fromkeys((*draft.attribution, *([held.attribution] if held.attribution else []))))
    return draft.model_copy(
        update={
            "operating_points": merged.to_dict(),
            "metrics": {"fine_tuning": report},
            "limitations": limits,
            "attribution": attribution,
            "data": {"set": held.name, "license": held.license, "split": "split.json", "split_sha256": made.checksum},
        }
    )


def _train(
    start: Start,
    films: AnnotatedSet,
    policy: FineTunePolicy,
    settings: Mapping[str, Any],
    runs: Path,
    *,
    device: str,
    progress: bool,
) -> tuple[Path, dict[str, Any]]:
    """One member through the phases: its weight file and, by phase, what the training says of itself."""
    name = start.config.name
    latest = runs / "start" / f"{name}.safetensors"
    if not latest.exists():
        start.write(latest)
    facts: dict[str, Any] = {}
    for phase in policy.phases():
        config = policy.config(phase, len(films), start.stages, start.config, init=str(latest), **settings)
        result = train(config, films, out=runs / phase, device=device, progress=progress)
        if not result.finished:
            raise TrainingError(
                f"fine-tuning was asked to stop in phase {phase!r} of {name}",
                hint="everything is saved; the same call goes on from there",
            )
        latest = result.members[0].weights
        facts[phase] = result.members[0].facts["training"]
    return latest, facts


def _member_card(
    old: MemberCard, start: Start, file: str, digest: str, facts: Mapping[str, Any], policy: FineTunePolicy
) -> MemberCard:
    """The member's card. Its calibrator stays: the old regions' thresholds are on that scale."""
    last = facts[policy.phases()[-1]]
    kept = ("seed", "set", "attribution", "license", "films", "device", "threads", "begun", "finished", "versions")
    training = {
        "recipe": "finetune",
        **{key: last[key] for key in kept if key in last},
        "phases": {
            phase: {key: told.get(key) for key in ("epochs", "presentations", "optimizer_steps", "seconds")}
            for phase, told in facts.items()
        },
        "policy": policy.to_dict(),
        "parent": {"file": old.file, "sha256": old.sha256},
    }
    return MemberCard(
        file=file,
        sha256=digest,
        model=start.config.model.to_dict(),
        preprocess=old.preprocess,
        calibration=old.calibration,
        boxes_only=old.boxes_only,
        boxes_left_out=old.boxes_left_out,
        regions_only=old.regions_only,
        regions_left_out=old.regions_left_out,
        views=old.views,
        training=training,
    )


def checked_names(
    card: Card, region: str, parent: str | None, *, name: str | None, version: str, method: str
) -> tuple[RegionTree, str, str]:
    """Everything about a request that can be checked before a film is read or a network is built.

    Returns:
        The tree with a place for the region, the region's name in it, the name of the new weights.

    Raises:
        RegionError, ConfigurationError: As :func:`finetune`.
    """
    tree, region = tree_with(card.region_tree, region, parent)
    named = name or f"{card.name}-{region.replace('_', '-')}"[:64]
    what = f"the new weights cannot have the name {named!r} or the version {version!r}"
    validated(Card, {**card.model_dump(), "name": named, "version": version}, what)
    if method not in get_args(Method):
        raise ConfigurationError("how thresholds are found", got=repr(method), allowed=get_args(Method))
    return tree, region, named


def tree_with(tree: RegionTree, region: str, parent: str | None = None) -> tuple[RegionTree, str]:
    """The tree with a place for a region, and its name there, before anything is read.

    A region of the tree, in any spelling of it, stays where it is. A bone that is only a spelling of the region around
    it (:data:`fracture.regions.PARTS`), any alias that comes with a parent, and every new name become a region of
    their own.

    Raises:
        RegionError: The name is malformed, or the parent is not in the tree.
        ConfigurationError: The region is in the tree, but not below this parent.
    """
    name = re.sub(r"[\s\-]+", "_", region.strip().lower())
    try:
        known = tree.normalize(region)
    except RegionError:
        known = None
    if known is None or (name != known and (name in PARTS or parent is not None)):
        return tree.with_region(name, parent, source="fine-tuning"), name
    if parent is not None and tree.normalize(parent) not in tree.ancestors(known):
        raise ConfigurationError(
            f"{known} is in the weights' region tree already, elsewhere",
            got=f"parent {parent}",
            allowed=tree.ancestors(known),
            hint="leave the parent out, or give the region another name",
        )
    return tree, known


def _read(data: AnnotatedSet | str | Path) -> AnnotatedSet:
    return data if isinstance(data, AnnotatedSet) else read_annotations(data)


def _showing(annotated: AnnotatedSet, region: str, known: set[str]) -> AnnotatedSet:
    """The set with the new region on every film, beside those that the weights know."""

    def shown(film: Film) -> Film:
        return replace(film, regions=tuple(dict.fromkeys((region, *(r for r in film.regions if r in known)))))

    if len(annotated) == 0:
        raise DataError(f"{annotated.name} has no film")
    return replace(annotated, films=tuple(shown(film) for film in annotated))


def _split(annotated: AnnotatedSet, split: Split | str | Path | None, policy: FineTunePolicy, seed: int) -> Split:
    if split is None:
        shares = {"train": 1 - policy.validation, "validation": policy.validation}
        return split_parts(annotated, shares, seed=seed)
    made = split if isinstance(split, Split) else Split.read(split)
    if missing := {"train", "validation"} - set(made.parts):
        raise DataError("the split lacks a part", got=sorted(made.parts), allowed=sorted(missing))
    return made


def _old_films(
    old: AnnotatedSet | str | Path | None, number: int, seed: int
) -> tuple[AnnotatedSet | None, AnnotatedSet | None]:
    """Films to train on beside the new ones, and films to measure with, of different groups."""
    if old is None:
        return None, None
    annotated = _read(old)
    halves = split_parts(annotated, {"train": 0.5, "validation": 0.5}, seed=seed)
    pool, measured = halves.part(annotated, "train"), halves.part(annotated, "validation")
    wanted = min(len(pool), max(number, _FEWEST_REPLAYED))
    rng = generator(derive_seed(seed, 0, 0, stream="replay"))
    chosen: list[str] = []
    for label in (1, 0):  # half of them fractured, as far as there are
        sources = [film.source for film in pool if film.fractured == label]
        count = min(len(sources), wanted // 2 if label else wanted - len(chosen))
        chosen += [sources[i] for i in rng.permutation(len(sources))[:count]]
    return replace(pool.subset(sorted(chosen)), name=f"{annotated.name} (old)"), measured


def _both(new: Detector, old: Detector, annotated: AnnotatedSet) -> tuple[list[Case], list[Case], list[Failure]]:
    """The films under the new weights and under the old, and those that one of them could not judge.

    Regions that the old weights do not know are left out for them.
    """

    def known(film: Film) -> Film:
        return replace(film, regions=tuple(r for r in film.regions if r in old.tree))

    after, failures = examine_films(new, annotated)
    judged = {case.film.source: case for case in after}
    films = tuple(known(case.film) for case in after)
    before, lost = examine_films(old, replace(annotated, films=films))
    both = [judged[case.film.source] for case in before]
    return both, [replace(a, film=b.film) for a, b in zip(before, both, strict=True)], [*failures, *lost]
