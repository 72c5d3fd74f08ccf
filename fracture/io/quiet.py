"""Keep other libraries from talking to the user, and the exceptions by which they report damaged data."""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fracture.errors import ImageSizeError

# What decoders raise on damaged data; every one of them becomes one of our errors with our own words. A lack of memory
# is none of them: see `memory_told`.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_ROOM = 256 * 2**20  # bytes that any film within the limits can be decoded in, but for the very largest (ours)

_TALKATIVE = ("pydicom", "PIL.Image", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.TiffImagePlugin")
_MUTED = threading.local()
_QUIET = threading.RLock()
_C_STDERR = threading.RLock()


@contextmanager
def memory_told(name: str) -> Iterator[None]:
    """Tell a file that asks for too much from a process that has no memory left.

    Sizes are checked before anything is decoded, but a codec may still believe a number in its stream. Where the
    process has room for a film all the same, it was the file that asked for too much; else the lack is the process's
    own, and goes on as it is.

    Raises:
        ImageSizeError: The file asked for too much.
        MemoryError: The process has no memory left.
    """
    try:
        yield
    except MemoryError:
        np.empty(_ROOM, np.uint8)  # raises where there is no room
        raise ImageSizeError(
            f"{name}: decoding it asks for more memory than this process can have",
            hint="if the file is sound, free memory, or read it in a process of its own",
        ) from None


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep other libraries' warnings and log records from the user; yields the warnings.

    pydicom and Pillow quote values of the file in both, and so may name a patient. One thread at a time comes in,
    as the warning filters are global; log records are dropped for this thread alone.
    """
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if _drop_if_muted not in logger.filters:
            logger.addFilter(_drop_if_muted)
    with _QUIET, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before, _MUTED.on = getattr(_MUTED, "on", False), True
        try:
            yield caught
        finally:
            _MUTED.on = before


def _drop_if_muted(_record: logging.LogRecord) -> bool:
    return not getattr(_MUTED, "on", False)


@contextmanager
def c_stderr_closed() -> Iterator[None]:
    """Keep C codecs from printing (libjpeg inside GDCM, libtiff inside Pillow): C's ``stderr`` goes to the null device.

    Only the ``FILE *`` of the C library is exchanged, file descriptor 2 and Python's ``sys.stderr`` stay as they
    are. Where the C library has no such variable (not glibc), nothing is done.
    """
    with _C_STDERR:
        swap = _null_stream()
        if swap is None:
            yield
            return
        variable, null = swap
        before = variable.value
        variable.value = null
        try:
            yield
        finally:
            variable.value = before


_null: tuple[ctypes.c_void_p, int] | bool | None = False


def _null_stream() -> tuple[ctypes.c_void_p, int] | None:
    global _null  # opened once per process
    if isinstance(_null, bool):
        _null = None
        if sys.platform.startswith("linux"):
            try:
                library = ctypes.CDLL(None)
                library.fopen.restype = ctypes.c_void_p
                stream = library.fopen(os.devnull.encode(), b"w")
                if stream:
                    _null = (ctypes.c_void_p.in_dll(library, "stderr"), stream)
            except (OSError, ValueError, AttributeError):
                _null = None
    return _null
