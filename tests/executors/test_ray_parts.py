"""What the executor on Ray decides without Ray: room, devices, tokens, versions, how processes end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.helpers.misbehaving import CRASH, END, HANG, NETWORK

from lossforge.errors import ExecutionError
from lossforge.evaluation.records import Outcome, pack, request_to_text, result_from_text
from lossforge.evaluation.space_trainings import trainings
from lossforge.executors import trainee
from lossforge.executors.choice import make_executor
from lossforge.executors.ray_pool import fault_of
from lossforge.executors.ray_session import device_of, environment, room
from lossforge.executors.ray_worker import RayWorker, driver_settings, same_versions
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import ExecutionSection, RecipeSection, SearchSpace, TaskSection


def node(cpus: float, gpus: float = 0, there: bool = True) -> dict[str, Any]:
    return {"Alive": there, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([], 1, 0, 0),
        ([node(4), node(2), node(8, there=False)], 1, 0, 6),
        ([node(4), node(3)], 2, 0, 3),
        ([node(1)], 0.1, 0, 10),
        ([node(16, 8), node(16)], 1, 1, 8),
        ([node(64, 8)], 1, 0.25, 32),
        ([node(16, 8)], 1, 0.25, 16),
        ([node(16, 2)], 1, 0.3, 6),
        ([node(16, 2)], 1, 0.6, 2),
    ],
)
def test_room_is_counted_machine_by_machine_and_gpu_by_gpu(
    nodes: list[dict[str, Any]], cpus: float, gpus: float, expected: int
) -> None:
    assert room(nodes, cpus, gpus) == expected


def test_the_device_is_the_clusters_and_not_the_drivers() -> None:
    def of(nodes: list[dict[str, Any]], **keys: Any) -> str:
        return device_of(ExecutionSection(executor="ray", **keys), nodes)

    assert of([node(4)]) == "cpu"
    assert of([node(4), node(4, 1)]) == "cuda"
    assert of([node(4, 1, there=False)]) == "cpu"
    assert of([node(4, 1)], device="cpu") == "cpu"
    assert of([node(4, 1)], gpus_per_worker=0) == "cpu"
    with pytest.raises(ExecutionError, match="Ray knows of no GPU"):
        of([node(4)], device="cuda")
    with pytest.raises(ExecutionError, match="gpus_per_worker is 0"):
        of([node(4, 1)], device="cuda", gpus_per_worker=0)


def test_a_ray_of_our_own_asks_for_a_token_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with environment(""):
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
    with environment("head:6379"):
        assert not set(names) & set(os.environ)
    assert dict(os.environ) == before
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "mine")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with environment(""):
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
        assert "RAY_AUTH_TOKEN" not in os.environ


def test_without_ray_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutionError, match="ray is not installed; type 'pip install ray'"):
        make_executor(ExecutionSection(executor="ray"))


@pytest.mark.ray
def test_an_address_where_nothing_is_fails_at_once() -> None:
    with pytest.raises(ExecutionError, match="nothing answers at"):
        make_executor(ExecutionSection(executor="ray", address="127.0.0.1:9"))


def test_a_worker_of_other_versions_is_refused_by_name() -> None:
    facts: dict[str, Any] = {"versions": same_versions(), "fault": ""}
    assert fault_of(facts) == ""
    assert fault_of({**facts, "fault": "no GPU"}) == "no GPU"
    other = {**facts, "versions": {**same_versions(), "torch": "0.1"}}
    assert "torch 0.1" in fault_of(other)
    assert "install the same" in fault_of(other)


class TestWorker:
    """The object that Ray runs, here without Ray."""

    @pytest.fixture
    def worker(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayWorker]:
        monkeypatch.setattr(signal, "signal", lambda *arguments: None)
        made = RayWorker(driver_settings("cpu", 0))
        yield made
        made.end()

    def text(self, width: int) -> str:
        space = SearchSpace(
            name="test",
            task=[TaskSection(data="digits", train=100, validation=50, model=NETWORK, width=width)],
            recipe=RecipeSection(epochs=1, cohort=2),
        )
        (request,) = pack(trainings(space, space.task[0], LossSpec(CROSS_ENTROPY), "ce", 0.02, range(2), stage="test"))
        return request_to_text(request)

    def test_it_trains_and_tells_what_it_died_of(self, worker: RayWorker) -> None:
        hello = worker.hello()
        assert (hello["fault"], hello["versions"]) == ("", same_versions())
        result = result_from_text(worker.evaluate(self.text(4))["result"])
        assert result.outcomes == (Outcome.TRAINED, Outcome.TRAINED)
        died = worker.evaluate(self.text(CRASH))
        assert (died["ended"], died["own"]) == (3, True)
        ended = worker.evaluate(self.text(END))
        assert (ended["ended"], ended["own"]) == (0, True)
        assert worker.hello()["fault"] == ""
        killer = threading.Timer(3, lambda: worker._process and worker._process.kill())
        killer.start()
        killed = worker.evaluate(self.text(HANG))
        killer.join()
        assert (killed["ended"], killed["own"]) == (-signal.SIGKILL, False)


def test_a_share_of_a_gpu_is_a_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    taken: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", taken.append)
    ask = {"ask": "hello", "device": "cuda"}
    assert trainee.answer({**ask, "share": 0.25}) == {"fault": "", "gpu": "a GPU"}
    assert trainee.answer({**ask, "share": 1.0})["fault"] == ""
    assert taken == [0.25]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "sees none" in trainee.answer({**ask, "share": 1.0})["fault"]


def test_answers_are_plain_json() -> None:
    seen = trainee.answer({"ask": "data", "task": {"data": "digits", "train": 100}})
    assert seen == {"samples": 100, "digest": ""}
    assert json.loads(json.dumps(seen)) == seen
    assert "nowhere" in trainee.answer({"ask": "data", "task": {"data": "npz:nowhere.npz"}})["fault"]
    assert trainee.answer({"ask": "data"})["error"] == ""
