"""Ports for servers under test."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

# Below those that a system gives to connections of its own accord (Linux: from 32768): none is taken between the asking
# and the use of it. Each process begins elsewhere, and none gives a port twice.
_FIRST, _COUNT = 10_240, 22_000
_numbers = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    while True:
        port = _FIRST + next(_numbers) % _COUNT
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) != 0:
                return port
