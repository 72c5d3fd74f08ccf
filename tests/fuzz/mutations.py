"""How valid documents are damaged: mostly so that they still parse, since a broken bracket tests the parser alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3.0, 0.5, -0.0, 1e-300, 1e300, 32_000, 2**31, 2**63 - 1, -(2**63), 10**30,
    float("nan"), float("inf"), "", " ", "0.5", "512", "raw", "any", "x" * 5000, "\u2028", "\ud800", "..",
    "../x", "a\0b", [], {}, [None], [[]], [1, 2, 3], ["raw", "raw"], {"a": 1}, {"": {}}, [[[[0]]]], [0] * 3000,
)  # fmt: skip


def bytes_changed(data: bytes, dice: random.Random, reach: int | None = None) -> bytes:
    """A few bytes replaced, cut, doubled or taken out, within the first ``reach``."""
    changed = bytearray(data)
    reach = min(len(changed), reach or len(changed))
    for _ in range(dice.choice([1, 1, 2, 5, 20])):
        at, kind = dice.randrange(max(1, reach)), dice.randrange(6)
        if kind < 3:
            changed[at : at + 1] = bytes([dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])])
        elif kind == 3:
            changed[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\1\0\0\0"])
        elif kind == 4:
            changed[at:at] = changed[at : at + dice.randrange(1, 64)]
        else:
            del changed[at : at + dice.randrange(1, 16)]
    if dice.random() < 0.15:
        changed = changed[: dice.randrange(len(changed) + 1)]
    return bytes(changed)


def json_changed(document: Any, dice: random.Random) -> Any:
    """A copy with up to four values, keys or list items changed, anywhere in it."""
    document = copy.deepcopy(document)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        places: list[tuple[Any, Any]] = []
        _collect(document, places)
        if not places:
            return document
        holder, key = dice.choice(places)
        dice.choice(_CHANGES)(holder, key, dice)
    return document


def as_json(document: Any, dice: random.Random) -> bytes:
    """The document as a file; now and then a key stands twice, or nested far too deep."""
    text = json.dumps(document)
    chance = dice.random()
    if chance < 0.02:
        text = text.replace("{", '{"name": "twice", "name": "x", ', 1)
    elif chance < 0.03:
        text = text.replace("null", "[" * 2000 + "]" * 2000, 1)
    elif chance < 0.05:
        return b"\xef\xbb\xbf" + text.encode()
    elif chance < 0.12:
        return bytes_changed(text.encode(), dice)
    return text.encode()


def lines_changed(text: str, dice: random.Random, values: tuple[str, ...], separator: str) -> bytes:
    """A text of lines ``key SEPARATOR value`` (or cells) with a few of them changed."""
    lines = text.splitlines()
    for _ in range(dice.choice([1, 1, 2, 4])):
        kind = dice.randrange(8)
        at = dice.choice([i for i, line in enumerate(lines) if kind >= 5 or separator in line])
        cells = lines[at].split(separator)
        if kind < 5:
            cell = -1 if separator == "=" and kind < 4 else dice.randrange(len(cells))
            cells[cell] = (" " if separator == "=" else "") + dice.choice(values)
            lines[at] = separator.join(cells)
        elif kind == 5:
            lines.insert(at, lines[dice.randrange(len(lines))])
        elif kind == 6 and len(lines) > 1:
            del lines[at]
        else:
            lines[at] = lines[at].replace(dice.choice("aeiou"), dice.choice(["", "x", "é", "\ud800"]), 1)
    data = "\n".join(lines).encode("utf-8", errors="surrogatepass")
    return bytes_changed(data, dice) if dice.random() < 0.08 else data


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        places.append((value, key))
        _collect(item, places)


def _replace(holder: Any, key: Any, dice: random.Random) -> None:
    holder[key] = copy.deepcopy(dice.choice(HOSTILE))


def _retype(holder: Any, key: Any, dice: random.Random) -> None:
    value = holder[key]
    forms: list[Callable[[Any], Any]] = [str, lambda v: [v], lambda v: {"x": v}, lambda v: None, bool]
    if isinstance(value, (int, float)):
        forms += [lambda v: -v, lambda v: v * 1000, lambda v: v + 1, float, lambda v: v / 3]
    holder[key] = dice.choice(forms)(value)


def _remove(holder: Any, key: Any, dice: random.Random) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, dice: random.Random) -> None:
    if isinstance(holder, dict):
        holder[dice.choice([key + "x", key[:-1], key.upper(), "", "__class__", "\ud800"])] = holder.pop(key)
    else:
        holder.insert(key, copy.deepcopy(holder[dice.randrange(len(holder))]))


def _repeat(holder: Any, key: Any, dice: random.Random) -> None:
    if isinstance(holder[key], list):
        holder[key] = json.loads(json.dumps(holder[key] * dice.choice([2, 3, 500])))
    elif isinstance(holder[key], dict):
        holder[key] = {**holder[key], **{f"k{i}": 0 for i in range(dice.choice([1, 2000]))}}
    else:
        _replace(holder, key, dice)


_CHANGES = (_replace, _replace, _replace, _retype, _retype, _remove, _rename, _repeat)
