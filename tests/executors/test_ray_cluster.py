"""The executor and the doctor on a Ray cluster that grows and shrinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.helpers.misbehaving import NETWORK, SLOW
from tests.helpers.ray_cluster import cluster, gone, workers_of

from lossforge.errors import ExecutionError
from lossforge.evaluation.records import Outcome, TrainingRequest, pack
from lossforge.evaluation.space_trainings import trainings as trainings_of
from lossforge.executors import ray_pool
from lossforge.executors.ray_pool import RayExecutor
from lossforge.inspection.ray_doctor import examine_ray
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import ExecutionSection, RecipeSection, SearchSpace, TaskSection

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def one_node() -> Iterator[Any]:
    with cluster(1) as made:
        yield made


def on(made: Any, **keys: Any) -> ExecutionSection:
    return ExecutionSection(executor="ray", address=made.address, device="cpu", **keys)


def slow(count: int) -> list[TrainingRequest]:
    space = SearchSpace(
        name="test",
        task=[TaskSection(data="digits", train=200, validation=100, model=NETWORK, width=SLOW)],
        recipe=RecipeSection(epochs=4, cohort=2),
    )
    return pack(trainings_of(space, space.task[0], LossSpec(CROSS_ENTROPY), "ce", 0.02, range(2 * count), stage="test"))


def test_machines_that_come_are_used_and_those_that_go_are_not_missed(one_node: Any) -> None:
    executor = RayExecutor(on(one_node))
    try:
        batch = slow(40)
        run = executor.run(batch, lambda: False)
        done = {next(run)[0]}
        assert executor.meter.workers == 1
        added = one_node.add_node(num_cpus=2)
        most = 1
        for index, result in run:
            assert set(result.outcomes) == {Outcome.TRAINED}
            assert index not in done
            done.add(index)
            if executor.meter.workers > most:
                most = executor.meter.workers
                if most == 3:
                    one_node.remove_node(added)
        assert most == 3
        assert executor.meter.replaced["lost"] >= 1
        assert done == set(range(40))
        assert executor.workers < 3
    finally:
        executor.close()
    assert gone(workers_of(one_node))
    assert one_node.remaining_processes_alive()


def test_where_no_worker_has_room_the_search_ends_with_a_sentence(
    one_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "_PATIENCE_SECONDS", 3.0)
    executor = RayExecutor(on(one_node, workers=1, cpus_per_worker=64))
    try:
        with pytest.raises(ExecutionError, match="each takes 64 CPUs and 0 GPUs, and 1 nodes have room for 0"):
            list(executor.run(slow(1), lambda: False))
    finally:
        executor.close()


def test_a_connection_of_the_users_own_is_used_and_left_open(one_node: Any) -> None:
    import ray

    ray.init(address=one_node.address, logging_level="CRITICAL", log_to_driver=False)
    try:
        executor = RayExecutor(on(one_node))
        executor.close()
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_gpu_that_the_cluster_does_not_have_is_refused_and_the_connection_closed(one_node: Any) -> None:
    import ray

    with pytest.raises(ExecutionError, match="Ray knows of no GPU"):
        RayExecutor(on(one_node).model_copy(update={"device": "cuda"}))
    assert not ray.is_initialized()


def test_the_doctor_examines_every_machine(one_node: Any) -> None:
    rows = examine_ray(one_node.address, None, "digits", None, "")
    assert {row["state"] for row in rows} == {"good"}
    told = " ".join(f"{row['check']} {row['told']}" for row in rows)
    for part in ("/dev/shm", "temporary folder", "1078 training samples", "trained a network", "train on cpu"):
        assert part in told
    assert gone(workers_of(one_node))


def test_the_doctor_tells_what_is_missing(one_node: Any) -> None:
    rows = examine_ray(one_node.address, None, "npz:nowhere.npz", None, "")
    bad = [row["check"] for row in rows if row["state"] == "bad"]
    assert "data here" in bad
    assert any(check.endswith(": data") for check in bad)
    assert "nothing answers" in examine_ray("127.0.0.1:9", None, "digits", None, "")[-1]["told"]
    assert "no address" in examine_ray("somewhere", None, "digits", None, "")[-1]["told"]
