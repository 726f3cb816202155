"""Parts that every replicate draws for itself."""

from __future__ import annotations

import numpy
import pytest
import torch

from lossforge.data.datasets import load_task
from lossforge.data.replicate_split import ReplicateSplit
from lossforge.data.replicates import SMALL, draws_parts
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import evaluate, make_plan
from lossforge.evaluation.feasibility import with_split
from lossforge.evaluation.records import Setup, Training, TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection

CE = "-y_true * log(y_pred)"


def _task(**keys: object) -> TaskSection:
    given = {"data": "digits", "train": 200, "validation": 150, "test": 100, "width": 4, "split": "replicate", **keys}
    return TaskSection(**given)  # type: ignore[arg-type]


def _setup(task: TaskSection, part: str = "validation", **keys: object) -> Setup:
    recipe = RecipeSection(epochs=2, cohort=4, stop_at=0.0, **keys)  # type: ignore[arg-type]
    return Setup(task, recipe, 2, part, 60.0)


def _request(setup: Setup, seeds: list[int], formulas: tuple[str, ...] = (CE,)) -> TrainingRequest:
    trainings = [
        Training(setup, formula, LossSpec(formula), 2e-3, seed, seed) for seed in seeds for formula in formulas
    ]
    return TrainingRequest(setup, tuple(trainings))


@pytest.mark.parametrize("keys", [{}, {"imbalance": 5.0}])
def test_every_seed_has_other_images_and_as_many_of_each_class(keys: dict[str, object]) -> None:
    data = load_task(_task(**keys), "cpu")
    assert data.pool is not None
    assert data.split is not None
    drawn = [data.split.rows(seed) for seed in range(5)]
    for train, validation in drawn:
        assert not set(train.tolist()) & set(validation.tolist())
        assert torch.equal(data.pool.y[train].bincount(), data.train.y.bincount())
        assert torch.equal(data.pool.y[validation].bincount(), data.validation.y.bincount())
    assert len({tuple(validation.tolist()) for _, validation in drawn}) == 5
    again = data.split.rows(3)
    assert all(torch.equal(one, other) for one, other in zip(drawn[3], again, strict=True))


def test_no_image_of_the_test_part_is_ever_trained_on_or_scored() -> None:
    data, fixed = load_task(_task(), "cpu"), load_task(_task(split="fixed"), "cpu")
    assert data.pool is not None
    assert torch.equal(data.test.x, fixed.test.x)
    tests = {one.numpy().tobytes() for one in data.test.x}
    assert not tests & {one.numpy().tobytes() for one in data.pool.x}


def test_wrong_labels_are_an_exact_share_of_what_is_trained_on() -> None:
    setup = _setup(_task(label_noise=0.4, noise_kind="asymmetric", noise_pairs={"3": "8"}))
    plan = make_plan(_request(setup, [1]), "cpu")
    from lossforge.training.samples import Samples, Stream

    stream = Stream.begin(plan, 7)
    assert stream.labels is not None
    assert stream.rows is not None
    own, given = plan.train.y[stream.rows], stream.labels[stream.rows]
    threes = own == 3
    assert int((given != own).sum()) == round(0.4 * int(threes.sum()))
    shares = Samples(plan, [stream]).class_shares()
    assert shares[0, 3] == pytest.approx(float((given == 3).double().mean()))
    assert torch.equal(plan.score.y, load_task(setup.task, "cpu").pool.y)  # type: ignore[union-attr]


def test_a_seed_scores_alike_whoever_shares_its_cohort() -> None:
    setup = _setup(_task(label_noise=0.2))
    together = evaluate(_request(setup, [5, 6], (CE, "(y_true - y_pred)**2")), "cpu")
    alone = evaluate(_request(setup, [6], (CE, "(y_true - y_pred)**2")), "cpu")
    assert together.accuracies[2:] == pytest.approx(alone.accuracies, abs=0.02)
    # As counted by hand: the share of a replicate's own validation part.
    counts = [round(150 * float(value or 0), 6) for value in together.accuracies]
    assert all(count == round(count) for count in counts)


def test_a_network_knows_its_own_validation_part_no_better_than_the_test_part() -> None:
    """Were training samples scored, a network that learns them by heart would be right on nearly all."""
    task = _task(train=60, validation=250, label_noise=0.0, score_training=True)
    setup = Setup(task, RecipeSection(batch_size=10, cohort=2, stop_at=0.0), 30, "validation", 60.0)
    found = evaluate(_request(setup, [1, 2]), "cpu")
    trained = numpy.mean([metrics["train_accuracy"] for metrics in found.metrics])
    held_out = numpy.mean([value or 0.0 for value in found.accuracies])
    assert trained > 0.95 > 0.92 > held_out > 0.4


def test_rows_of_labels_are_drawn_in_proportion() -> None:
    rows = (numpy.random.default_rng(0).random((120, 4)) < (0.1, 0.3, 0.5, 0.7)).astype(numpy.int64)
    split = ReplicateSplit(rows, numpy.array([80]), numpy.array([40]))
    train, validation = split.rows(3)
    assert (len(train), len(validation)) == (80, 40)
    assert not set(train.tolist()) & set(validation.tolist())
    shares = rows[validation.numpy()].mean(0)
    assert abs(shares - rows.mean(0)).max() < 0.06


def test_a_part_of_its_own_is_not_mixed_with_training_samples(tmp_path: object) -> None:
    rng = numpy.random.default_rng(0)
    parts = {f"x_{name}": rng.random((60, 1, 4, 4), numpy.float32) for name in ("train", "val", "test")}
    parts |= {f"y_{name}": numpy.arange(60) % 2 for name in ("train", "val", "test")}
    numpy.savez(f"{tmp_path}/own.npz", **parts)
    task = TaskSection(data=f"npz:{tmp_path}/own.npz", split="replicate")
    with pytest.raises(DataError, match="own_validation = false"):
        load_task(task, "cpu")
    assert not draws_parts(load_task(task.model_copy(update={"split": None}), "cpu"))
    pooled = load_task(task.model_copy(update={"own_validation": False}), "cpu")
    assert pooled.pool is not None
    assert len(pooled.pool) == 60


def test_an_open_split_is_settled_by_size_and_old_runs_keep_theirs() -> None:
    space = SearchSpace(name="one", task=[_task(split=None)])
    assert with_split(space).task[0].split == "replicate"
    assert "split" not in _task(split=None).identity()
    assert "split" not in _task(split="fixed").identity()
    assert _task().identity()["split"] == "replicate"
    assert SMALL >= 2_000
