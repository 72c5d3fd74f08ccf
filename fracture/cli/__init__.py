"""The command line: ``fracture predict | info | verify | simulate | ...``.

Every command is a plain function in a module that imports nothing heavy, so that ``fracture --help`` answers at once.

Exit codes of all commands: 0 all went well, 1 some inputs failed (everything else was still done and written),
2 wrong usage (unknown option, weights or region; nothing was done).
"""

from __future__ import annotations

from fracture.cli.main import app, main

__all__ = ["app", "main"]
