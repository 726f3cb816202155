"""A worker as Ray runs it: it keeps a process that trains, hands it text, and can tell how it ended."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lossforge.data.places import VARIABLE
from lossforge.spaces.base_folder import VARIABLE as BASE
from lossforge.spaces.base_folder import base_folder

_STARTS = 3
"""How often a training process is started until it says hello."""


def driver_settings(device: str, share: float) -> dict[str, Any]:
    """What a worker has to know of its driver, as plain values. ``share`` is its part of a GPU."""
    return {"device": device, "share": share, "data": os.environ.get(VARIABLE, ""), "folder": str(base_folder())}


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
    """Trains one request at a time, in a process of one thread that keeps data and networks between requests.

    That process may die of its request; this one lives on, knows the signal or exit code, and starts another.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        # Ctrl-C is the driver's; Ray ends a worker whose driver is gone.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if settings["data"]:
            os.environ[VARIABLE] = settings["data"]
        with suppress(OSError):
            os.chdir(settings["folder"])
        self._settings = {"device": settings["device"], "share": settings["share"]}
        self._process: subprocess.Popen[str] | None = None

    def hello(self) -> dict[str, Any]:
        """Who this is, and why it cannot work ("" where it can)."""
        answer: dict[str, Any] = {}
        for _ in range(_STARTS):
            answer = self._ask({"ask": "hello"})
            if "ended" not in answer:
                break
        fault = answer.get("fault", answer.get("told", ""))
        return {"host": platform.node(), "versions": same_versions(), **answer, "fault": fault}

    def evaluate(self, text: str) -> dict[str, Any]:
        """The ``result`` of a request as plain values, the ``error`` that is no candidate's, or how it ``ended``.

        ``own`` says whether the training process can have ended by what it was doing: it left, crashed, or was
        killed when the machine's memory was used up. Otherwise somebody else killed it. After that, and before the
        first request, `hello` has to be asked.
        """
        kills = _memory_kills()
        answer = self._ask({"ask": "evaluate", "text": text})
        if "ended" in answer:
            outside = answer["ended"] in (-signal.SIGKILL, -signal.SIGTERM) and _memory_kills() == kills
            answer["own"] = not outside
        return answer

    def examine(self, text: str, task: dict[str, Any]) -> dict[str, Any]:
        """What `lossforge doctor` asks: room on this machine, versions, the data of a task, and a tiny training."""
        shared = Path("/dev/shm")
        hello = self.hello()
        trained = {} if hello["fault"] else self.evaluate(text)
        return {
            **hello,
            "shared_gib": shutil.disk_usage(shared).free / 2**30 if shared.is_dir() else None,
            "temporary_gib": shutil.disk_usage(tempfile.gettempdir()).free / 2**30,
            "data": self._ask({"ask": "data", "task": task}),
            **trained,
        }

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask the training process; where it ends instead of answering, its exit code is ``ended``."""
        process = self._process or self._start()
        line = ""
        with suppress(BrokenPipeError):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({**message, **self._settings}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if line.endswith("\n"):
            return dict(json.loads(line))
        code = self.end()
        return {"ended": code, "told": f"its training process ended with code {code}"}

    def end(self) -> int:
        """Kill the training process, unless it has ended by itself; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        return process.wait()

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lossforge.executors.trainee"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path, BASE: str(Path.cwd())},
        )
        return self._process


def _memory_kills() -> int:
    """How many processes the system has killed for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
