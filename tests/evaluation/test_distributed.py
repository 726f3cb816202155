"""One network of several workers, as one of them: what it learns, that it goes on, and how it fails."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.imagenet import imagenet_folder, imagenet_training

from lossforge.data.image_stream import image_stream, loader
from lossforge.evaluation import feasibility
from lossforge.evaluation.distributed import DistributedTraining, Share
from lossforge.evaluation.records import Training
from lossforge.models.registry import build_model
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection
from lossforge.training.correctness import unpacked


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_folder(tmp_path_factory.mktemp("images"))


ALONE = Share()


def run_of(training: Training, share: Share = ALONE) -> DistributedTraining:
    task = training.setup.task
    stream = image_stream(task)
    return DistributedTraining(
        training, stream, lambda seed: build_model(task.model, stream.shape, stream.classes, task.width, seed), share
    )


def trained(training: Training) -> DistributedTraining:
    run = run_of(training)
    while not run.finished:
        run.train_epoch()
    return run


def weights(run: DistributedTraining) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in run.plain.parameters()])


def test_it_learns_and_tells_all_that_a_result_has(root: Path) -> None:
    run = trained(imagenet_training(root, epochs=6))
    accuracy, metrics = run.score()
    assert accuracy is not None
    assert accuracy > 0.9
    assert metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["negative_log_likelihood"] > 0
    assert len(metrics["curve"]) == 6
    assert metrics["curve"][-1] < metrics["curve"][0]
    right = unpacked(metrics)
    assert right is not None
    assert right.mean() == pytest.approx(accuracy)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_was_kept_after_an_epoch_goes_on_to_the_same_bits(root: Path, optimizer: str, precision: str) -> None:
    training = imagenet_training(root, optimizer=optimizer, precision=precision, epochs=3)
    whole = trained(training)
    first = run_of(training)
    first.train_epoch()
    state = copy.deepcopy(first.state())
    again = run_of(training)
    again.load(state)
    assert again.step == 4
    while not again.finished:
        again.train_epoch()
    assert torch.equal(weights(again), weights(whole))
    assert again.curve == whole.curve


def test_the_workers_shares_are_the_batch_with_the_same_cuts(root: Path) -> None:
    training = imagenet_training(root, workers=3)
    (whole,) = (run_of(training)._batches(1, 2),)
    shares = [run_of(training, Share(rank, 3))._batches(1, 2) for rank in range(3)]
    for place, batch in enumerate(whole):
        assert sorted(batch) == sorted(pair for share in shares for pair in share[place])
        assert [len(share[place]) for share in shares] == [4, 4, 4]
    assert run_of(training)._batches(0, 2) != whole


@pytest.mark.parametrize("formula", ["ngl", "nce_rce", "dice(e=1.0)", "-y_true * log(y_pred) * (1 - 0.5 * progress)"])
def test_any_loss_trains_at_its_matched_scale(root: Path, formula: str) -> None:
    from lossforge.losses.library import loss_spec

    training = replace(imagenet_training(root), loss=loss_spec(formula))
    run = trained(training)
    assert run.failure == ""
    assert run.scale is not None
    three = replace(training, loss=loss_spec("3 * (exp(2.4092 - y_pred - y_pred * y_true) - cos(cos(sin(y_pred))))"))
    if formula == "ngl":
        assert torch.allclose(weights(trained(three)), weights(run), atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "failure"),
    [({"formula": "y_true"}, "the gradient at the start"), ({}, "stopped being finite")],
)
def test_what_cannot_be_trained_fails_with_a_reason(root: Path, keys: dict[str, Any], failure: str) -> None:
    run = run_of(replace(imagenet_training(root, **keys), learning_rate=1e30))
    while not run.finished:
        run.train_epoch()
    assert failure in run.failure


def test_time_is_up_over_all_parts_of_a_training(root: Path) -> None:
    training = imagenet_training(root)
    run = run_of(replace(training, setup=replace(training.setup, seconds=1e-9)))
    run.train_epoch()
    assert run.timed_out
    assert run.finished
    later = run_of(run.training)
    later.load(run.state())
    assert later.finished


def test_steps_and_plateaus_are_the_recipes(root: Path) -> None:
    run = trained(imagenet_training(root, steps=7, epochs=3))
    assert run.step == 7
    assert len(run.curve) == 2
    flat = trained(imagenet_training(root, schedule="plateau", plateau_epochs=1, plateau_factor=0.5, epochs=3))
    assert flat._rate() <= 0.05


def test_the_sizes_and_classes_are_known_without_reading_an_image(root: Path) -> None:
    task = imagenet_training(root).setup.task
    assert feasibility.class_count(task) == 3
    assert feasibility.validated_sizes(task) == (48, 18)
    assert feasibility.resolution(task) == pytest.approx(1 / 18)
    feasibility.check_fit(task)


def test_a_batch_that_the_workers_cannot_share_is_refused() -> None:
    task = TaskSection(data="imagenet", resize=224, distributed=3)
    with pytest.raises(ValueError, match=r"recipe\.batch_size: is 64, and task 'imagenet' has 3 workers"):
        SearchSpace(name="s", task=[task])
    with pytest.raises(ValueError, match=r"recipe\.optimizer: 'muon' is not for task\.distributed"):
        SearchSpace(name="s", task=[task], recipe=RecipeSection(optimizer="muon", batch_size=96))


def test_batches_come_from_processes_as_from_this_one(root: Path) -> None:
    part = image_stream(imagenet_training(root).setup.task).train
    batches = [[(0, 5), (47, 6)], [(3, 7)]]
    alone, beside = ([(x, y) for x, y in loader(part, 16, batches, count)] for count in (0, 2))
    for (x, y), (other, labels) in zip(alone, beside, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, labels)
    assert alone[0][1].tolist() == [0, 2]
