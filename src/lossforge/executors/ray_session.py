"""The way to a Ray: one of our own on this machine, or a running cluster. Takes the ray module; imports none."""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from lossforge.errors import ExecutionError
from lossforge.executors.devices import resolve_device, worker_count

if TYPE_CHECKING:
    from lossforge.spaces.schema import ExecutionSection

_QUIET = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray prints of dead workers; our own lines tell of them
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would ship the working folder, with its runs, to every worker
    "RAY_USAGE_STATS_ENABLED": "0",
}
_OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a Ray of our own. Requests and results are small; data never go through it."""
_LOCAL = {"localhost", "127.0.0.1", "[::1]"}


@contextmanager
def environment(address: str) -> Iterator[None]:
    """What Ray reads when it is imported and started; what the user has set stays as it is.

    A Ray of our own asks for a token, made here and kept in the environment of its processes.
    """
    wanted = dict(_QUIET)
    if not address:
        if "RAY_AUTH_MODE" not in os.environ:
            wanted["RAY_AUTH_MODE"] = "token"
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
            wanted["RAY_AUTH_TOKEN"] = _token()
    wanted = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name, None)


@cache
def _token() -> str:
    return secrets.token_hex(32)


def connect(ray: Any, section: ExecutionSection) -> None:
    """Start a Ray on this machine, or join the running cluster at ``section.address``. Raises ExecutionError."""
    if section.address not in ("", "auto"):
        _require_reachable(ray, section.address)
    options: dict[str, Any] = {"address": section.address}
    if not section.address:
        count = worker_count(section)
        options = {
            "address": "local",
            "num_cpus": math.ceil(count * section.cpus_per_worker),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
            "_node_ip_address": "127.0.0.1",
        }
        if resolve_device(section.device) == "cpu" or not section.gpus_per_worker:
            options["num_gpus"] = 0
    forget_token()  # of a Ray that somebody else had here before
    try:
        with _signals_kept(), _loopback(ray, not section.address):
            ray.init(**options, logging_level=logging.CRITICAL, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"the Ray cluster at '{section.address}'" if section.address else "a Ray on this machine"
        raise ExecutionError(f"execution.address: {where} cannot be used: {first_line(error)}") from None


def _require_reachable(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    # Ray itself replaces the loopback address by the machine's own.
    place = ray.util.get_node_ip_address() if host in _LOCAL else host.strip("[]")
    try:
        socket.create_connection((place, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ExecutionError(
            f"execution.address: nothing answers at {place}:{port} ({first_line(error)}); give the address that "
            "'ray start --head' told, or leave it out for a Ray on this machine"
        ) from None


@contextmanager
def _loopback(ray: Any, wanted: bool) -> Iterator[None]:
    """Have Ray's processes listen on the loopback address alone.

    `ray.init` takes 127.0.0.1 for the machine's own address, and then listens on all of them, unless this switch,
    meant for desktops, says that the machine is in no cluster.
    """
    if not wanted:
        yield
        return
    constants = ray._private.ray_constants
    variable, old = constants.ENABLE_RAY_CLUSTERS_ENV_VAR, constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(variable)
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[variable] = "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = old
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep Ray from taking over SIGTERM, which stops a search in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def forget_token() -> None:
    """Let a later Ray of this process find its own token: Ray keeps the one that it read first."""
    with suppress(ImportError, AttributeError):
        from importlib import import_module

        import_module("ray._raylet").AuthenticationTokenLoader.instance().reset_cache()


def device_of(section: ExecutionSection, nodes: Sequence[Mapping[str, Any]]) -> str:
    """Where workers train: "cuda" where the cluster has GPUs and a worker gets one. Raises ExecutionError."""
    gpus = sum(node["Resources"].get("GPU", 0) for node in alive(nodes))
    if section.device == "cuda" and not (gpus and section.gpus_per_worker):
        reason = "Ray knows of no GPU" if section.gpus_per_worker else "gpus_per_worker is 0"
        raise ExecutionError(f"execution.device: 'cuda' was asked for, but {reason}; use cpu or auto")
    return "cuda" if section.device != "cpu" and gpus and section.gpus_per_worker else "cpu"


def room(nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float) -> int:
    """How many workers fit on the living nodes, whatever else runs there."""
    count = 0
    for node in alive(nodes):
        fit = math.floor(node["Resources"].get("CPU", 0) / cpus + 1e-9)
        if gpus:
            fit = min(fit, int(node["Resources"].get("GPU", 0)) * math.floor(1 / gpus + 1e-9))
        count += fit
    return count


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The nodes that are there."""
    return [node for node in nodes if node["Alive"]]


def first_line(error: BaseException) -> str:
    """The error in one line, with its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
