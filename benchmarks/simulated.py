"""A search whose trainings cost nothing: the driver as it is, and an executor that knows every answer.

Each request occupies one of N simulated workers for as long as it is said to take, in real time: the workers sleep, the
driver and its helpers do what they always do.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lossforge.evaluation.records import (
    Outcome,
    Training,
    TrainingRequest,
    TrainingResult,
    request_to_text,
    result_from_text,
)
from lossforge.evaluation.space_trainings import loss_key, trainings
from lossforge.evolution.choice import make_strategy
from lossforge.executors.meter import Meter
from lossforge.executors.protocol import Stop
from lossforge.executors.retries import Retries, ahead_of
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.helpers import Helpers, helper_count
from lossforge.screening.screener import Screener
from lossforge.search.generation import Generation
from lossforge.search.hall_of_fame import hall_of_fame, write_hall_of_fame
from lossforge.search.loop import screen_settings
from lossforge.search.recorder import Recorder
from lossforge.search.scores import Scores
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import save_checkpoint
from lossforge.store.ledger import Ledger
from lossforge.store.stages import Stage

RATE = 0.01
METRICS: dict[str, Any] = {
    "accuracy": 0.675,
    "balanced_accuracy": 0.671667,
    "precision": 0.573258,
    "recall": 0.671667,
    "f1": 0.582111,
    "negative_log_likelihood": 1.382222,
    "calibration_error": 0.075386,
    "top5_accuracy": 0.875,
    "confusion_matrix": [[2] * 10] * 10,
    "curve": [47.4349] * 30,
    "running_accuracy": 0.25,
}
"""Of the size that a training of ten classes and 30 epochs has."""
_METRICS_TEXT = json.dumps(METRICS)


class Parts:
    """Where the driver's time goes, by part, each without the parts inside it; ``outside`` time is not the driver's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.waited = 0.0
        self._stack = ["bookkeeping"]
        self._cpu, self._wall = time.thread_time(), time.perf_counter()

    def switch(self, name: str) -> None:
        """Time from now on is ``name``'s, until `back`."""
        self._account()
        self._stack.append(name)

    def back(self) -> None:
        """Back to the part before."""
        self._account()
        self._stack.pop()

    def total(self) -> float:
        """Seconds of the driver until now."""
        self._account()
        return sum(self.seconds.values()) - self.seconds["outside"]

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Give the time of a method of ``owner`` to a part."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.switch(name)
            try:
                return inner(*args, **kwargs)
            finally:
                self.back()

        setattr(owner, method, timed)

    def wrap_steps(self, owner: Any, method: str, name: str) -> None:
        """The same for a generator: the time between its steps is not its own."""
        inner = getattr(owner, method)

        def timed(*args: Any) -> Iterator[Any]:
            items = inner(*args)
            while True:
                self.switch(name)
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    self.back()
                yield item

        setattr(owner, method, timed)

    def _account(self) -> None:
        cpu, wall = time.thread_time(), time.perf_counter()
        part = self._stack[-1]
        if part in ("record", "candidates", "files", "screen"):
            # What waits for the disk, or for helpers, waits in earnest. A busy machine makes it longer, never shorter.
            self.seconds[part] += wall - self._wall
            self.waited += max(0.0, wall - self._wall - cpu + self._cpu)
        else:
            self.seconds[part] += cpu - self._cpu
        self._cpu, self._wall = cpu, wall


class SimulatedExecutor:
    """N workers that do nothing for ``seconds(request)``, in real time, and have every answer ready."""

    device = "cpu"

    def __init__(self, workers: int, seconds: Callable[[TrainingRequest], float], parts: Parts) -> None:
        self.workers, self.seconds, self.parts = workers, seconds, parts
        self.meter = Meter()
        self.at_hand = False
        self.busy = 0.0
        """Seconds in which workers had something to do, of all together."""
        self.requests = self.trainings = 0

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """See `lossforge.executors.protocol.Executor.run`."""
        running: list[tuple[float, int, str]] = []
        retries = Retries(requests)
        while retries.left or running:
            while len(running) < self.workers and (index := retries.take()) is not None:
                request = retries[index]
                self.parts.switch("messages")
                request_to_text(request)
                self.parts.back()
                self.parts.switch("outside")
                seconds = self.seconds(request)
                self.busy += seconds
                heapq.heappush(running, (time.perf_counter() + seconds, index, self._answer(request, seconds)))
                self.parts.back()
            if not running:
                break
            if running[0][0] > time.perf_counter() and retries.prepare(ahead_of(self.workers)):
                continue
            finished, index, text = heapq.heappop(running)
            self.parts.switch("outside")
            time.sleep(max(0.0, finished - time.perf_counter()))
            self.parts.back()
            self.parts.switch("messages")
            result = result_from_text(text)
            self.parts.back()
            self.at_hand = bool(running) and running[0][0] <= time.perf_counter()
            retries.done(index)
            yield index, result

    def close(self) -> None:
        """Nothing to end."""

    def _answer(self, request: TrainingRequest, seconds: float) -> str:
        wanted = request.trainings
        count = len(wanted)
        self.requests += 1
        self.trainings += count
        accuracies = ", ".join(f"{accuracy(one):.6f}" for one in wanted)
        return (
            f'{{"outcomes": {json.dumps([Outcome.TRAINED] * count)}, "accuracies": [{accuracies}], '
            f'"reasons": {json.dumps([""] * count)}, "seconds": {seconds}, '
            f'"metrics": [{", ".join([_METRICS_TEXT] * count)}]}}'
        )


def accuracy(training: Training) -> float:
    """What a training is said to have given: a number for the loss, and a little noise for the seed."""
    quality = derive_seed(0, "quality", training.key) / 2**63
    noise = derive_seed(training.seed, "noise", training.key) / 2**63
    return 0.6 + 0.3 * quality**4 + 0.02 * noise


class SimulatedSearch:
    """Generations of a search on a simulated executor, with all that a real one writes."""

    def __init__(
        self,
        space: SearchSpace,
        folder: Path,
        workers: int = 1,
        seconds: Callable[[TrainingRequest], float] = lambda request: 0.0,
    ) -> None:
        self.space, self.folder = space, folder
        self.parts = Parts()
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.executor = SimulatedExecutor(workers, seconds, self.parts)
        self.strategy = make_strategy(space)
        helpers = helper_count(workers)
        self.helpers = Helpers(helpers, screen_settings(space)) if helpers else None
        self.screener = Screener(screen_settings(space), helpers=self.helpers)
        self.scores = Scores()
        self.number = self.generated = 0
        self.key = loss_key(LossSpec(CROSS_ENTROPY), keep_scale=not space.recipe.match_gradient)
        for owner, method, name in (
            (self.strategy, "ask", "ask"),
            (self.screener, "begin", "screen"),
            (self.screener, "finish", "screen"),
            (self.ledger, "add_trainings", "record"),
        ):
            self.parts.wrap(owner, method, name)
        recorder = Recorder(self.ledger, self.executor, lambda: False)
        self._control(recorder)
        self.generation = Generation(space, self.strategy, self.screener, self.scores, recorder, self._rates())
        self.parts.wrap(recorder, "run_all", "look-up")
        self.parts.wrap_steps(self.generation, "_asked", "bookkeeping")
        self.parts.wrap(self.generation, "_trainings", "look-up")

    def _rates(self) -> dict[str, float]:
        return {task.title: RATE for task in self.space.task}

    def _control(self, recorder: Recorder) -> None:
        wanted: list[Training] = []
        for task in self.space.task:
            seeds = range(self.space.fitness.finalist_seeds)
            wanted += trainings(self.space, task, LossSpec(CROSS_ENTROPY), self.key, RATE, seeds, stage=Stage.SEARCH)
        self.scores.add_control(recorder.run(wanted, "control"))

    def step(self) -> int:
        """One generation, as `lossforge.search.loop` runs it; returns the number of candidates generated."""
        rows = self.generation.run(self.number)
        self.parts.switch("candidates")
        self.ledger.add_candidates(rows)
        self.parts.back()
        best = hall_of_fame(self.scores, self.space, self.key)
        self.parts.switch("files")
        save_checkpoint(
            self.folder / "checkpoint.json",
            {"generation": self.number, "strategy": self.strategy.save(), "learning_rates": self._rates()},
        )
        write_hall_of_fame(self.folder / "hall_of_fame.csv", best)
        self.parts.back()
        self.number += 1
        self.generated += len(rows)
        return len(rows)

    def close(self) -> None:
        """Close the ledger, and end the helpers."""
        self.ledger.close()
        if self.helpers is not None:
            self.helpers.close()
