"""One of the workers of a training, as Ray Train runs it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from lossforge.data.places import VARIABLE
from lossforge.errors import LossforgeError

_STATE = "state.pt"


class StopFlag:
    """An actor that knows whether the driver wants to stop, and what is wrong for good.

    Ray Train starts workers again after an error; where data are at fault they then leave at once.
    """

    def __init__(self) -> None:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._set = False
        self._fault = ""

    def fail(self, fault: str) -> None:
        """A worker found something that no further try mends."""
        self._fault = self._fault or fault

    def fault(self) -> str:
        """What that was; "" if nothing."""
        return self._fault

    def set(self) -> None:
        """The driver wants to stop."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it does."""
        return self._set


def train_loop(config: dict[str, Any]) -> None:
    """Train epoch after epoch; after each, report and keep the state. The last report has the ``result``, as JSON.

    Data that cannot be read are told to the flag, and so not tried again.
    """
    import ray

    if ray.get(config["stop"].fault.remote()):
        return
    try:
        _train(config)
    except LossforgeError as error:
        ray.get(config["stop"].fail.remote(str(error).strip().splitlines()[-1]))
        raise


def _train(config: dict[str, Any]) -> None:
    import ray
    import ray.train
    import ray.train.torch

    from lossforge.data.image_stream import image_stream
    from lossforge.evaluation.distributed import DistributedTraining, Share
    from lossforge.evaluation.limits import deterministic
    from lossforge.evaluation.records import request_from_text
    from lossforge.models.registry import build_model

    settings = config["settings"]
    if settings["data"]:
        os.environ[VARIABLE] = settings["data"]
    with suppress(OSError):
        os.chdir(settings["folder"])
    (training,) = request_from_text(config["request"]).trainings
    task, context = training.setup.task, ray.train.get_context()
    stream = image_stream(task)
    device = str(ray.train.torch.get_device())
    share = Share(context.get_world_rank(), context.get_world_size(), device, config["loaders"])

    def build(seed: int) -> Any:
        return build_model(task.model, stream.shape, stream.classes, task.width, seed, activation=task.activation)

    with deterministic(training.setup.recipe.deterministic, device.partition(":")[0]):
        run = DistributedTraining(training, stream, build, share, ray.train.torch.prepare_model)
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                run.load(_loaded(Path(folder) / _STATE))
        while True:
            if not run.finished:
                run.train_epoch()
            result = _scored(run) if run.finished else {}
            _report(ray.train, run, result, keep=share.rank == 0)
            if run.finished or _told_to_stop(ray, config["stop"], share):
                return


def _scored(run: Any) -> dict[str, str]:
    """How a training ended, as JSON."""
    accuracy, metrics = (None, {}) if run.failure or run.timed_out else run.score()
    limit = run.training.setup.seconds
    told = {
        "accuracy": accuracy,
        "metrics": metrics,
        "outcome": "timed_out" if run.timed_out else "diverged",
        "reason": f"passed its limit of {limit:g} s" if run.timed_out else run.failure,
        "seconds": run.seconds,
    }
    return {"result": json.dumps(told)}


def _report(train: Any, run: Any, result: dict[str, str], *, keep: bool) -> None:
    """Tell Ray Train how far it is, with the state where this worker is the one to keep it."""
    import torch

    told = {"step": run.step, **result}
    if not keep:
        train.report(told)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(run.state(), Path(folder) / _STATE)
        train.report(told, checkpoint=train.Checkpoint.from_directory(folder))


def _loaded(path: Path) -> dict[str, Any]:
    import torch

    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _told_to_stop(ray: Any, flag: Any, share: Any) -> bool:
    """Whether the driver wants to stop: one worker asks, so that all get the same answer."""
    import torch
    import torch.distributed as dist

    answer = torch.zeros(1, device=share.device)
    if share.rank == 0:
        with suppress(Exception):  # a driver that is gone asks for nothing
            answer.fill_(float(ray.get(flag.is_set.remote())))
    if share.world > 1:
        dist.broadcast(answer, 0)
    return bool(answer)
