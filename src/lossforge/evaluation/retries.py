"""Which requests wait, and which have cost so many workers that they are given up."""

from __future__ import annotations

from lossforge.evaluation.workers import CRASHES

LOSSES = 20
"""A request whose worker is lost this often, with its node or by somebody's order, is recorded as crashed."""


class Retries:
    """The requests of one batch, by index. Deaths that are a request's own doing count apart from all others."""

    def __init__(self, count: int) -> None:
        self._waiting = list(range(count))[::-1]
        self._deaths = [0] * count
        self._losses = [0] * count

    def take(self) -> int | None:
        """The next request to start, or None."""
        return self._waiting.pop() if self._waiting else None

    def died(self, index: int) -> str:
        """The worker of a request died of it: why the request is given up, or "" where it waits again."""
        self._deaths[index] += 1
        if self._deaths[index] >= CRASHES:
            return f"its worker process died {CRASHES} times"
        self._waiting.append(index)
        return ""

    def lost(self, index: int) -> str:
        """The worker of a request was lost, which is not the request's doing: as `died`, with a limit of its own."""
        self._losses[index] += 1
        if self._losses[index] >= LOSSES:
            return f"its worker was lost {LOSSES} times, with its node or by an order from outside"
        self._waiting.append(index)
        return ""
