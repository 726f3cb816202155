"""One seeded state for everything that DEAP draws.

DEAP has no generator parameter: all its draws come from Python's global ``random`` (DEAP #349). The state
is swapped in for the duration of a strategy's own code and swapped out again, so nobody else's draws
reach a search, and a search changes nobody else's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class RandomState:
    """A state of Python's generator, saved as JSON-ready data."""

    def __init__(self, seed: int) -> None:
        self.state: tuple[Any, ...] = random.Random(seed).getstate()
        """As Python's generator gives it."""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the global state inside the block."""
        outside = random.getstate()
        random.setstate(self.state)
        try:
            yield
        finally:
            self.state = random.getstate()
            random.setstate(outside)

    def save(self) -> list[Any]:
        """The state as nested lists."""
        version, internal, gauss = self.state
        return [version, list(internal), gauss]

    def load(self, saved: list[Any]) -> None:
        """Restore what `save` returned."""
        version, internal, gauss = saved
        state = (version, tuple(internal), gauss)
        random.Random().setstate(state)  # raises for what is no state, here and not at the first draw
        self.state = state
