"""Errors in the words of whoever reads them: on the command line an option is ``--frame 0``, not ``frame=0``."""

from __future__ import annotations

import re

from fracture.errors import FractureError

_ALLOW = re.compile(r"\ballow=\((['\"])(.+?)\1,?\)")
_OPTION = re.compile(r"\b(data|device|format|frame|fusion|precision|region|window)=(?:'([^']*)'|\"([^\"]*)\"|([\w.]+))")


def in_options(error: FractureError) -> str:
    """The error's message with the arguments of Python functions in its hint as the options that they are here.

    What was got and where is shown as given: a file may be called ``frame=0.dcm``.
    """
    if error.hint is None:
        return str(error)
    hint = _ALLOW.sub(lambda m: f"--allow '{m[2]}'" if re.search(r"\W", m[2]) else f"--allow {m[2]}", error.hint)
    hint = _OPTION.sub(lambda m: f"--{m[1]} {m[2] or m[3] or m[4]}", hint)
    return str(type(error)(error.what, got=error.got, allowed=error.allowed, hint=hint))
