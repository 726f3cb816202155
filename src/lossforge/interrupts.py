"""Ctrl-C and SIGTERM: the first finishes what is under way, the second ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedAtOnceError(KeyboardInterrupt):
    """The user's own Ctrl-C, and not a KeyboardInterrupt that somebody's code raised."""


@contextmanager
def stop_on_signal(on_first: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Yield ``stop()``, which is true after the first signal; the second raises StoppedAtOnceError.

    Outside the main thread signals cannot be caught, and ``stop()`` stays false.
    """
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            raise StoppedAtOnceError
        on_first()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: seen > 0
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def ctrl_c_told_apart() -> Iterator[None]:
    """Within it Ctrl-C raises StoppedAtOnceError where it would have raised KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise StoppedAtOnceError

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
