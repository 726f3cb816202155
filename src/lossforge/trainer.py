"""Look up, train what is missing, record: between those who want trainings and the executor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from lossforge.errors import InterruptedSearchError
from lossforge.evaluation.executor import Executor, Stop
from lossforge.evaluation.records import Outcome, Training, TrainingRequest, TrainingResult, pack
from lossforge.store.ledger import Ledger, TrainingRow

OnTrained = Callable[[int], None]
"""Told the number of trainings whenever a cohort has been trained and recorded."""

_Identity = tuple[str, int]
"""A training in the ledger: its fingerprint and its seed."""


class Trainer:
    """Turns wanted trainings into ledger rows, in the order asked. A training in the ledger is never repeated."""

    def __init__(
        self, ledger: Ledger, executor: Executor, stop: Stop, on_trained: OnTrained = lambda count: None
    ) -> None:
        self.ledger = ledger
        self.executor = executor
        self.stop = stop
        self.on_trained = on_trained

    def run(self, wanted: Sequence[Training], stage: str, generation: int = 0) -> list[TrainingRow]:
        """A row of each training. Raises InterruptedSearchError once ``stop()`` is true.

        A cohort that fails as a whole (killed, out of memory) is tried again in halves, until it is known which loss
        is to blame; the others' results are those of the whole cohort.
        """
        identities = [(training.fingerprint(), training.seed) for training in wanted]
        unique = dict(zip(identities, wanted, strict=True))
        rows = self.ledger.find_all(unique)
        retried = {identity for identity, row in rows.items() if _was_cut_short(row, unique[identity])}
        known = {id(unique[identity]) for identity in rows if identity not in retried}
        requests = pack(unique.values(), _ByIdentity(known))
        while requests:
            failed: list[tuple[int, list[TrainingRequest]]] = []
            for place, result in self.executor.run(requests, self.stop):
                halves = requests[place].halves() if result.failed_whole else []
                if halves:
                    failed.append((place, halves))
                    continue
                found = dict(_rows(requests[place], result, stage, generation))
                replaced = {identity: row for identity, row in found.items() if identity in retried}
                added = [row for identity, row in found.items() if identity not in retried]
                self.ledger.add_trainings(added, replacing=list(replaced.values()))
                rows.update(found)
                self.on_trained(len(found))
            requests = [half for _, halves in sorted(failed, key=lambda one: one[0]) for half in halves]
            if self.stop():
                break
        if len(rows) < len(unique) or self.stop():
            raise InterruptedSearchError("stopped on request")
        return [rows[identity] for identity in identities]


class _ByIdentity:
    """Which trainings are known, without comparing them field by field."""

    def __init__(self, known: set[int]) -> None:
        self._known = known

    def __contains__(self, training: object) -> bool:
        return id(training) in self._known


def _was_cut_short(row: TrainingRow, training: Training) -> bool:
    """Whether the time limit ended a training that is now given clearly more time."""
    return row.outcome == Outcome.TIMED_OUT and training.setup.seconds * training.setup.lanes > 1.5 * row.seconds


def _rows(
    request: TrainingRequest, result: TrainingResult, stage: str, generation: int
) -> Iterator[tuple[_Identity, TrainingRow]]:
    answers = zip(request.trainings, result.outcomes, result.accuracies, result.reasons, result.metrics, strict=True)
    for training, outcome, accuracy, reason, metrics in answers:
        fingerprint = training.fingerprint()
        yield (
            (fingerprint, training.seed),
            TrainingRow(
                fingerprint=fingerprint,
                seed=training.seed,
                replicate=training.replicate,
                stage=stage,
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
