"""What a model card says from the weights' card alone. Every function gives a block of Markdown, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fracture.limb.card import Calibration, Card
from fracture.limb.operating_points import OperatingPoint, OperatingPoints
from fracture.reporting.markdown import as_estimate, blocks, shown, table

_POINTS = ("high_sensitivity", "high_specificity")
_ROW_KEYS = frozenset(("films", "fractured", "auc", *_POINTS))
_SAME_FILMS = (
    "Sensitivity and specificity in this table are those of the very films that the threshold was found on (Wilson "
    "intervals); the results above are what to expect."
)
_OWN_TABLES = frozenset(("film",))


def head(card: Card, megabytes: float | None = None) -> str:
    """Name, description, and what the weights are for; their size where it is known."""
    return blocks(
        f"# {card.label}",
        card.description,
        f"**Intended use.** {card.intended_use}",
        table(
            ("", ""),
            [
                ("name, version", card.label),
                ("made", card.created),
                ("members", len(card.members)),
                *([("size", f"{megabytes:.1f} MB")] if megabytes is not None else []),
                ("license", card.license),
                *([("came from", _flat_text(card.parent))] if card.parent else []),
            ],
        ),
    )


def known_failures(card: Card) -> str:
    """The card's limitations, as a list."""
    if not card.limitations:
        return ""
    return "## Known failures and limits\n\n" + "\n".join(f"- {text}" for text in card.limitations)


def performance(card: Card) -> str:
    """The card's own metrics: film level by cohort, then whatever else stands there."""
    if not card.metrics:
        return "## Results\n\nThe card holds no measured results."
    return "\n\n".join(["## Results", *_metrics(card.metrics)])


def fast_subset(card: Card) -> str:
    """What ``fast=True`` runs, what it loses against all members, and how good it is itself."""
    if card.fast is None:
        return ""
    names = ", ".join(member.file.removesuffix(".safetensors") for member in card.fast.members)
    lines = [f"## The fast subset (`--fast`)\n\nMembers: {names}; with thresholds and box rules of their own."]
    rows = [(name, shown(value, counts=True) or _text(value)) for name, value in _leaves(card.fast.loses)]
    lines.append(table(("against all members, on the same films", "difference"), rows))
    lines += _metrics(card.fast.metrics)
    return blocks(*lines)


def input_check(card: Card) -> str:
    """How pictures that are not radiographs are detected, and what that costs."""
    check = card.input_check
    if check is None:
        return ""
    rows = [("rule", check.rule), ("limit", f"{check.limit:.4g}"), ("member", check.member)]
    rows += [(name, shown(value, counts=True) or _text(value)) for name, value in _leaves(check.false_alarms)]
    return "## Input check\n\n" + table(("", ""), rows)


_MAP_THRESHOLDS = (
    "Map thresholds are of the probability map or, where cells tell the boxes, of the quality that they expect of "
    "them. Jones et al. 2020 set them per region for a minimum sensitivity; how these were chosen stands below. "
    "Regions that are not listed take their parent's."
)


def operating_points(card: Card) -> str:
    """Every threshold with its films, counts and intervals, and the nodes that have none."""
    points = OperatingPoints.from_dict(card.operating_points)
    rows: list[tuple[object, ...]] = []
    sources: dict[str, None] = {}
    for node, thresholds in points.nodes.items():
        for name in _POINTS:
            point = thresholds.point(name)
            if point is not None:
                rows.append(_point_row(node, point))
                sources[f"{point.data} ({point.method}{', ' + point.date if point.date else ''})"] = None
        if thresholds.map_threshold is not None:
            sources.setdefault(f"map thresholds: {thresholds.map_threshold_source}", None)
    header = ("region", "point", "threshold", "fractured / normal films", "sensitivity %", "specificity %")
    maps = [(node, f"{t.map_threshold:g}") for node, t in points.nodes.items() if t.map_threshold is not None]
    return blocks(
        "## Operating points",
        _SAME_FILMS,
        table(header, rows),
        table(("region", "map threshold"), maps),
        _MAP_THRESHOLDS if maps else "",
        "Found on: " + "; ".join(sources) + "." if sources else "",
        "\n".join(f"- {name}: none, {why}" for name, why in sorted(points.omitted.items())),
        "Box rules: " + ", ".join(f"{k} {v}" for k, v in card.boxes.items()) + ".",
    )


def data(card: Card) -> str:
    """Sets, licenses, splits, attribution."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for member in card.members:
        facts = member.training
        split = _mapping(facts.get("split"))
        settings = _mapping(_mapping(facts.get("config")).get("split"))
        fold = f", turn {settings.get('fold')} of {settings.get('folds')}" if settings.get("folds") else ""
        key = (
            str(facts.get("set", "unknown")),
            str(facts.get("license") or "not stated"),
            str(facts.get("set_fingerprint", "")),
            f"{split.get('method', 'unknown')}{fold}, seed {split.get('seed', 'unknown')}",
            str(split.get("sha256", "")),
            _films_text(_mapping(facts.get("films"))),
        )
        sets.setdefault(key, []).append(member.file.removesuffix(".safetensors"))
    rows = [(", ".join(names), *key) for key, names in sets.items()]
    header = ("members", "set", "license", "set fingerprint", "split", "split SHA-256", "films")
    lines = ["## Data and attribution", table(header, rows)]
    if card.data:
        lines.append(table(("data", ""), [(name, _text(value)) for name, value in _leaves(card.data)]))
    lines.append("\n".join(f"- {text}" for text in card.attribution))
    return blocks(*lines)


def members(card: Card) -> str:
    """What the networks are and what they are fed."""
    rows = []
    for member in card.members:
        model, preprocess = member.model, member.preprocess
        calibration = member.calibration
        rows.append(
            (
                member.file.removesuffix(".safetensors"),
                ", ".join(
                    (
                        f"{model.get('backbone')}",
                        f"{model.get('stages')} stages",
                        f"stride {model.get('output_stride')}",
                        f"{model.get('pooling')} pooling",
                        "map" if model.get("map") else "no map",
                    )
                ),
                "+".join(str(name) for name in preprocess.get("channels", ())),
                f"{preprocess.get('size')} px, {preprocess.get('shape')}, version {preprocess.get('version')}",
                "none" if calibration is None else _in_words(calibration),
                member.sha256,
            )
        )
    header = ("member", "network", "planes", "input", "score calibration", "SHA-256")
    return "## Members\n\n" + table(header, rows)


def _in_words(calibration: Calibration) -> str:
    boxes = f" {calibration.peak:+.3f} x best box" if calibration.peak else ""
    return f"{calibration.slope:.3f} x logit{boxes} {calibration.intercept:+.3f}"


def training(card: Card) -> str:
    """Recipe, seed, start, length, time, device and versions of every member's training."""
    rows = []
    seconds = 0.0
    remarks: list[str] = []
    for member in card.members:
        facts = member.training
        start = _mapping(facts.get("start"))
        spent, before = facts.get("seconds"), _mapping(start.get("trained"))
        seconds += sum(float(one.get("seconds") or 0.0) for one in (facts, before))
        if isinstance(facts.get("remark"), str):
            remarks.append(facts["remark"])
        rows.append(
            (
                member.file.removesuffix(".safetensors"),
                facts.get("recipe", ""),
                facts.get("seed", ""),
                start.get("source", ""),
                _earlier(before),
                f"{facts.get('epochs', '')} / {facts.get('presentations', '')} / {facts.get('optimizer_steps', '')}",
                "" if spent is None else _minutes(facts),
                f"{facts.get('device', '')}, {facts.get('processes', '?')} x {facts.get('threads', '?')} threads",
                ", ".join(f"{k} {v:.3f}" for k, v in _mapping(facts.get("auc")).items() if isinstance(v, float)),
            )
        )
    lengths = ("trained before", "epochs / films / steps", "minutes by the clock (of the processor)")
    header = ("member", "recipe", "seed", "start", *lengths, "device", "its own AUC")
    versions: dict[str, list[str]] = {}
    for member in card.members:
        text = ", ".join(f"{k} {v}" for k, v in _mapping(member.training.get("versions")).items())
        versions.setdefault(text, []).append(member.file.removesuffix(".safetensors"))
    return blocks(
        "## Training",
        table(header, rows),
        f"Training of the members, together: {seconds / 3600:.2f} hours by the clock, stops included, and what is told "
        "of the time before."
        if seconds
        else "",
        "\n".join(f"- {text}" for text in dict.fromkeys(remarks)),
        "\n".join(
            f"- versions ({'all members' if len(versions) == 1 else ', '.join(names)}): {text}"
            for text, names in versions.items()
            if text
        ),
    )


def _minutes(record: Mapping[str, Any]) -> str:
    """Time by the clock, and of the processor where it was recorded."""
    busy = record.get("cpu_seconds")
    return f"{float(record['seconds']) / 60:.1f} ({f'{float(busy) / 60:.1f}' if busy else 'not recorded'})"


def _earlier(before: Mapping[str, Any]) -> str:
    """The trainings behind a starting point (:mod:`fracture.training.lineage`)."""
    if not before:
        return ""
    time = f", minutes {_minutes(before)}" if before.get("seconds") else ""
    return f"{before.get('presentations', '?')} films, seed {before.get('seeds', '?')}{time}"


def _metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Blocks: the sentences, the film table, all other numbers."""
    film = metrics.get("film")
    numbers = [(name, shown(value, counts=True)) for name, value in _leaves(metrics) if as_estimate(value) is not None]
    parts = [
        _measured_on(metrics),
        _folders(_mapping(metrics.get("out_of_fold")).get("folders") or ()),
        _film_table(film) if isinstance(film, Mapping) and film else "",
        table(("boxes, regions, calibration and others", "measured"), numbers),
    ]
    return [part for part in parts if part]


def _measured_on(metrics: Mapping[str, Any]) -> str:
    """The sentences among the metrics: which films, how fitted, at what precision."""
    facts = [(name, value) for name, value in _leaves(metrics) if as_estimate(value) is None]
    return "\n".join(f"- {name}: {_text(value)}" for name, value in facts if value not in (None, ""))


def _folders(found: Sequence[Mapping[str, Any]]) -> str:
    """Which weights judged which films, where each judged what it held out."""
    rows = [
        (
            f"{folder.get('name')} {folder.get('version', '')}",
            ", ".join(_mapping(folder.get("members"))),
            folder.get("films"),
            folder.get("fractured"),
            folder.get("groups"),
            str(folder.get("split_sha256", ""))[:12],
        )
        for folder in found
    ]
    return table(("judged by", "members", "films", "fractured", "groups", "split"), rows)


def _film_table(film: Mapping[str, Any]) -> str:
    further = sorted(
        {
            key
            for row in film.values()
            for key, value in _mapping(row).items()
            if key not in _ROW_KEYS and as_estimate(value) is not None
        }
    )
    header = ["films", "n", "fractured", "AUC"]
    header += [f"{name.replace('_', ' ')}: {share} %" for name in _POINTS for share in ("sensitivity", "specificity")]
    rows = []
    for name, found in film.items():
        row = _mapping(found)
        points = [_mapping(row.get(point)) for point in _POINTS]
        rows.append(
            [
                name,
                row.get("films"),
                row.get("fractured"),
                shown(row.get("auc")),
                *(shown(p.get(share), percent=True) for p in points for share in ("sensitivity", "specificity")),
                *(shown(row.get(key)) for key in further),
            ]
        )
    return table([*header, *further], rows)


def _point_row(node: str, point: OperatingPoint) -> tuple[object, ...]:
    def share(value: float | None, interval: tuple[float, float] | None) -> str:
        return shown(None if value is None else {"value": value, "interval": interval}, percent=True)

    return (
        node,
        f"{point.name.replace('_', ' ')} ({point.target_kind} {100 * point.target:g} %)",
        f"{point.threshold:.4f}",
        f"{point.n_positive} / {point.n_negative}",
        share(point.sensitivity, point.sensitivity_interval),
        share(point.specificity, point.specificity_interval),
    )


def _films_text(films: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{part} {row.get('films')} ({row.get('fractured')} fractured, {row.get('groups')} groups)"
        for part, row in films.items()
        if isinstance(row, Mapping)
    )


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, estimate, text and list of a nested dictionary with its name; film tables are not entered."""
    for key, value in content.items():
        if not prefix and key in _OWN_TABLES:
            continue
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping) and as_estimate(value) is None:
            yield from _leaves(value, f"{prefix}{key}: ")
        elif not (isinstance(value, Sequence) and not isinstance(value, str) and any(_nested(v) for v in value)):
            yield name, value


def _nested(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return shown(value) if as_estimate(value) is not None else str(value)


def _flat_text(content: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {_text(value)}" for name, value in _leaves(content))
