"""Make ``docs/bill_of_materials.md``: what the shipped weights were trained on, from their cards alone.

python docs/make_bill_of_materials.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "bill_of_materials.md"
HEAD = """\
# What the weights were trained on

Made from the cards by `python docs/make_bill_of_materials.py`; `fracture verify NAME` checks the checksums of the
files that are installed against the same cards.
"""


def parts_of(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every record within a card that names a file of weights with its checksum, in order."""
    if isinstance(value, Mapping):
        if {"file", "sha256"} <= value.keys():
            yield value
        for inner in value.values():
            yield from parts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts_of(inner)


def text() -> str:
    lines = [HEAD]
    for path in sorted(REPOSITORY.glob("weights/*/*card.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"## {card['name']} {card['version']}", "", f"{card['description']}.", ""]
        lines += [f"- License: {card['license']}", f"- Made: {card['created']}"]
        lines += ["", "Material, with its source and license:", ""]
        lines += [f"- {one}" for one in card["attribution"]]
        lines += [
            "",
            "| file | SHA-256 | set | fingerprint of the set | started from | recipe |",
            "|---|---|---|---|---|---|",
        ]
        files = {part["file"]: part for part in reversed(list(parts_of(card)))}
        for name, part in sorted(files.items()):
            training = part.get("training") or {}
            start = (training.get("start") or {}).get("source")
            told = (training.get("set"), training.get("set_fingerprint"), start, training.get("recipe"))
            lines.append(f"| {name} | `{part['sha256']}` | " + " | ".join(str(one or "-") for one in told) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
