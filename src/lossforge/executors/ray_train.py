"""The executor of trainings that several GPUs or machines share: Ray Train's torch trainer, one training at a time.

Ray Train starts the workers, joins them (DDP), keeps a checkpoint of each epoch, and starts them again from the last
one where a worker or a machine is lost. The checkpoints have the training's fingerprint and seed for a name; after a
kill the same command finds them and goes on at the epoch after. They are deleted once the result is in the ledger.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.cache_folders import cache_folder
from lossforge.errors import DataError, ExecutionError
from lossforge.evaluation.records import Outcome, Training, TrainingRequest, TrainingResult, request_to_text
from lossforge.executors.meter import Meter
from lossforge.executors.protocol import Stop
from lossforge.executors.ray_pool import import_ray
from lossforge.executors.ray_session import connect, device_of, environment, first_line, forget_token
from lossforge.executors.ray_train_worker import StopFlag, train_loop
from lossforge.executors.ray_worker import driver_settings

if TYPE_CHECKING:
    from lossforge.spaces.schema import ExecutionSection

_BEAT_SECONDS = 0.2
_RETRIES = 3
"""How often a training whose workers died goes on from its last checkpoint before it counts as crashed."""


class RayTrainExecutor:
    """Trains requests of ``task.distributed`` workers, on a Ray of its own on this machine or on a running cluster.

    Args:
        section: where they run; ``checkpoints`` is where every machine can read and write.
        workers: the most workers of a training.

    Raises ExecutionError where Ray Train is not installed, the cluster cannot be reached, or it has no GPU and one was
    asked for.
    """

    def __init__(self, section: ExecutionSection, workers: int) -> None:
        self.meter = Meter()
        self.at_hand = False
        self.workers = workers
        self._section = section
        self._storage = _storage(section)
        with environment(section.address):
            self._ray = import_ray()
            _import_ray_train()
            self._connected = not self._ray.is_initialized()
            if self._connected:
                connect(self._ray, section.model_copy(update={"workers": workers}))
        try:
            self.device = device_of(section, self._ray.nodes())
            self._gpus = section.gpus_per_worker if self.device == "cuda" else 0.0
            self._require_room()
        except BaseException:
            self.close()
            raise

    def _require_room(self) -> None:
        """Ray would wait for room for ever."""
        from lossforge.executors.ray_session import room

        found = room(self._ray.nodes(), self._section.cpus_per_worker, self._gpus)
        if found < self.workers:
            raise ExecutionError(
                f"task.distributed: {self.workers} workers train one network, each with "
                f"{self._section.cpus_per_worker:g} CPUs and {self._gpus:g} GPUs, and there is room for {found}; take "
                "fewer, or lower execution.cpus_per_worker or gpus_per_worker, or join a larger cluster "
                "(execution.address)"
            )

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        """See `Executor.run`. A training that is stopped ends with its epoch, and goes on there the next time.

        Raises DataError for an image that cannot be read.
        """
        for index, request in enumerate(requests):
            if stop():
                return
            (training,) = request.trainings  # each has a cohort of its own
            self.meter.now(self.workers, self.workers)
            try:
                result = self._train(training, stop)
            finally:
                self.meter.now(self.workers, 0)
            if result is None:
                return
            self.meter.finished(result)
            yield index, result
            # The one who asked has written it down by now.
            _forget(self._storage, _name(training))

    def close(self) -> None:
        """End the Ray that was started for this; a cluster that was joined stays as it was."""
        if self._connected:
            self._ray.shutdown()
            forget_token()

    def _train(self, training: Training, stop: Stop) -> TrainingResult | None:
        """The result; None where it was stopped before."""
        began = time.monotonic()
        flag = self._ray.remote(StopFlag).options(num_cpus=0).remote()
        found: list[Any] = []
        thread = threading.Thread(target=self._fit, args=(training, flag, found), daemon=True)
        thread.start()
        told = False
        while thread.is_alive():
            thread.join(_BEAT_SECONDS)
            if not told and stop():
                flag.set.remote()
                told = True
        fault = self._ray.get(flag.fault.remote())
        self._ray.kill(flag)
        if fault:
            # A process that decodes images tells its error with its kind.
            raise DataError(fault.removeprefix("lossforge.errors.").removeprefix("DataError: "))
        (answer,) = found
        if isinstance(answer, BaseException):
            lines = [line.strip() for line in str(answer).splitlines() if line.strip()]
            reason = lines[-1] if lines else first_line(answer)
            return TrainingResult.failed(1, Outcome.CRASHED, reason, time.monotonic() - began)
        if "result" not in answer:
            return None
        return _result(json.loads(answer["result"]))

    def _fit(self, training: Training, flag: Any, found: list[Any]) -> None:
        """Have Ray Train train, and add to ``found`` what its last report said, or its error."""
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        request = TrainingRequest(training.setup, (training,))
        config = {
            "request": request_to_text(request),
            "settings": driver_settings(self.device, self._gpus),
            "loaders": max(0, int(self._section.cpus_per_worker) - 1),
            "stop": flag,
        }
        resources = {"CPU": self._section.cpus_per_worker} | ({"GPU": self._gpus} if self._gpus else {})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Ray's own, of its own settings
                trainer = TorchTrainer(
                    train_loop,
                    train_loop_config=config,
                    scaling_config=ScalingConfig(
                        num_workers=training.setup.task.distributed,
                        use_gpu=self._gpus > 0,
                        resources_per_worker=resources,
                    ),
                    run_config=RunConfig(
                        name=_name(training),
                        storage_path=self._storage,
                        checkpoint_config=CheckpointConfig(num_to_keep=1),
                        failure_config=FailureConfig(max_failures=_RETRIES),
                    ),
                )
                found.append(dict(trainer.fit().metrics or {}))
        except Exception as error:
            found.append(error)


def _result(told: dict[str, Any]) -> TrainingResult:
    if told["accuracy"] is None:
        return TrainingResult.failed(1, Outcome(told["outcome"]), told["reason"], told["seconds"])
    return TrainingResult((Outcome.TRAINED,), (told["accuracy"],), ("",), told["seconds"], (told["metrics"],))


def _name(training: Training) -> str:
    return f"{training.fingerprint()[:24]}-{training.seed}"


def _forget(storage: str, name: str) -> None:
    """Delete a training's checkpoints, here or in the cloud."""
    from pyarrow.fs import FileSystem

    with suppress(OSError):
        system, path = FileSystem.from_uri(storage)
        system.delete_dir(f"{path}/{name}")


def _storage(section: ExecutionSection) -> str:
    """Where checkpoints are kept: as given, or in the cache of this machine, which a cluster's others do not see."""
    if section.checkpoints:
        return section.checkpoints if "://" in section.checkpoints else str(Path(section.checkpoints).absolute())
    folder = cache_folder()
    if section.address or folder is None:
        raise ExecutionError(
            "execution.checkpoints: say where the checkpoints of task.distributed are kept, a folder that every "
            "machine of the cluster shares, or an address such as s3://BUCKET/PATH"
        )
    return str(folder / "checkpoints")


def _import_ray_train() -> None:
    """Raises ExecutionError where what Ray Train needs is not installed."""
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    try:
        import ray.train.torch  # noqa: F401
    except ImportError:
        raise ExecutionError(
            "task.distributed: needs Ray Train, which is not installed; type 'pip install \"lossforge[distributed]\"'"
        ) from None
