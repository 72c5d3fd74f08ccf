"""Leave when asked to: SIGTERM and SIGINT become a flag that the loop looks at after each optimizer step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Whether somebody asked the run to save and leave.

    Attributes:
        asked: Set it from anywhere.
        signal: Number of the signal that did, if one did.
    """

    asked: bool = False
    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that SIGTERM sets, and a first SIGINT; a second SIGINT interrupts at once.

    Outside the main thread no handler can be set, and the request can only be set by hand.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def asked(number: int, frame: FrameType | None) -> None:
        if request.asked and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        request.asked, request.signal = True, number

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
