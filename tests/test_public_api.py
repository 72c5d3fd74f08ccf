"""What users may have written down stays; a change is made on purpose and shows in this one file."""

from __future__ import annotations

import difflib

from tests.public_api import FILE, described


def test_the_public_names_signatures_keys_and_commands_are_those_of_the_file() -> None:
    kept, found = FILE.read_text(encoding="utf-8").splitlines(), described().splitlines()
    changes = "\n".join(difflib.unified_diff(kept, found, "tests/public_api.txt", "now", lineterm="", n=0))
    assert not changes, f"write it anew by `python -m tests.public_api`, and say so in CHANGELOG.md:\n{changes}"
