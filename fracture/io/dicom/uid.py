"""UIDs that follow from what they name."""

from __future__ import annotations

import hashlib

from pydicom.uid import UID


def derived_uid(*parts: str) -> UID:
    """A UUID-derived UID (PS3.5 B.2) that depends on its parts only."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()[:16]
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")
