"""The process that trains for a worker on Ray: a line of JSON in, a line of JSON out. Runs as a module.

It is apart from the process that Ray knows, so that the latter can tell how it ended.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from typing import Any

from lossforge.errors import LossforgeError


def main() -> None:
    """Answer each line of standard input, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    parent = os.getppid()
    _end_with_parent(parent)
    # What a network prints must not come among the answers, nor what it reads from among the questions.
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Nor may a child that a training forks hold them open: their end tells that this process is gone.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: os.close(answers.fileno()))
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    for line in questions:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The answer to "hello", "evaluate" or "data"; an error that is no candidate's comes back as its name and text."""
    try:
        if message["ask"] == "hello":
            return _hello(message["device"], message["share"])
        if message["ask"] == "evaluate":
            from lossforge.executors.workers import evaluate_text

            return {"result": evaluate_text(message["text"], message["device"])}
        return data_seen(message["task"])
    except LossforgeError as error:
        return {"error": type(error).__name__, "told": str(error)}
    except BaseException as error:
        return {"error": "", "told": f"a worker on {platform.node()} failed: {type(error).__name__}: {error}"}


def _hello(device: str, share: float) -> dict[str, Any]:
    """Get ready, and keep to a share of the GPU that Ray gave, which is the only one seen here."""
    import torch

    from lossforge.evaluation.threads import one_thread

    one_thread()
    if device != "cuda":
        return {"fault": "", "gpu": ""}
    if not torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        fault = f"Ray gave it a GPU (CUDA_VISIBLE_DEVICES={seen!r}), but its torch {torch.__version__} sees none"
        return {"fault": fault, "gpu": ""}
    if share < 1:
        # Ray's fractions are only counted; this one holds.
        torch.cuda.set_per_process_memory_fraction(share)
    return {"fault": "", "gpu": torch.cuda.get_device_name()}


def data_seen(task: dict[str, Any]) -> dict[str, Any]:
    """Samples of a task's training part, and the digest of its files, as this machine sees them; or its ``fault``."""
    from lossforge.data.datasets import load_task, own_digest
    from lossforge.data.human_labels import label_file_digest
    from lossforge.spaces.schema import TaskSection

    section = TaskSection(**task)
    try:
        digest = own_digest(section.data) + label_file_digest(section.noise_file)
        return {"samples": len(load_task(section, "cpu").train), "digest": digest}
    except LossforgeError as error:
        return {"fault": str(error)}


def _end_with_parent(parent: int) -> None:
    """End when the worker ends, even in the middle of a training that hangs."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
