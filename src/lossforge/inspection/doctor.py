"""Checks of the machine that a first search would otherwise stumble over."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.errors import LossforgeError

_PACKAGES = (
    "torch",
    "numpy",
    "deap",
    "cmaes",
    "sympy",
    "scikit-learn",
    "pebble",
    "pydantic",
    "torchvision",
    "pillow",
    "ray",
)
if TYPE_CHECKING:
    from lossforge.evaluation.records import TrainingRequest

_FREE_GIB = 1.0


def examine() -> list[dict[str, str]]:
    """Every check as ``{"check", "state": "good" | "bad" | "note", "told"}``."""
    checks: list[tuple[str, Callable[[], tuple[str, str]]]] = [
        ("Python", _python),
        *((name, lambda name=name: _package(name)) for name in _PACKAGES),
        ("cores", _cores),
        ("memory", _memory),
        ("runs folder", lambda: _disk(Path("runs") if Path("runs").is_dir() else Path.cwd())),
        ("temporary folder", lambda: _disk(Path(tempfile.gettempdir()))),
        ("compiled code", _kernels),
        ("GPU", _gpu),
        ("training", _training),
    ]
    return _run(checks)


def examine_data(
    data: str, data_dir: str = "", resize: int | None = None, overrides: list[str] | None = None
) -> list[dict[str, str]]:
    """What a data set is like, as `examine` tells it: parts, samples, classes, balance, duplicates, columns.

    ``overrides`` are ``"task.KEY=VALUE"`` texts, as of a search.
    """
    from lossforge.data.datasets import load_task
    from lossforge.data.examine import describe
    from lossforge.data.places import using_data_folder
    from lossforge.spaces.load import apply_overrides, validate_space

    table = {"name": "doctor", "task": {"data": data} | ({} if resize is None else {"resize": resize})}
    try:
        apply_overrides(table, overrides or [])
        with using_data_folder(data_dir):
            found = describe(load_task(validate_space(table, "--set").task[0], "cpu"))
    except LossforgeError as error:
        found = [("data", "bad", str(error))]
    return [{"check": name, "state": state, "told": told} for name, state, told in found]


def _run(checks: list[tuple[str, Callable[[], tuple[str, str]]]]) -> list[dict[str, str]]:
    rows = []
    for name, check in checks:
        try:
            state, told = check()
        except (LossforgeError, OSError, ImportError, RuntimeError) as error:
            state, told = "bad", " ".join(str(error).split())
        rows.append({"check": name, "state": state, "told": told})
    return rows


def _python() -> tuple[str, str]:
    return ("good" if sys.version_info >= (3, 11) else "bad"), f"{platform.python_version()} (3.11 or later is needed)"


def _package(name: str) -> tuple[str, str]:
    try:
        return "good", version(name)
    except PackageNotFoundError:
        return "bad", f"not installed; type 'pip install {name}'"


def _cores() -> tuple[str, str]:
    from lossforge.executors.devices import worker_count
    from lossforge.spaces.schema import ExecutionSection

    workers = worker_count(ExecutionSection())
    return "good", f"{os.cpu_count()} in the machine, {workers} workers by default"


def _memory() -> tuple[str, str]:
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return "note", "cannot be read on this system"
    gib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return ("good" if gib > 1 else "bad"), f"{gib:.1f} GiB free (a worker takes about 0.8)"


def _disk(folder: Path) -> tuple[str, str]:
    free = shutil.disk_usage(folder).free / 2**30
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"lossforge")
    return ("good" if free > _FREE_GIB else "bad"), f"{free:.1f} GiB free at {folder}"


def _kernels() -> tuple[str, str]:
    from lossforge.screening.descent import kernels_folder

    folder = kernels_folder()
    if folder is None:
        return "note", (
            "there is nowhere to keep it, so that every process compiles its kernels anew, half a minute each time; "
            "let NUMBA_CACHE_DIR name a folder that can be written"
        )
    return "good", f"kept in {folder}"


def _gpu() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "note", "none seen by torch; searches run on the CPU"
    return "good", torch.cuda.get_device_name()


def _training() -> tuple[str, str]:
    """One tiny training in a worker process, as a search does it."""
    from lossforge.executors.devices import resolve_device
    from lossforge.executors.local import PoolExecutor

    pool = PoolExecutor(1, resolve_device("auto"))
    try:
        ((_, result),) = pool.run([tiny_training()], lambda: False)
    finally:
        pool.close()
    if any(accuracy is None for accuracy in result.accuracies):
        return "bad", f"a worker could not train: {result.reasons[0]}"
    return "good", f"a worker process trained a network in {result.seconds:.2f} s"


def tiny_training() -> TrainingRequest:
    """A request that takes a moment."""
    from lossforge.evaluation.records import pack
    from lossforge.evaluation.space_trainings import trainings
    from lossforge.losses.compiled import LossSpec
    from lossforge.losses.library import CROSS_ENTROPY
    from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection

    space = SearchSpace(
        name="doctor",
        task=[TaskSection(data="digits", train=200, validation=100, width=4)],
        recipe=RecipeSection(epochs=1, cohort=2),
    )
    wanted = trainings(space, space.task[0], LossSpec(CROSS_ENTROPY), "doctor", 0.01, range(2), stage="doctor")
    (request,) = pack(wanted)
    return request
