"""Errors in the words of whoever reads them: on the command line an option is ``--frame 0``, not ``frame=0``."""

from __future__ import annotations

import re
from typing import Any

from fracture.errors import FractureError

_ALLOW = re.compile(r"\ballow=\((['\"])(.+?)\1,?\)")
_ANOTHER_NAME = {"rule": "study-rule"}
_OPTION = re.compile(
    r"\b(data|device|engine|format|frame|fusion|precision|region|rule|window)=(?:'([^']*)'|\"([^\"]*)\"|([\w.]+))"
)


def in_options(error: FractureError) -> str:
    """The error's message with the arguments of Python functions in its hint as the options that they are here.

    What was got and where is shown as given: a file may be called ``frame=0.dcm``.
    """
    if error.hint is None:
        return str(error)
    hint = _ALLOW.sub(lambda m: f"--allow '{m[2]}'" if re.search(r"\W", m[2]) else f"--allow {m[2]}", error.hint)
    hint = _OPTION.sub(lambda m: f"--{_ANOTHER_NAME.get(m[1], m[1])} {m[2] or m[3] or m[4]}", hint)
    return str(type(error)(error.what, got=error.got, allowed=error.allowed, hint=hint))


def line_of(result: Any) -> dict[str, Any]:
    """A result's JSON line, and so its place in a report, with errors told so; those of a study's films too."""
    line: dict[str, Any] = result.to_dict()
    films = zip(line.get("films", ()), getattr(result, "films", ()), strict=True)
    for stated, one in [(line, result), *films]:
        if not one.ok:
            stated["error"]["message"] = in_options(one.error)
    return line
