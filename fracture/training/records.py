"""JSON records that runs leave in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fracture.errors import ConfigurationError


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object that a run left in its folder.

    Raises:
        ConfigurationError: It cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read", got=error, hint="give another run folder") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path} is not the record of a run", got=type(content).__name__, allowed="a JSON object"
        )
    return content
