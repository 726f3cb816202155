"""A Ray cluster of several nodes on this machine, and what can befall one."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A Ray cluster of so many nodes, of one CPU each, on this machine."""
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="of-these-tests")
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Ray leaves the files of its processes' output to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                made.add_node(num_cpus=1)
            yield made
        finally:
            made.shutdown()
            for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
                del os.environ[name]


def workers_of(made: Any) -> list[int]:
    """The processes of lossforge's workers on the cluster: those that Ray knows, and those that train for them."""
    raylets = {process.process.pid for node in made.list_all_nodes() for process in node.all_processes["raylet"]}
    parents: dict[int, int] = {}
    known, training = set(), set()
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if place.name.isdigit():
                command = (place / "cmdline").read_bytes()
                number = int(place.name)
                parents[number] = int((place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
                if command.startswith(b"ray::RayWorker") and parents[number] in raylets:
                    known.add(number)
                if b"lossforge.executors.trainee" in command:
                    training.add(number)
    return sorted(known | {number for number in training if parents[number] in known})


class Chaos:
    """Kills a random worker every ``seconds``; the second blow takes a node away too, the fourth adds one."""

    def __init__(self, made: Any, seconds: float) -> None:
        self.killed = 0
        self.blows = 0
        self.errors: list[BaseException] = []
        self._cluster = made
        self._seconds = seconds
        self._random = random.Random(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        try:
            while not workers_of(self._cluster) and not self._over.wait(0.1):
                pass
            while not self._over.wait(self._seconds):
                self._strike()
        except BaseException as error:
            self.errors.append(error)

    def _strike(self) -> None:
        self.blows += 1
        alive = workers_of(self._cluster)
        if alive:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(alive), signal.SIGKILL)
                self.killed += 1
        if self.blows == 2:
            self._cluster.remove_node(sorted(self._cluster.worker_nodes, key=lambda node: node.node_id)[0])
        if self.blows == 4:
            self._cluster._shutdown_at_exit = False  # Ray's handler of signals belongs in the main thread
            self._cluster.add_node(num_cpus=1)


def gone(processes: list[int], seconds: float = 30.0) -> bool:
    """Whether all these processes end within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{process}").exists() for process in processes):
            return True
        time.sleep(0.1)
    return False
