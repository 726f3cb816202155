"""Look up, train what is missing, record: between those who want trainings and the executor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from lossforge.errors import InterruptedSearchError
from lossforge.evaluation.executor import Executor, Stop
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.store.ledger import Ledger, TrainingRow

OnTrained = Callable[[int], None]
"""Told the number of replicates whenever a cohort has been trained and recorded."""


class Trainer:
    """Turns requests into ledger rows, in the order asked. A training in the ledger is never repeated."""

    def __init__(
        self, ledger: Ledger, executor: Executor, stop: Stop, on_trained: OnTrained = lambda count: None
    ) -> None:
        self.ledger = ledger
        self.executor = executor
        self.stop = stop
        self.on_trained = on_trained

    def run(self, requests: Sequence[TrainingRequest], stage: str, generation: int = 0) -> list[list[TrainingRow]]:
        """Rows of each request, one a replicate. Raises InterruptedSearchError once ``stop()`` is true."""
        fingerprints = [request.fingerprint() for request in requests]
        rows = [
            self.ledger.find(fingerprint, request.seeds)
            for fingerprint, request in zip(fingerprints, requests, strict=True)
        ]
        retried = {index for index, found in enumerate(rows) if found and _was_cut_short(found, requests[index])}
        for index in retried:
            rows[index] = None
        missing = _first_of_each(requests, fingerprints, rows)
        for place, result in self.executor.run([requests[index] for index in missing], self.stop):
            index = missing[place]
            rows[index] = _rows(requests[index], fingerprints[index], result, stage, generation)
            self.ledger.add_trainings(rows[index] or [], replace=index in retried)
            self.on_trained(len(result.outcomes))
        for index, request in enumerate(requests):
            if rows[index] is None and not any(rows[index] is None for index in missing):
                # Asked twice in one batch: trained once.
                rows[index] = self.ledger.find(fingerprints[index], request.seeds)
        finished = [found for found in rows if found is not None]
        if len(finished) < len(requests) or self.stop():
            raise InterruptedSearchError("stopped on request")
        return finished


def _was_cut_short(rows: list[TrainingRow], request: TrainingRequest) -> bool:
    """Whether the time limit ended a training that the request now gives clearly more time."""
    return any(row.outcome == Outcome.TIMED_OUT and request.seconds > 1.5 * row.seconds for row in rows)


def _first_of_each(
    requests: Sequence[TrainingRequest], fingerprints: list[str], rows: list[list[TrainingRow] | None]
) -> list[int]:
    seen: set[tuple[str, tuple[int, ...]]] = set()
    missing = []
    for index, request in enumerate(requests):
        identity = (fingerprints[index], request.seeds)
        if rows[index] is None and identity not in seen:
            seen.add(identity)
            missing.append(index)
    return missing


def _rows(
    request: TrainingRequest, fingerprint: str, result: TrainingResult, stage: str, generation: int
) -> list[TrainingRow]:
    return [
        TrainingRow(
            fingerprint=fingerprint,
            seed=seed,
            replicate=replicate,
            stage=stage,
            generation=generation,
            key=request.key,
            formula=request.loss.formula,
            task=request.task.title,
            part=request.part,
            learning_rate=request.learning_rate,
            epochs=request.epochs,
            outcome=str(outcome),
            accuracy=accuracy,
            reason=result.reason,
            seconds=result.seconds,
            metrics=json.dumps(metrics),
        )
        for seed, replicate, outcome, accuracy, metrics in zip(
            request.seeds,
            request.replicates,
            result.outcomes,
            result.accuracies,
            result.metrics or [{}] * len(request.seeds),
            strict=True,
        )
    ]
