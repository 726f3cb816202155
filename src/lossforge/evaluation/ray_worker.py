"""A worker as Ray runs it: an object in a process of its own that gets text and gives back plain values."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lossforge.data.places import VARIABLE
from lossforge.errors import LossforgeError
from lossforge.evaluation.workers import evaluate_text, one_thread


def driver_settings(device: str, share: float) -> dict[str, Any]:
    """What a worker has to know of its driver, as plain values. ``share`` is its part of a GPU."""
    return {"device": device, "share": share, "data": os.environ.get(VARIABLE, ""), "folder": str(Path.cwd())}


def same_versions() -> dict[str, str]:
    """Versions that must be the same on every machine: they can change a result."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("lossforge", "torch"):
        try:
            # A build's local part ("+cpu", "+cu130") differs between machines of one cluster.
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


class RayWorker:
    """Trains one request at a time, on one thread. Data and networks stay with it between requests."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # Ctrl-C is the driver's; Ray ends a worker whose driver is gone.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if settings["data"]:
            os.environ[VARIABLE] = settings["data"]
        with suppress(OSError):
            os.chdir(settings["folder"])
        self.device = str(settings["device"])
        self.share = float(settings["share"])
        one_thread()

    def hello(self) -> dict[str, Any]:
        """Who this is, and why it cannot work ("" where it can)."""
        return {
            "host": platform.node(),
            "pid": os.getpid(),
            "versions": same_versions(),
            "fault": self._take_gpu() if self.device == "cuda" else "",
        }

    def _take_gpu(self) -> str:
        """Keep to this worker's part of the GPU that Ray gave it, which is the only one it sees."""
        import torch

        if not torch.cuda.is_available():
            seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            return f"Ray gave it a GPU (CUDA_VISIBLE_DEVICES={seen!r}), but its torch {torch.__version__} sees none"
        if self.share < 1:
            # Ray's fractions are only counted; this one holds.
            torch.cuda.set_per_process_memory_fraction(self.share)
        return ""

    def evaluate(self, text: str) -> dict[str, Any]:
        """The result of a request as plain values, or the error that is not the candidate's."""
        try:
            return {"result": evaluate_text(text, self.device)}
        except LossforgeError as error:
            return {"error": type(error).__name__, "told": str(error)}
        except Exception as error:
            return {"error": "", "told": f"a worker on {platform.node()} failed: {type(error).__name__}: {error}"}

    def examine(self, text: str, data: dict[str, Any]) -> dict[str, Any]:
        """What `lossforge doctor` asks: room on this machine, versions, the data of a task, and a tiny training."""
        shared = Path("/dev/shm")
        hello = self.hello()
        trained = {} if hello["fault"] else self.evaluate(text)
        return {
            **hello,
            "shared_gib": shutil.disk_usage(shared).free / 2**30 if shared.is_dir() else None,
            "temporary_gib": shutil.disk_usage(tempfile.gettempdir()).free / 2**30,
            "gpu": _gpu_name() if self.device == "cuda" else "",
            "data": data_seen(data),
            **trained,
        }


def data_seen(task: dict[str, Any]) -> dict[str, Any]:
    """Samples of a task's training part, and the digest of its files, as this machine sees them; or its ``fault``."""
    from lossforge.data.datasets import load_task, own_digest
    from lossforge.spaces.schema import TaskSection

    section = TaskSection(**task)
    try:
        return {"samples": len(load_task(section, "cpu").train), "digest": own_digest(section.data)}
    except LossforgeError as error:
        return {"fault": str(error)}


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
