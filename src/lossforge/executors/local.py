"""Executors on one machine: in this process, or in worker processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessExpired, ProcessPool

from lossforge.errors import ExecutionError, LossforgeError
from lossforge.evaluation.records import TrainingRequest, TrainingResult, request_to_text, result_from_text
from lossforge.evaluation.threads import one_thread
from lossforge.executors.meter import Meter
from lossforge.executors.protocol import Stop, look_ahead
from lossforge.executors.retries import Retries, ahead_of
from lossforge.executors.workers import crashed, evaluate_text, hung, wall_seconds
from lossforge.interrupts import StoppedAtOnceError
from lossforge.standard_output import to_standard_error


class InProcessExecutor:
    """Runs requests one after another, here, on one thread. The time limit is watched at every step."""

    workers = 1
    at_hand = False

    def __init__(self, device: str) -> None:
        self.device = device
        self.meter = Meter()
        one_thread()

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """See `Executor.run`."""
        from lossforge.evaluation.evaluate import evaluate

        retries = Retries(requests)
        while not stop() and (index := retries.take()) is not None:
            request = retries[index]
            self.meter.now(1, 1)
            result = evaluate(request, self.device)
            self.meter.now(1, 0)
            self.meter.finished(result)
            retries.done(index)
            yield index, result

    def close(self) -> None:
        """Nothing to end."""


class PoolExecutor:
    """Runs requests in worker processes of one thread each; a worker past its limit is killed."""

    def __init__(self, workers: int, device: str) -> None:
        self.workers = workers
        self.device = device
        self.meter = Meter()
        self.at_hand = False
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise ExecutionError(
                "a search was started while a worker process was importing the script; put the call under "
                "if __name__ == '__main__':"
            )
        self._pool = self._new_pool()
        self._answered = False

    def _new_pool(self) -> ProcessPool:
        # Spawned, not forked: torch does not survive a fork, and a forked worker would keep the run's lock.
        return ProcessPool(
            max_workers=self.workers, initializer=_start_worker, initargs=(os.getpid(),), context=_Spawn()
        )

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """See `Executor.run`."""
        retries = Retries(requests)
        running: dict[Future[Any], int] = {}
        while running or (retries.left and not stop()):
            while len(running) < self.workers and not stop() and (index := retries.take()) is not None:
                running[self._start(retries[index])] = index
                self.meter.now(self.workers, len(running))
            done, _ = wait(running, timeout=0, return_when=FIRST_COMPLETED)
            if not done and not stop() and retries.prepare(ahead_of(self.workers)):
                continue
            # Short waits, so that a signal is noticed while every worker is busy.
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            yield from look_ahead(self, self._decided(done, running, retries))

    def _decided(
        self, done: set[Future[Any]], running: dict[Future[Any], int], retries: Retries
    ) -> Iterator[tuple[int, TrainingResult]]:
        """What came of the futures that are done, but for requests whose worker died and that wait again."""
        for future in sorted(done, key=lambda future: running[future]):
            index = running.pop(future)
            result, gone = None, retries.died
            try:
                result = self._outcome(future, retries[index])
            except BrokenProcessPool as error:
                self._renew(error)
                gone = retries.lost
            self.meter.now(self.workers, len(running))
            if result is None:
                reason = gone(index)
                if not reason:
                    continue
                result = crashed(retries[index], reason)
            self.meter.finished(result)
            retries.done(index)
            yield index, result

    def _start(self, request: TrainingRequest) -> Future[Any]:
        if not self._pool.active:
            self._renew()
        future: Future[Any] = self._pool.schedule(
            _evaluate_text, args=(request_to_text(request), self.device), timeout=wall_seconds(request)
        )
        return future

    def _outcome(self, future: Future[Any], request: TrainingRequest) -> TrainingResult | None:
        """The future's result; None where the worker died. Raises BrokenProcessPool where it died before it began."""
        try:
            result = result_from_text(future.result())
        except TimeoutError:
            self.meter.replace("hung")
            return hung(request)
        except ProcessExpired:
            self.meter.replace("died")
            return None
        except (LossforgeError, StoppedAtOnceError, BrokenProcessPool):
            raise
        except BaseException as error:
            raise ExecutionError(
                f"a worker failed: {type(error).__name__}: {error}; run with --workers 1 to see where"
            ) from error
        self._answered = True
        return result

    def _renew(self, error: BaseException | None = None) -> None:
        """Start other workers, where one died that had nothing to do: a thread that a training left behind ended it.

        The pool does not survive that. Raises ExecutionError where no worker has answered since the last time.
        """
        if self._pool.active:
            return
        if not self._answered:
            raise ExecutionError(
                "the worker processes end as soon as they are started; run with --workers 1 to see why"
            ) from error
        self._answered = False
        self.meter.replace("died")
        self.close()
        self._pool = self._new_pool()

    def close(self) -> None:
        """End the workers."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


class _Worker(SpawnProcess):
    """A worker never leaves of itself: where its process has ended with code 0, a training has ended it.

    The pool takes code 0 for a worker that has nothing more to do, and would wait for its result for ever.
    """

    @property
    def exitcode(self) -> int | None:
        """The code that the process ended with, 1 for 0; None while it runs."""
        code = super().exitcode
        return 1 if code == 0 else code


class _Spawn(SpawnContext):
    Process = _Worker


def _start_worker(parent: int) -> None:
    # Ctrl-C reaches the whole process group; the driver decides what happens to the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    to_standard_error()
    global _parent
    _parent = parent
    one_thread()


_parent = 0


def _leave_with_parent() -> None:
    """A worker whose driver was killed ends too, instead of training for nobody."""
    if os.getppid() != _parent:
        os._exit(1)


def _evaluate_text(text: str, device: str) -> str:
    _leave_with_parent()
    return evaluate_text(text, device, on_step=_leave_with_parent)
