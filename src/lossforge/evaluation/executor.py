"""The protocol of an executor, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from lossforge.errors import ExecutionError
from lossforge.evaluation.records import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from lossforge.evaluation.meter import Meter
    from lossforge.spaces.schema import ExecutionSection, SearchSpace

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


def resolve_device(device: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu". Raises ExecutionError for a missing GPU."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ExecutionError("execution.device: 'cuda' was asked for, but torch sees no GPU; use cpu or auto")
    return device


def worker_count(section: ExecutionSection) -> int:
    """Workers of a section: as given, or one a core this process may use."""
    import os

    if section.workers:
        return section.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needs_isolation(space: SearchSpace) -> bool:
    """Whether trainings must not run in this process: the user's own, and those whose memory is limited."""
    return space.budget.training_gigabytes > 0 or any(task.python for task in space.task)


def make_executor(section: ExecutionSection, *, isolated: bool = False) -> Executor:
    """The executor that a section asks for; one local worker runs in this process, unless all are to be ``isolated``.

    Raises ExecutionError where its workers cannot be started.
    """
    from lossforge.evaluation.local import InProcessExecutor, PoolExecutor
    from lossforge.evaluation.workers import one_thread

    one_thread()  # the driver screens on one thread, as it trains on one
    if section.executor == "ray":
        from lossforge.evaluation.ray_pool import RayExecutor

        return RayExecutor(section)
    device = resolve_device(section.device)
    workers = worker_count(section)
    return InProcessExecutor(device) if workers == 1 and not isolated else PoolExecutor(workers, device)
