"""Executors of every kind, each started once for all tests that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.helpers.ray_cluster import cluster

from lossforge.executors.local import InProcessExecutor, PoolExecutor
from lossforge.executors.protocol import Executor
from lossforge.spaces.schema import ExecutionSection


@contextmanager
def executor_of(kind: str) -> Iterator[Executor]:
    """An executor, and what it needs."""
    if kind == "in process":
        yield InProcessExecutor("cpu")
    elif kind == "pool":
        pool = PoolExecutor(2, "cpu")
        try:
            yield pool
        finally:
            pool.close()
    elif kind == "ray":
        with ray_executor(ExecutionSection(executor="ray", workers=2, device="cpu")) as executor:
            yield executor
    else:
        with (
            cluster(3) as made,
            ray_executor(ExecutionSection(executor="ray", address=made.address, device="cpu")) as executor,
        ):
            yield executor


@contextmanager
def ray_executor(section: ExecutionSection) -> Iterator[Executor]:
    from lossforge.executors.ray_pool import RayExecutor

    executor = RayExecutor(section)
    try:
        yield executor
    finally:
        executor.close()


RAY = [pytest.mark.ray, pytest.mark.timeout(600)]
KINDS = [
    pytest.param("in process"),
    pytest.param("pool"),
    pytest.param("ray", marks=RAY),
    pytest.param("ray cluster", marks=RAY),
]


@pytest.fixture(scope="module", params=KINDS)
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    # Workers are started from here, and find the helper's marker and module by it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOSSFORGE_TEST_FOLDER", str(tmp_path_factory.mktemp(request.param.replace(" ", "-"))))
        with executor_of(request.param) as made:
            yield made
