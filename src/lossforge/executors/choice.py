"""The choice of an executor: how many workers, on which device, here or over Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.evaluation.threads import one_thread
from lossforge.executors.devices import resolve_device, worker_count

if TYPE_CHECKING:
    from lossforge.executors.protocol import Executor
    from lossforge.spaces.schema import ExecutionSection, SearchSpace


def needs_isolation(space: SearchSpace) -> bool:
    """Whether trainings must not run in this process: the user's own, and those whose memory is limited."""
    return space.budget.training_gigabytes > 0 or any(task.python for task in space.task)


def make_executor(section: ExecutionSection, *, isolated: bool = False, distributed: int = 0) -> Executor:
    """The executor that a section asks for; one local worker runs in this process, unless all are to be ``isolated``.

    Where a network is trained by ``distributed`` workers it is Ray Train's, whatever the section says.
    Raises ExecutionError where its workers cannot be started.
    """
    from lossforge.executors.local import InProcessExecutor, PoolExecutor

    if distributed:
        from lossforge.executors.ray_train import RayTrainExecutor

        return RayTrainExecutor(section, distributed)
    one_thread()  # the driver screens on one thread, as it trains on one
    if section.executor == "ray":
        from lossforge.executors.ray_pool import RayExecutor

        return RayExecutor(section)
    device = resolve_device(section.device)
    workers = worker_count(section)
    return InProcessExecutor(device) if workers == 1 and not isolated else PoolExecutor(workers, device)
