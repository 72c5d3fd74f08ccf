"""What words say: yes and no, fracture and none, and which names belong to one film."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import PurePosixPath

_YES = frozenset(["1", "1.0", "true", "t", "yes", "y", "ja", "j", "oui", "si", "positive", "pos", "+", "present"])
_NO = frozenset(["0", "0.0", "false", "f", "no", "n", "nein", "non", "none", "negative", "neg", "absent"])
_UNKNOWN = frozenset(
    ("", "unknown", "unclear", "unbekannt", "undefined", "missing", "n/a", "na", "nan", "null", "?", "-")
)

# Fractured in English, German, French, Spanish, Portuguese and Italian: the languages of the public sets.
_FRACTURE = re.compile(r"fractur|fraktur|frattur|fratur|gebrochen|broken$|bruch$|fx$")
_JOINED = re.compile(r"(non|not?|un|nicht|keine?)(?=fra|broken|gebrochen)")
_FINDING = re.compile(r"finding|abnormal|positive$|patholog|injur|befund")
_NORMAL = frozenset(["normal", "healthy", "intact", "unremarkable", "negative", "neg", "gesund", "sain", "sano"])
_BEFORE = frozenset(
    ("no", "without", "w", "free", "absence", "absent", "negative", "neg", "sans", "sin", "sem", "senza")
)
_BEFORE |= {"kein", "keine", "keinen", "keiner", "keinem", "ohne", "nao", "pas"}
_JUST_BEFORE = frozenset(["non", "not", "un", "nicht"])  # of the next word alone: "non-displaced fracture" is one
_FILLERS = frozenset(["a", "an", "any", "the", "eine", "de"])
_AFTER = frozenset(["no", "non", "none", "not", "absent", "negative", "neg", "false", "nein", "free", "n", "normal"])
_SEEN = frozenset(["seen", "visible", "present", "detected", "found", "identified", "evident"])

_COPY = re.compile(r"(?P<stem>.+?)(?:[_-](?:jpe?g|png|bmp|tiff?|webp|dcm))?\.rf\.[0-9A-Za-z]{8,}$", re.IGNORECASE)


def is_unknown(value: object) -> bool:
    """Whether a value says nothing: empty, null, NaN, "unknown", "n/a", "?"."""
    return value is None or value != value or str(value).strip().lower() in _UNKNOWN


def as_flag(value: object) -> bool | None:
    """Yes or no from true/false, 1/0, y/n, positive/negative or their like, ``None`` for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    return True if word in _YES else False if word in _NO else None


def as_label(value: object) -> bool | None:
    """Fractured or not: as :func:`as_flag`, or in words (``"normal"``, ``"No Fracture"``), ``None`` for others."""
    flag = as_flag(value)
    return says_fracture(value) if flag is None and isinstance(value, str) else flag


def says_fracture(name: str) -> bool | None:
    """Whether the name of a class, folder or label means a fracture; ``None`` where it says neither.

    A name with a fracture word in it means one unless it is negated ("No Fracture", "non-fractured", "unfractured",
    "fracture: no", "keine Fraktur"); so do "positive" and "abnormal". "Normal", "healthy", "negative" and negated
    names mean none. The rule is ours, and tested with the names of public sets.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z]+|\d+|[:=]", plain.replace("w/o", " without "))
    places = [i for i, word in enumerate(words) if _FRACTURE.search(word)]
    told = places or [i for i, word in enumerate(words) if _FINDING.search(word)]
    before = words[: told[0]] if told else []
    # "Bone no. 3: fracture" negates nothing.
    negated = any(w in _BEFORE and not follower.isdigit() for w, follower in pairwise([*before, ""]))
    if told and (negated or all(_denied(words, place) for place in told)):
        return False
    if places:
        return True
    return False if _NORMAL & set(words) else True if {"abnormal", "positive"} & set(words) else None


def _denied(words: list[str], place: int) -> bool:
    """Whether the word at ``place`` is negated by itself, by the word before it, or by what ends the name."""
    before = [word for word in words[:place] if word not in _FILLERS and not word.endswith("ly")]
    after = [word for word in words[place + 1 :] if word not in ":="]
    if _JOINED.search(words[place]) or (before and before[-1] in _JUST_BEFORE):
        return True
    if after == ["0"]:
        return words[place + 1] in ":="
    return bool(after) and after[0] in _AFTER and _SEEN.issuperset(after[1:])


def stem_of_copies(source: str) -> str:
    """The name of the film that an augmented copy was made of (``name_jpg.rf.HASH.jpg``: ``name``), else ``""``."""
    found = _COPY.match(PurePosixPath(source).stem)
    return found["stem"] if found else ""
