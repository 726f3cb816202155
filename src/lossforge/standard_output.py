"""Standard output is for results: what else is printed, by whomever, goes to standard error.

Printed by Python, by C code or by a process that was started here: both the object and the descriptor are turned over.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

_OUT, _ERROR = 1, 2


def to_standard_error() -> None:
    """From now on this process, and those that it starts, print to standard error."""
    _flush()
    with suppress(OSError):  # there is no standard error, or no standard output
        os.dup2(_ERROR, _OUT)


@contextmanager
def kept_clean() -> Iterator[None]:
    """Within it nothing reaches standard output."""
    _flush()
    try:
        kept = os.dup(_OUT)
    except OSError:  # there is none
        yield
        return
    try:
        to_standard_error()
        with redirect_stdout(sys.stderr):
            yield
    finally:
        # What C code has printed waits in a buffer of its own, and belongs to standard error too.
        _flush()
        os.dup2(kept, _OUT)
        os.close(kept)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    with suppress(OSError, TypeError, AttributeError):  # no C library to be asked
        ctypes.CDLL(None).fflush(None)
