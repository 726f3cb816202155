"""What studies will cost, before they start: trainings of each step, and roughly how long they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.search.progress import duration
from lossforge.validation.coarse import candidates
from lossforge.validation.study import Study


@dataclass(frozen=True, slots=True)
class Cost:
    """Trainings of a study, by step (of the test: at most), and ``seconds`` of one on one worker (0: not known)."""

    coarse: int
    tuning: int
    test: int
    seconds: float

    @property
    def trainings(self) -> int:
        """All of them."""
        return self.coarse + self.tuning + self.test

    @property
    def work(self) -> float:
        """Seconds of one worker."""
        return self.trainings * self.seconds


def cost_of(study: Study, seconds: float, *, kept: int | None = None) -> Cost:
    """Of a study whose losses are all trained, or as many as a coarse pass keeps (None: there is none).

    Rates beyond the ends of a grid are not counted: nobody knows who needs them.
    """
    settings = study.settings
    known = settings.known if not study.task.python else 0
    coarse = len(candidates(study.space, settings, study.rivals)) if known else 0
    if kept is not None:
        coarse += len(study.losses)
    losses = len(study.losses) if kept is None else min(kept, len(study.losses))
    tuned = [one for one in [*study.losses[:losses], *study.rivals] if one.fixed_rate is None]
    tuning = (len(tuned) + min(known, coarse)) * len(settings.rates) * settings.tuning_seeds
    test = (losses + len(study.rivals) + known) * settings.seeds
    return Cost(coarse * len(settings.coarse_rates) * settings.coarse_seeds, tuning, test, seconds)


def told(costs: Sequence[tuple[str, Cost]], workers: int) -> list[str]:
    """A line for each study, and one for all."""
    lines = []
    for title, cost in costs:
        each = f", about {_short(cost.seconds)} each" if cost.seconds else ""
        lines.append(
            f"{title}: {cost.trainings:,} trainings{each} ({cost.coarse:,} to choose, {cost.tuning:,} to tune, "
            f"up to {cost.test:,} for the test)"
        )
    total = sum(cost.trainings for _, cost in costs)
    work = sum(cost.work for _, cost in costs)
    seconds = _START + work / max(workers, 1)
    time = f", about {duration(seconds)} on {_workers(workers)}" if work else ""
    lines.append(
        f"all: {total:,} trainings{time}; fewer where pairs are decided early, some more where a loss is best at an "
        "end of the grid of rates"
    )
    return lines


_START = 20.0
"""Seconds in which workers start, data are read and figures drawn."""


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
