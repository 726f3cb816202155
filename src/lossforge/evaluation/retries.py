"""Which requests wait, and which have cost so many workers that they are given up."""

from __future__ import annotations

from dataclasses import dataclass

from lossforge.evaluation.workers import CRASHES

ROUGH_CRASHES = 6
"""As `CRASHES`, once it is known that workers die for reasons that are not their request's."""
LOSSES = 12
"""A request whose worker is lost this often, with its node or by somebody's order, is recorded as crashed."""


@dataclass(slots=True)
class Evidence:
    """What is known about a cluster. ``rough``: a request whose worker had died was trained afterwards."""

    rough: bool = False


class Retries:
    """The requests of one batch, by index: waiting, suspected, done.

    Of a dead process nobody can say whether its request killed it or somebody else. A request is suspected
    when its worker has died `CRASHES` times, and judged when nothing else is left to do: it is given up, unless
    the evidence is by then that workers die here of other causes. Then it is tried up to `ROUGH_CRASHES` times.
    """

    def __init__(self, count: int, evidence: Evidence) -> None:
        self.evidence = evidence
        self._waiting = list(range(count))[::-1]
        self._suspected: list[int] = []
        self._deaths = [0] * count
        self._losses = [0] * count

    def take(self) -> int | None:
        """The next request to start, or None."""
        return self._waiting.pop() if self._waiting else None

    def done(self, index: int) -> None:
        """A request came to its end on a living worker."""
        if self._deaths[index]:
            self.evidence.rough = True

    def died(self, index: int) -> None:
        """The worker of a request died, and it may be the request's doing."""
        self._deaths[index] += 1
        (self._waiting if self._deaths[index] < CRASHES else self._suspected).append(index)

    def lost(self, index: int) -> str:
        """The worker of a request was lost, and it is not the request's doing; why it is given up, or ""."""
        self._losses[index] += 1
        if self._losses[index] >= LOSSES:
            return f"its worker was lost {LOSSES} times, with its node or by an order from outside"
        self._waiting.append(index)
        return ""

    def judge(self) -> list[tuple[int, str]]:
        """Decide on the suspected, once nothing else waits or runs: those to give up, and why."""
        if self._waiting or not self._suspected:
            return []
        suspected, self._suspected = self._suspected, []
        limit = ROUGH_CRASHES if self.evidence.rough else CRASHES
        self._waiting = [index for index in suspected if self._deaths[index] < limit][::-1]
        given_up = [index for index in suspected if self._deaths[index] >= limit]
        return [(index, f"its worker process died {self._deaths[index]} times") for index in given_up]
