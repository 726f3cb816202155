"""Which requests wait, and which have cost so many workers that they are given up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from lossforge.evaluation.records import TrainingRequest
from lossforge.executors.workers import CRASHES

MAX_LOST = 20
"""A request whose worker is lost this often, with its node or by somebody's order, is recorded as crashed."""


def ahead_of(workers: int) -> int:
    """How many requests should be ready before a worker is free for them: it should not have to wait."""
    return max(1, workers // 20)


class Retries:
    """The requests of one batch, by index; each is fetched when a worker is free for it, or by `prepare`.

    Deaths that are a request's own doing count apart from all others.
    """

    def __init__(self, requests: Iterable[TrainingRequest]) -> None:
        self._coming = enumerate(requests)
        self._requests: dict[int, TrainingRequest] = {}
        self._waiting: list[int] = []
        self._ready: deque[int] = deque()
        self._exhausted = False
        self._deaths: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self.left = True
        """Whether a request waits, or may still come."""

    def __getitem__(self, index: int) -> TrainingRequest:
        return self._requests[index]

    def take(self) -> int | None:
        """The next request to start, or None."""
        if self._waiting:
            return self._waiting.pop()
        if not self._ready and not self._fetch():
            self.left = False
            return None
        return self._ready.popleft()

    def prepare(self, ahead: int) -> bool:
        """Fetch one more request while there is nothing else to do, up to ``ahead`` of them; whether it did."""
        return len(self._ready) < ahead and self._fetch()

    def _fetch(self) -> bool:
        if self._exhausted:
            return False
        index, request = next(self._coming, (None, None))
        if index is None or request is None:
            self._exhausted = True
            return False
        self._requests[index] = request
        self._ready.append(index)
        return True

    def done(self, index: int) -> None:
        """A request has its result: nobody asks for it any more."""
        del self._requests[index]

    def died(self, index: int) -> str:
        """The worker of a request died of it: why the request is given up, or "" where it waits again."""
        self._deaths[index] += 1
        if self._deaths[index] >= CRASHES:
            return f"its worker process died {CRASHES} times"
        self._wait(index)
        return ""

    def lost(self, index: int) -> str:
        """The worker of a request was lost, which is not the request's doing: as `died`, with a limit of its own."""
        self._losses[index] += 1
        if self._losses[index] >= MAX_LOST:
            return f"its worker was lost {MAX_LOST} times, with its node or by an order from outside"
        self._wait(index)
        return ""

    def _wait(self, index: int) -> None:
        self._waiting.append(index)
        self.left = True
