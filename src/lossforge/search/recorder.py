"""Look up, train what is missing, record: between those who want trainings and the executor."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from lossforge.errors import InterruptedSearchError
from lossforge.evaluation.records import Outcome, Training, TrainingRequest, TrainingResult, cohorts
from lossforge.executors.protocol import Executor, Stop
from lossforge.store.ledger import Ledger, TrainingRow

OnTrained = Callable[[int], None]
"""Told the number of trainings whenever some have been recorded, or found in the ledger."""

_TRACEBACKS = 50
"""Different tracebacks that are logged, at most."""

_Identity = tuple[str, int]
"""A training in the ledger: its fingerprint and its seed."""


class Recorder:
    """Turns wanted trainings into ledger rows, in the order asked. A training in the ledger is never repeated."""

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        stop: Stop,
        on_trained: OnTrained = lambda count: None,
        log: Callable[[str], None] = lambda message: None,
        on_recalled: OnTrained = lambda count: None,
    ) -> None:
        self.ledger = ledger
        self.executor = executor
        self.stop = stop
        self.on_trained = on_trained
        self.log = log
        self.on_recalled = on_recalled
        self._tracebacks: set[str] = set()

    def run(
        self, wanted: Iterable[Training], stage: str, generation: int = 0, *, again: Collection[str] = ()
    ) -> list[TrainingRow]:
        """A row of each training. Raises InterruptedSearchError once ``stop()`` is true; see `run_all`."""
        (rows,) = self.run_all([(stage, wanted)], generation, again=again)
        return rows

    def run_all(
        self, wanted: Iterable[tuple[str, Iterable[Training]]], generation: int = 0, *, again: Collection[str] = ()
    ) -> list[list[TrainingRow]]:
        """Rows of the trainings of each stage, all under way together; no two stages share a cohort.

        What is ``wanted`` may come one by one: complete cohorts train while the next are being thought of. A cohort
        that fails as a whole (killed, out of memory) is tried again in halves, until it is known which loss is to
        blame; the others keep their lanes. Trainings of the keys in ``again`` are repeated where they crashed:
        nothing has gone on without them. Raises InterruptedSearchError once ``stop()`` is true.
        """
        batch = _Batch(self.ledger, wanted, self.stop, again, self.on_recalled)
        requests: Iterable[TrainingRequest] = batch.requests()
        while True:
            failed: list[tuple[int, list[TrainingRequest]]] = []
            numbered = _Numbered(requests)
            found: dict[_Identity, TrainingRow] = {}
            try:
                for place, result in self.executor.run(numbered, self.stop):
                    request = numbered.pop(place)
                    self._tell(request, result)
                    halves = request.halves() if result.failed_whole else []
                    if halves:
                        failed.append((place, halves))
                    else:
                        found.update(_rows(request, result, batch.stages, generation))
                    # One commit for all that have come: each waits for the disk.
                    if not self.executor.at_hand:
                        self._record(found, batch)
            finally:
                self._record(found, batch)
            requests = [half for _, halves in sorted(failed, key=lambda one: one[0]) for half in halves]
            if not requests or self.stop():
                break
        if self.stop() or not batch.complete:
            raise InterruptedSearchError("stopped on request")
        return [[batch.rows[identity] for identity in identities] for identities in batch.asked]

    def _tell(self, request: TrainingRequest, result: TrainingResult) -> None:
        """Log the traceback of code of the user's own, each once: many losses may fail in one line."""
        if not result.traceback or result.traceback in self._tracebacks or len(self._tracebacks) >= _TRACEBACKS:
            return
        self._tracebacks.add(result.traceback)
        first, lines = request.trainings[0], result.traceback.splitlines()
        told = [f"a training of {first.setup.task.title} with {first.loss.formula} failed:", *lines]
        self.log("\n    ".join(told))

    def _record(self, found: dict[_Identity, TrainingRow], batch: _Batch) -> None:
        """Write the rows into the ledger and forget them here."""
        if not found:
            return
        replaced = [row for identity, row in found.items() if identity in batch.retried]
        added = [row for identity, row in found.items() if identity not in batch.retried]
        self.ledger.add_trainings(added, replacing=replaced)
        batch.rows.update(found)
        count = len(found)
        found.clear()
        self.on_trained(count)


class _Batch:
    """What is wanted, as it comes, and what is known of it."""

    def __init__(
        self,
        ledger: Ledger,
        wanted: Iterable[tuple[str, Iterable[Training]]],
        stop: Stop,
        again: Collection[str],
        on_recalled: OnTrained,
    ) -> None:
        self.rows: dict[_Identity, TrainingRow] = {}
        self.stages: dict[_Identity, str] = {}
        self.retried: set[_Identity] = set()
        self.asked: list[list[_Identity]] = []
        self._ledger = ledger
        self._wanted = wanted
        self._stop = stop
        self._again = again
        self._on_recalled = on_recalled

    @property
    def complete(self) -> bool:
        """Whether there is a row for all that was asked."""
        return len(self.rows) == len(self.stages)

    def requests(self) -> Iterator[TrainingRequest]:
        """A request for each cohort of which something is not known."""
        for stage, wanted in self._wanted:
            for replicas in cohorts(self._new(stage, wanted)):
                identities = [identity_of(training) for training in replicas]
                found = self._ledger.find_all(identities)
                self.rows.update(found)
                whole = TrainingRequest(replicas[0].setup, replicas)
                cut = {
                    one
                    for one, row in found.items()
                    if _cut(row, whole.seconds) or (row.outcome == Outcome.CRASHED and row.key in self._again)
                }
                self.retried |= cut
                if self._stop():
                    return  # who looks for candidates may have ended early, and this cohort be cut short
                known = [place for place, one in enumerate(identities) if one in found and one not in cut]
                self._on_recalled(len(known))
                if len(known) < len(replicas):
                    yield replace(whole, left_out=tuple(known))

    def _new(self, stage: str, wanted: Iterable[Training]) -> Iterator[Training]:
        """Each training the first time that it is asked for."""
        identities: list[_Identity] = []
        self.asked.append(identities)
        for training in wanted:
            identity = identity_of(training)
            identities.append(identity)
            if identity not in self.stages:
                self.stages[identity] = stage
                yield training


class _Numbered:
    """Requests that are remembered by their number until they are done with."""

    def __init__(self, requests: Iterable[TrainingRequest]) -> None:
        self._requests = requests
        self._given: dict[int, TrainingRequest] = {}

    def __iter__(self) -> Iterator[TrainingRequest]:
        for place, request in enumerate(self._requests):
            self._given[place] = request
            yield request

    def pop(self, place: int) -> TrainingRequest:
        return self._given.pop(place)


def identity_of(training: Training) -> _Identity:
    """Under which a training is in the ledger."""
    return training.fingerprint(), training.seed


def _cut(row: TrainingRow, seconds: float) -> bool:
    """Whether the time limit ended a training whose cohort is now given clearly more time."""
    return row.outcome == Outcome.TIMED_OUT and seconds > 1.5 * row.seconds


def _rows(
    request: TrainingRequest, result: TrainingResult, stages: Mapping[_Identity, str], generation: int
) -> Iterator[tuple[_Identity, TrainingRow]]:
    answers = zip(request.trainings, result.outcomes, result.accuracies, result.reasons, result.metrics, strict=True)
    for training, outcome, accuracy, reason, metrics in answers:
        identity = identity_of(training)
        yield (
            identity,
            TrainingRow(
                fingerprint=identity[0],
                seed=training.seed,
                replicate=training.replicate,
                stage=stages[identity],
                generation=generation,
                key=training.key,
                formula=training.loss.formula,
                task=training.setup.task.title,
                part=training.setup.part,
                learning_rate=training.learning_rate,
                epochs=training.setup.epochs,
                outcome=str(outcome),
                accuracy=accuracy,
                reason=reason,
                seconds=result.seconds,
                metrics=json.dumps(metrics),
            ),
        )
