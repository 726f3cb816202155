"""The executor on Ray: workers on many GPUs and machines, and what is done when they die, hang or are lost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossforge import errors
from lossforge.errors import ExecutionError
from lossforge.evaluation.records import TrainingRequest, TrainingResult, request_to_text, result_from_text
from lossforge.executors.meter import Meter
from lossforge.executors.protocol import Stop, look_ahead
from lossforge.executors.ray_checks import examine_nodes
from lossforge.executors.ray_session import alive, connect, device_of, environment, first_line, forget_token, room
from lossforge.executors.ray_worker import RayWorker, driver_settings, same_versions
from lossforge.executors.retries import Retries, ahead_of
from lossforge.executors.workers import crashed, hung, wall_seconds

if TYPE_CHECKING:
    from lossforge.spaces.schema import ExecutionSection

_BEAT_SECONDS = 0.2
"""Longest wait at a time, so that a signal is noticed while every worker is busy."""
_LOOK_SECONDS = 1.0
"""How often the cluster is asked for nodes that have come or gone."""
_PATIENCE_SECONDS = 600.0
"""How long a search waits without a single worker: for nodes to come back, or for others to leave room."""
_FAILED_STARTS = 8
"""So many workers in a row that an error kept from starting end the search; one that is killed meanwhile does not."""
_OUT_OF_MEMORY = "low on memory"
"""Mark, in Ray's message, of a worker that Ray killed because the machine's memory was nearly used up."""


def import_ray() -> Any:
    """The ray module. Raises ExecutionError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise ExecutionError(
            "execution.executor: 'ray' was asked for, but ray is not installed; type 'pip install ray', or use local"
        ) from None
    return ray


@dataclass(eq=False, slots=True)
class _Worker:
    """One actor. It is asked who it is before it gets work: a dead one must not cost a request a try."""

    actor: Any
    hello: Any = None
    ready: bool = False

    def greet(self) -> None:
        """Ask it who it is; until it answers it gets no work."""
        self.hello, self.ready = self.actor.hello.remote(), False


@dataclass(slots=True)
class _Job:
    index: int
    worker: _Worker
    deadline: float


class RayExecutor:
    """Runs requests on Ray actors: on a Ray of its own on this machine, or on a running cluster.

    Where this program is connected to a Ray already, that one is used. Raises ExecutionError where ray is not
    installed, the cluster cannot be reached, or it has no GPU and one was asked for.
    """

    def __init__(self, section: ExecutionSection) -> None:
        self.meter = Meter()
        self.at_hand = False
        self._section = section
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._next_look = 0.0
        with environment(section.address):
            self._ray = import_ray()
            self._connected = not self._ray.is_initialized()
            if self._connected:
                connect(self._ray, section)
        try:
            self.device = device_of(section, self._ray.nodes())
        except BaseException:
            self.close()
            raise
        self._gpus = section.gpus_per_worker if self.device == "cuda" else 0.0
        self._actor_class = self._ray.remote(RayWorker)
        self._alone_since = time.monotonic()

    @property
    def workers(self) -> int:
        """Workers that there are or that are being started."""
        return len(self._workers)

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """See `Executor.run`. Raises ExecutionError where no worker can be had."""
        retries = Retries(requests)
        jobs: dict[Any, _Job] = {}
        for worker in self._workers:
            worker.greet()
        self._alone_since = time.monotonic()
        try:
            while jobs or (retries.left and not stop()):
                self._staff()
                self._assign(retries, jobs, stop)
                if not stop() and self._idle(jobs) and retries.prepare(ahead_of(len(self._workers))):
                    continue
                for index, result in look_ahead(self, self._collect(retries, jobs)):
                    self.meter.finished(result)
                    retries.done(index)
                    yield index, result
        finally:
            # Nobody waits for these any more: an error, or the end of the iteration, came in between.
            for job in jobs.values():
                self._dismiss(job.worker)
            self.meter.now(sum(worker.ready for worker in self._workers), 0)

    def examine(self, text: str, data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `examine_nodes`; for a machine whose worker has other versions ``fault`` says so."""
        for name, facts in examine_nodes(self._ray, self._section, self.device, text, data):
            yield name, {**facts, "fault": fault_of(facts)} if "versions" in facts else facts

    def close(self) -> None:
        """End the workers, and the Ray that was started for them; a cluster that was joined stays as it was."""
        for worker in list(self._workers):
            self._dismiss(worker)
        if self._connected:
            self._ray.shutdown()
            forget_token()

    def _staff(self) -> None:
        """Start workers until there are as many as were asked for, or as there is room for."""
        now = time.monotonic()
        if any(worker.ready for worker in self._workers):
            self._alone_since = now
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        nodes = self._ray.nodes()
        space = room(nodes, self._section.cpus_per_worker, self._gpus)
        wanted = self._section.workers or max(1, space)
        for worker in [worker for worker in self._workers if not worker.ready][: max(0, len(self._workers) - wanted)]:
            self._dismiss(worker)
        for _ in range(wanted - len(self._workers)):
            self._hire()
        if now - self._alone_since > _PATIENCE_SECONDS:
            raise ExecutionError(
                f"no worker could be placed for {_PATIENCE_SECONDS:.0f} s: each takes "
                f"{self._section.cpus_per_worker:g} CPUs and {self._gpus:g} GPUs, and {len(alive(nodes))} nodes have "
                f"room for {space} if nothing else runs there; resume with other numbers, or when the cluster is free"
            )

    def _hire(self) -> None:
        actor = self._actor_class.options(
            num_cpus=self._section.cpus_per_worker, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
        ).remote(driver_settings(self.device, self._gpus))
        self._workers.append(worker := _Worker(actor))
        worker.greet()

    def _dismiss(self, worker: _Worker) -> None:
        """Kill a worker, if it still lives; another one is started at the next look."""
        if worker in self._workers:
            self._workers.remove(worker)
        self._next_look = 0.0
        with suppress(Exception):  # it is dead, or its cluster is
            self._ray.kill(worker.actor, no_restart=True)

    def _assign(self, retries: Retries, jobs: dict[Any, _Job], stop: Stop) -> None:
        busy = {id(job.worker) for job in jobs.values()}
        for worker in self._workers:
            if not worker.ready or id(worker) in busy:
                continue
            index = None if stop() else retries.take()
            if index is None:
                break
            reference = worker.actor.evaluate.remote(request_to_text(retries[index]))
            jobs[reference] = _Job(index, worker, time.monotonic() + wall_seconds(retries[index]))
        self.meter.now(sum(worker.ready for worker in self._workers), len(jobs))

    def _collect(self, retries: Retries, jobs: dict[Any, _Job]) -> Iterator[tuple[int, TrainingResult]]:
        """Wait a little, and yield what is decided: results, requests given up, workers past their limit."""
        for reference in self._finished([*jobs, *(worker.hello for worker in self._workers if not worker.ready)]):
            if reference in jobs:
                job = jobs.pop(reference)
                result = self._result(reference, job, retries)
                if result is not None:
                    yield job.index, result
            else:
                self._greet(reference)
        now = time.monotonic()
        for reference in [reference for reference, job in jobs.items() if now > job.deadline]:
            job = jobs.pop(reference)
            self.meter.replace("hung")
            self._dismiss(job.worker)
            yield job.index, hung(retries[job.index])

    def _idle(self, jobs: dict[Any, _Job]) -> bool:
        """Whether nothing has finished that somebody waits for."""
        waited_for = [*jobs, *(worker.hello for worker in self._workers if not worker.ready)]
        return bool(waited_for) and not self._ray.wait(waited_for, timeout=0)[0]

    def _finished(self, references: list[Any]) -> list[Any]:
        if not references:
            time.sleep(_BEAT_SECONDS)
            return []
        if not self._ray.wait(references, timeout=_BEAT_SECONDS)[0]:
            return []
        done: list[Any] = self._ray.wait(references, num_returns=len(references), timeout=0)[0]
        return done

    def _result(self, reference: Any, job: _Job, retries: Retries) -> TrainingResult | None:
        """The result of a finished job; None where its worker is gone and it waits again."""
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # A worker does not train itself: it is gone with its node, or by an order from outside.
            self._dismiss(job.worker)
            answer = {"ended": None, "own": _OUT_OF_MEMORY in str(error)}
        else:
            if "ended" in answer:
                job.worker.greet()  # it starts another training process
        if "ended" in answer:
            self.meter.replace("died" if answer["own"] else "lost")
            reason = retries.died(job.index) if answer["own"] else retries.lost(job.index)
            return crashed(retries[job.index], reason) if reason else None
        if "error" in answer:
            raise _error(answer)
        return result_from_text(answer["result"])

    def _greet(self, hello: Any) -> None:
        """Let a worker that has started work, or see what keeps it from that."""
        worker = next(worker for worker in self._workers if worker.hello is hello)
        try:
            facts = self._ray.get(hello)
        except self._ray.exceptions.RayError as error:
            # Killed meanwhile, which does not count, or kept from starting by an error.
            failed = bool(getattr(error, "actor_init_failed", False))
            facts = {"ended": None, "told": _last_line(error)}
        else:
            failed = "ended" in facts
        if "ended" in facts:
            self._dismiss(worker)
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._failed_starts += failed
            if self._failed_starts >= _FAILED_STARTS:
                raise ExecutionError(
                    f"{_FAILED_STARTS} workers in a row could not be started: {facts['told']}; see what "
                    "'lossforge doctor --executor ray' says"
                )
            return
        if fault := fault_of(facts):
            raise ExecutionError(f"a worker on {facts['host']} cannot be used: {fault}")
        self._failed_starts = 0
        worker.ready = True


def fault_of(facts: dict[str, Any]) -> str:
    """Why a worker that said hello cannot be used, or ""."""
    here = same_versions()
    for name, there in facts["versions"].items():
        if there != here[name]:
            return f"it has {name} {there}, this machine {here[name]}; install the same on every machine"
    return str(facts["fault"])


def _error(answer: dict[str, Any]) -> errors.LossforgeError:
    """The error that a worker told of, as one of this process."""
    kind = getattr(errors, answer["error"], ExecutionError) if answer["error"] else ExecutionError
    return kind(answer["told"])


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else first_line(error)
