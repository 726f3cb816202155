from __future__ import annotations

from lossforge.evaluation.records import Outcome, TrainingResult
from lossforge.executors.meter import Meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_utilisation_is_busy_worker_seconds_over_those_there_were() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now = 5  # nobody there yet
    meter.now(4, 4)
    clock.now = 10
    meter.now(4, 2)
    clock.now = 20
    meter.now(2, 0)
    assert meter.utilisation() == (20 + 20) / (20 + 40)
    clock.now = 30
    assert meter.utilisation() == 40 / 80


def test_one_line_tells_of_workers_failures_and_replacements() -> None:
    meter = Meter(Clock())
    meter.now(1, 0)
    assert meter.told() == "1 worker 0% busy"
    meter.now(3, 0)
    meter.finished(TrainingResult((Outcome.TRAINED, Outcome.DIVERGED), (0.5, None), "", 1.0))
    meter.finished(TrainingResult.failed(2, Outcome.TIMED_OUT, "slow"))
    meter.replace("hung")
    told = meter.told()
    assert told == "3 workers 0% busy; failed trainings: diverged 1, timed out 2; workers replaced: hung 1"
