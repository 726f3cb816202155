"""The protocol of an executor, and what its results have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from lossforge.evaluation.records import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from lossforge.executors.meter import Meter

Stop = Callable[[], bool]
"""Asked before each further request is started; True ends the run after what is under way."""


class Executor(Protocol):
    """Runs requests somewhere. A result depends on its request alone, not on the executor."""

    device: str
    """Where its workers train: "cpu" or "cuda"."""
    meter: Meter
    at_hand: bool
    """With a result that `run` yields: whether another one is there already, so that the next step waits for nothing.

    What is done with results, such as a commit, can then be done with all that have come.
    """

    @property
    def workers(self) -> int:
        """Workers that it has, or hopes to have."""
        ...

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """Yield ``(index, result)`` of each request, in order of completion.

        A request is fetched when a worker is free for it, or a few before, while all are busy: making the later ones
        may take as long as training does.
        Once ``stop()`` is true, nothing further is started, what is under way is finished and yielded,
        and the iteration ends early.
        """
        ...

    def close(self) -> None:
        """End every worker process."""
        ...


def look_ahead(
    executor: Executor, results: Iterable[tuple[int, TrainingResult]]
) -> Iterator[tuple[int, TrainingResult]]:
    """The results, which come without a wait between them; with each ``executor.at_hand`` says if another follows.

    An error in between comes after the results before it.
    """
    executor.at_hand = False
    held: list[tuple[int, TrainingResult]] = []
    try:
        for result in results:
            if held:
                executor.at_hand = True
                yield held.pop()
            held.append(result)
    except Exception:
        executor.at_hand = False
        yield from held
        raise
    executor.at_hand = False
    yield from held
