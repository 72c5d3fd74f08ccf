"""Members of a training run to a folder of weights with a provisional card."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from fracture.calibration.folds import SPLIT_FILE
from fracture.data.splits import Split
from fracture.errors import ConfigurationError, DataError
from fracture.limb.boxes import BoxParameters
from fracture.limb.card import Card, MemberCard, View
from fracture.limb.operating_points import (
    DEFAULT_TARGETS,
    OperatingPoint,
    OperatingPoints,
    RegionThresholds,
    TargetKind,
)
from fracture.limb.store import STORE
from fracture.training.finished import copy_weights, for_card, read_finished
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY


def assemble(
    run: str | Path,
    out: str | Path,
    *,
    name: str,
    version: str,
    description: str,
    members: Sequence[str] = (),
    boxes_only: Collection[str] = (),
    boxes_left_out: Collection[str] = (),
    regions_only: Collection[str] = (),
    regions_by: Collection[str] = (),
    mirrored: Collection[str] = (),
    license: str = "Apache-2.0",  # noqa: A002 - the card's word
    attribution: Sequence[str] = (),
    intended_use: str = "Research. This is not a medical device.",
    limitations: Sequence[str] = (),
) -> Card:
    """Copy trained members into a folder and write a card with provisional thresholds (0.5, marked so).

    The split of the films is copied too, as ``split.json``, where all members were trained by the same one.

    Args:
        run: A run folder of :func:`fracture.training.train`.
        out: The folder of weights to write.
        name, version, description, license, attribution, intended_use, limitations: For the card; what the training
            set asks to be quoted is added to ``attribution``.
        members: Names of the members to take, in order; all that are finished where left out.
        boxes_only: Those of them that tell boxes and have no part in the film's score (``MemberCard.boxes_only``).
        boxes_left_out: Those of them that tell no boxes (``MemberCard.boxes_left_out``).
        regions_only: Those of them that tell a film's regions and nothing else (``MemberCard.regions_only``).
        regions_by: Those of them that tell a film's regions; all where left out (``MemberCard.regions_left_out``).
        mirrored: Those of them that see each film's mirror image too (``MemberCard.views``).

    Raises:
        CardError: One of ``boxes_only`` or ``boxes_left_out`` has no pyramid, one of ``regions_only`` no region head,
            or none is left for the score.
        DataError: A member is missing or unfinished, or its file is not the one that its description names.
        ConfigurationError: ``out`` holds other weights, or is the folder of something else.
    """
    source, folder = Path(run), Path(out)
    names = list(members) or sorted(
        path.stem for path in source.glob("*.json") if path.with_suffix(".safetensors").exists()
    )
    if not names:
        raise DataError(f"{source} holds no finished member", hint="train first, or give another run folder")
    options = {
        "boxes_only": boxes_only,
        "boxes_left_out": boxes_left_out,
        "regions_only": regions_only,
        "regions_by": regions_by,
        "mirrored": mirrored,
    }
    for option, given in options.items():
        if unknown := sorted(set(given) - set(names)):
            raise ConfigurationError(f"{option} names no member", got=", ".join(unknown), allowed=names)
    STORE.check_place(folder, name)
    found = read_finished(source, names)
    copy_weights(source, names, folder)
    cards = [
        MemberCard(
            file=f"{member}.safetensors",
            sha256=facts["sha256"],
            model=facts["model"],
            preprocess=facts["preprocess"],
            boxes_only=member in boxes_only,
            boxes_left_out=member in boxes_left_out,
            regions_only=member in regions_only,
            regions_left_out=bool(regions_by) and member not in regions_by,
            views=(View(mirrored=True),) if member in mirrored else (),
            training=for_card(facts["training"]),
        )
        for member, facts in found.items()
    ]
    asked = [facts["training"].get("attribution") for facts in found.values()]
    quoted = dict.fromkeys((*attribution, *(text for text in asked if text)))
    card = Card(
        name=name,
        version=version,
        created=date.today().isoformat(),
        description=description,
        license=license,
        attribution=tuple(quoted),
        intended_use=intended_use,
        limitations=tuple(limitations),
        members=tuple(cards),
        operating_points=provisional().to_dict(),
        boxes=BoxParameters().to_dict(),
    )
    _copy_split([source / member / SPLIT_FILE for member in names], folder / SPLIT_FILE)
    card.write(folder)
    return card


def _copy_split(splits: Sequence[Path], target: Path) -> None:
    """Copy the one split of all members; a file from before goes where they have none, or several."""
    present = [path for path in splits if path.is_file()]
    if len(present) == len(splits) and len({Split.read(path).checksum for path in present}) == 1:
        shutil.copyfile(present[0], target)
    else:
        target.unlink(missing_ok=True)


def provisional() -> OperatingPoints:
    """Points at 0.5 that were found on no film; predictions by them carry a warning."""

    def point(name: str, kind: TargetKind) -> OperatingPoint:
        return OperatingPoint(
            name=name,
            node="any",
            threshold=0.5,
            target=DEFAULT_TARGETS[name],
            target_kind=kind,
            method="empirical",
            n_positive=0,
            n_negative=0,
            data="provisional: not calibrated",
        )

    root = RegionThresholds(
        high_sensitivity=point(HIGH_SENSITIVITY, "sensitivity"),
        high_specificity=point(HIGH_SPECIFICITY, "specificity"),
    )
    return OperatingPoints({"any": root})
