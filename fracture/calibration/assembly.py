"""Members of a training run to a folder of weights with a provisional card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from fracture.calibration.folds import SPLIT_FILE
from fracture.data.splits import Split
from fracture.errors import DataError
from fracture.limb.boxes import BoxParameters
from fracture.limb.card import Card, MemberCard
from fracture.limb.operating_points import DEFAULT_TARGETS, OperatingPoint, OperatingPoints, RegionThresholds
from fracture.limb.store import STORE
from fracture.regular import sha256_of
from fracture.wing.result import HIGH_SENSITIVITY, HIGH_SPECIFICITY

__all__ = ["assemble", "provisional"]

_LONG = ("history",)  # one row per epoch: it stays in the run folder


def assemble(
    run: str | Path,
    out: str | Path,
    *,
    name: str,
    version: str,
    description: str,
    members: Sequence[str] = (),
    license: str = "Apache-2.0",  # noqa: A002 - the card's word
    attribution: Sequence[str] = (),
    intended_use: str = "Research. This is no medical device.",
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

    Raises:
        DataError: A member is missing or unfinished, or its file is not the one that its description names.
        ConfigurationError: ``out`` holds other weights, or is the folder of something else.
    """
    source, folder = Path(run), Path(out)
    names = list(members) or sorted(
        path.stem for path in source.glob("*.json") if path.with_suffix(".safetensors").exists()
    )
    if not names:
        raise DataError(f"{source} holds no finished member", hint="train first, or give another run folder")
    STORE.check_place(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    cards, quoted = [], list(attribution)
    for member in names:
        facts = _facts(source, member)
        path = folder / f"{member}.safetensors"
        shutil.copyfile(source / path.name, path)
        training = _short(facts["training"])
        if isinstance(settings := training.get("config"), dict):
            training["config"] = _without_folders(settings)
        start = training.get("start")
        if isinstance(start, dict):  # lists of tensor names are for the run folder; their counts are for the card
            training["start"] = {k: len(v) if isinstance(v, (list, tuple)) else v for k, v in start.items()}
        cards.append(
            MemberCard(
                file=path.name,
                sha256=facts["sha256"],
                model=facts["model"],
                preprocess=facts["preprocess"],
                training=training,
            )
        )
        if training.get("attribution") and training["attribution"] not in quoted:
            quoted.append(training["attribution"])
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


def _short(training: dict[str, Any]) -> dict[str, Any]:
    """A training record without its rows per epoch, those of the extent head included."""
    kept = {key: value for key, value in training.items() if key not in _LONG}
    if isinstance(kept.get("extents"), dict):
        kept["extents"] = _short(kept["extents"])
    return kept


def _without_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """A training configuration without folders of the machine it ran on: they mean nothing elsewhere."""
    kept = dict(settings)
    if isinstance(kept.get("data"), dict):
        kept["data"] = {**kept["data"], "path": None, "cache": None}
    if isinstance(kept.get("init"), str):
        kept["init"] = Path(kept["init"]).name
    if isinstance(kept.get("split"), dict) and isinstance(kept["split"].get("file"), str):
        kept["split"] = {**kept["split"], "file": Path(kept["split"]["file"]).name}
    return kept


def _facts(run: Path, member: str) -> dict[str, Any]:
    described, weights = run / f"{member}.json", run / f"{member}.safetensors"
    try:
        facts = json.loads(described.read_text(encoding="utf-8"))
        digest = sha256_of(weights)
    except (OSError, ValueError) as error:
        raise DataError(
            f"member {member} of {run} is missing or unfinished", got=type(error).__name__, hint="let the training end"
        ) from error
    if not isinstance(facts, dict) or facts.get("sha256") != digest:
        raise DataError(f"{weights} is not the file that {described.name} describes", got=f"SHA-256 {digest}")
    return facts


def provisional() -> OperatingPoints:
    """Points at 0.5 that were found on no film; predictions by them carry a warning."""

    def point(name: str, kind: str) -> OperatingPoint:
        return OperatingPoint(
            name=name,
            node="any",
            threshold=0.5,
            target=DEFAULT_TARGETS[name],
            target_kind=kind,  # type: ignore[arg-type]
            method="empirical",
            n_positive=0,
            n_negative=0,
            data="provisional: not calibrated",
        )

    return OperatingPoints(
        {
            "any": RegionThresholds(
                high_sensitivity=point(HIGH_SENSITIVITY, "sensitivity"),
                high_specificity=point(HIGH_SPECIFICITY, "specificity"),
            )
        }
    )
