"""What an executor's workers do with their time, and how trainings fail: for progress, decides nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from lossforge.evaluation.records import Outcome, TrainingResult


class Meter:
    """Counts workers and trainings under way over time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers = 0
        self.running = 0
        self.failures: Counter[str] = Counter()
        self.replaced: Counter[str] = Counter()
        self._clock = clock
        self._since = clock()
        self._busy = 0.0
        self._available = 0.0

    def now(self, workers: int, running: int) -> None:
        """From now on so many workers are there, and so many of them train."""
        self._advance()
        self.workers, self.running = workers, running

    def finished(self, result: TrainingResult) -> None:
        """Count the failures of a result."""
        self.failures.update(str(outcome) for outcome in result.outcomes if outcome != Outcome.TRAINED)

    def replace(self, why: str) -> None:
        """A worker is gone: "died", "hung" or "lost"."""
        self.replaced[why] += 1

    def utilisation(self) -> float:
        """Share of the workers' time so far in which they trained, in [0, 1]."""
        self._advance()
        return self._busy / self._available if self._available > 0 else 0.0

    def told(self) -> str:
        """One line: workers, utilisation, failed trainings by kind, workers that had to be replaced."""
        parts = [f"{self.workers} worker{'s' if self.workers != 1 else ''} {self.utilisation():.0%} busy"]
        if self.failures:
            kinds = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in sorted(self.failures.items()))
            parts.append(f"failed trainings: {kinds}")
        if self.replaced:
            causes = ", ".join(f"{cause} {count}" for cause, count in sorted(self.replaced.items()))
            parts.append(f"workers replaced: {causes}")
        return "; ".join(parts)

    def _advance(self) -> None:
        now = self._clock()
        elapsed, self._since = now - self._since, now
        self._busy += elapsed * self.running
        self._available += elapsed * max(self.workers, self.running)
