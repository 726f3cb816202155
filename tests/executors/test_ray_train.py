"""One network by two workers of Ray Train: the same result as by one, a kill, a stop, and data that cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.evaluation.test_distributed import run_of
from tests.helpers.imagenet import imagenet_folder, imagenet_training

from lossforge.errors import DataError, ExecutionError
from lossforge.evaluation.distributed import DistributedTraining
from lossforge.evaluation.records import Outcome, Training, TrainingRequest
from lossforge.executors.ray_session import forget_token
from lossforge.executors.ray_train import RayTrainExecutor
from lossforge.spaces.schema import ExecutionSection
from lossforge.store.ledger import Ledger

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_folder(tmp_path_factory.mktemp("images"))


def request_of(training: Training) -> TrainingRequest:
    return TrainingRequest(training.setup, (training,))


PLAN = """
name = "streamed"
published = ""
seeds = 2
looks = false
losses = ["brier"]
[rivals]
named = ["cross_entropy"]
best = 0
[task]
data = "folder:{root}"
resize = 16
width = 4
distributed = 2
[recipe]
epochs = 4
batch_size = 12
learning_rate = 0.05
optimizer = "sgd"
[budget]
training_seconds = 600.0
[execution]
device = "cpu"
checkpoints = "{store}"
[[study]]
name = "all"
"""
"""Two losses, two seeds each: four trainings of two workers."""


def command(folder: Path, root: Path) -> list[str]:
    plan = folder / "plan.toml"
    plan.write_text(PLAN.format(root=root, store=folder / "store"), encoding="utf-8")
    arguments = ["compare", "--plan", str(plan), "--output", str(folder / "out"), "--json"]
    return [sys.executable, "-m", "lossforge", *arguments]


def alone(training: Training) -> DistributedTraining:
    """The same by one worker, in this process."""
    run = run_of(training)
    while not run.finished:
        run.train_epoch()
    return run


def test_a_training_that_is_stopped_goes_on_and_is_what_one_worker_alone_gives(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    executor = RayTrainExecutor(ExecutionSection(device="cpu", checkpoints=str(store)), 2)
    try:
        # Without BatchNorm: its statistics would be of each worker's own share.
        training = replace(imagenet_training(root, model="mlp", epochs=4, optimizer="adam"), learning_rate=0.003)
        answers = iter([False])  # to the question before it starts; then it is to stop
        assert list(executor.run([request_of(training)], lambda: next(answers, True))) == []
        (kept,) = store.glob("*/checkpoint_*/state.pt")
        assert torch.load(kept, weights_only=True)["step"] == 4  # an epoch's
        ((index, result),) = executor.run([request_of(training)], lambda: False)
        assert not any(store.glob("*/checkpoint_*"))
    finally:
        executor.close()
    assert (index, result.outcomes) == (0, (Outcome.TRAINED,))
    one = alone(training)
    accuracy, metrics = one.score()
    assert result.accuracies[0] == pytest.approx(accuracy, abs=0.06)
    assert result.metrics[0]["curve"] == pytest.approx(metrics["curve"], rel=0.01, abs=1e-4)
    assert result.metrics[0]["correct"]["samples"] == 18


@pytest.mark.slow
def test_a_comparison_that_is_killed_goes_on_with_the_same_command(root: Path, tmp_path: Path) -> None:
    asked = command(tmp_path, root)
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while not any((tmp_path / "store").glob("*/checkpoint_*/state.pt")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    done = subprocess.run(asked, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    (row,) = json.loads(done.stdout)
    assert (row["study"], row["loss"], row["rival"], row["seeds"]) == ("all", "brier", "cross_entropy", 2)
    ledger = Ledger(tmp_path / "out" / "ledger.sqlite", read_only=True)
    rows = ledger.trainings()
    ledger.close()
    assert [one.outcome for one in rows] == ["trained"] * 4
    assert not any((tmp_path / "store").glob("*/checkpoint_*"))


@pytest.mark.slow
def test_an_image_that_cannot_be_read_ends_it_with_its_name(tmp_path: Path) -> None:
    bad = imagenet_folder(tmp_path / "bad", train=4, val=2)
    broken = sorted((bad / "train").glob("*/*.JPEG"))[0]
    broken.write_bytes(b"no image")
    executor = RayTrainExecutor(ExecutionSection(device="cpu", checkpoints=str(tmp_path / "store")), 2)
    try:
        with pytest.raises(DataError, match=rf"^{broken}: cannot be read as an image"):
            list(executor.run([request_of(imagenet_training(bad, epochs=1))], lambda: False))
    finally:
        executor.close()


def test_where_no_room_is_for_all_workers_it_says_so_before_it_waits(tmp_path: Path) -> None:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, logging_level="CRITICAL", log_to_driver=False)
    try:
        with pytest.raises(ExecutionError, match=r"task\.distributed: 2 workers .* there is room for 1; take fewer"):
            RayTrainExecutor(ExecutionSection(device="cpu", checkpoints=str(tmp_path)), 2)
    finally:
        ray.shutdown()
        forget_token()


def test_on_a_cluster_somebody_has_to_say_where_checkpoints_are_kept() -> None:
    with pytest.raises(ExecutionError, match=r"execution\.checkpoints: say where .* shares, or an address"):
        RayTrainExecutor(ExecutionSection(address="head:6379"), 2)
