"""The kinds of jobs of a node."""

from __future__ import annotations

READ = "read"
"""Reads a film; its key is the film's SOP Instance UID."""

STUDY = "study"
"""Judges a study; its key is the Study Instance UID."""

COMMIT = "commit"


def send_kind(target: str) -> str:
    """Sends an object to a target; its key is the object's SOP Instance UID."""
    return f"send:{target}"


def commit_kind(target: str) -> str:
    """Waits for an archive's word that it keeps an object; its key is the object's SOP Instance UID."""
    return f"{COMMIT}:{target}"


def event_kind(webhook: str) -> str:
    """Tells a webhook of a positive study."""
    return f"event:{webhook}"
