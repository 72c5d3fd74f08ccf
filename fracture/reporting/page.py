"""The model card: one page of Markdown from the weights' card, results in JSON, aims and a text about misses.

Nothing in it is typed by hand except the text about misses, and the same inputs give the same bytes: it holds neither
the current date nor a path of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fracture.data.splits import Split
from fracture.errors import ConfigurationError
from fracture.limb.card import Card
from fracture.limb.store import Weights
from fracture.reporting import card_sections, result_sections
from fracture.reporting.aims import Aim, read_aims


def model_card(
    card: Card,
    *,
    report: Mapping[str, Any] | None = None,
    extras: Sequence[Mapping[str, Any]] = (),
    aims: Sequence[Aim] = (),
    misses: str = "",
    split: Split | None = None,
    sizes: Mapping[str, int] | None = None,
    command: str = "",
) -> str:
    """Markdown made from a card and what was measured.

    Args:
        card: The weights' card.
        report: The content of a ``report.json`` of ``fracture evaluate``.
        extras: Results in JSON, in the order of their sections, each a ``fracture-table/1`` or one with
            its own ``markdown``, as ``benchmarks/`` write them.
        aims: What was aimed at; see :func:`fracture.reporting.aims.read_aims`.
        misses: Markdown about the worst misses, as written by somebody who looked at them.
        split: The split file beside the weights; its checksum is held against the one that every member names.
        sizes: Bytes of each file of the weights but the card; aims find their sum at ``["megabytes"]`` of ``files``.
        command: The command that makes this page, quoted at its end.

    Raises:
        ConfigurationError: A result of an unknown format or with keys missing, two results of one kind that aims could
            mean, an aim whose path does not lead to a number, or a report or result of other weights.
    """
    _same_weights(card, report, extras)
    sources: dict[str, Any] = {"card": card.model_dump(mode="json")}
    if report is not None:
        sources["report"] = report
    if sizes:
        sources["files"] = {"megabytes": sum(sizes.values()) / 1e6}
    for extra in extras:
        kind = result_sections.kind_of(extra)
        if kind in sources and any(aim.source == kind for aim in aims):
            raise ConfigurationError("two results of the same kind, and an aim refers to that kind", got=kind)
        sources.setdefault(kind, extra)
    parts = [
        card_sections.head(card, sources.get("files", {}).get("megabytes")),
        result_sections.aims(aims, sources),
        card_sections.known_failures(card),
        card_sections.performance(card),
        card_sections.operating_points(card),
        card_sections.fast_subset(card),
        card_sections.input_check(card),
        "" if report is None else result_sections.report(report),
        *(result_sections.section(extra) for extra in extras),
        f"## The worst misses, looked at\n\n{misses.strip()}" if misses.strip() else "",
        card_sections.data(card),
        "" if split is None else _split_sentence(card, split),
        card_sections.members(card),
        card_sections.training(card),
        _foot(command),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def page_of_files(
    weights: Weights,
    *,
    report: Path | None = None,
    extras: Sequence[Path] = (),
    aims: Path | None = None,
    misses: Path | None = None,
    command: str = "",
) -> str:
    """:func:`model_card` of weights, of their split and sizes, and of files.

    Args:
        weights: The opened weights.
        report: Folder of ``fracture evaluate``, or its ``report.json``.
        extras: JSON files.
        aims: TOML or JSON.
        misses: Markdown.
        command: As for :func:`model_card`.

    Raises:
        ConfigurationError: A file that cannot be read, or as for :func:`model_card`.
    """
    split = weights.folder / "split.json"
    return model_card(
        weights.card,
        report=None if report is None else _read_json(report / "report.json" if report.is_dir() else report),
        extras=tuple(_read_json(path) for path in extras),
        aims=() if aims is None else read_aims(aims),
        misses="" if misses is None else _read_text(misses),
        split=Split.read(split) if split.is_file() else None,
        sizes={path.name: path.stat().st_size for path in sorted(weights.folder.glob("*.safetensors"))},
        command=command,
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", got=type(error).__name__) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{path} is not JSON", got=error.msg) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} does not hold a JSON object", got=type(content).__name__)
    return content


def _same_weights(card: Card, report: Mapping[str, Any] | None, extras: Sequence[Mapping[str, Any]]) -> None:
    named = {str(extra["weights"]) for extra in extras if extra.get("weights")}
    named |= {str(model) for extra in extras for model in extra.get("models", ())}
    if report is not None:
        named |= {str(model) for model in report.get("cohort", {}).get("models", ())}
    # Weights of folds whose networks judged, each what it held out, in the place of these.
    folders = (card.metrics.get("out_of_fold") or {}).get("folders") or ()
    others = sorted(named - {card.label} - {f"{folder['name']} {folder['version']}" for folder in folders})
    if others:
        raise ConfigurationError(
            "a result was measured on other weights", got=", ".join(others), allowed=card.label, hint="measure it again"
        )


def _split_sentence(card: Card, split: Split) -> str:
    counts = ", ".join(f"{name} {len(sources)}" for name, sources in split.parts.items())
    others = [
        member.file
        for member in card.members
        if (member.training.get("split") or {}).get("sha256") not in (None, split.checksum)
    ]
    fits = (
        "**not** the one that the training of " + ", ".join(others) + " names"
        if others
        else "the one that every member's training names"
    )
    return (
        f"Split file `split.json` beside the weights: {split.method}; films: {counts}; checksum `{split.checksum}`, "
        f"{fits}."
    )


def _foot(command: str) -> str:
    made = f"This page was made by\n\n```bash\n{command}\n```\n\n" if command else ""
    return f"---\n\n{made}Do not edit it: change what it is made from."
