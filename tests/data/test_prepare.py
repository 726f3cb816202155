from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of

from lossforge.data import prepare
from lossforge.data.datasets import _loaded, load_task
from lossforge.data.examine import describe
from lossforge.data.streaming import prefetched
from lossforge.errors import DataError, ModelError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.feasibility import check_fit
from lossforge.spaces.schema import RecipeSection, TaskSection

RNG = numpy.random.default_rng(1)
X = RNG.integers(0, 256, (90, 8, 12, 3), dtype=numpy.uint8)
Y = numpy.arange(90) % 3


@pytest.fixture
def mine(tmp_path: Path) -> str:
    numpy.savez(tmp_path / "mine.npz", x_train=X[:60], y_train=Y[:60], x_test=X[50:], y_test=Y[50:])
    return f"npz:{tmp_path / 'mine.npz'}"


def task(data: str, **keys: Any) -> TaskSection:
    return TaskSection(data=data, width=2, **keys)


def accuracies(one: TaskSection, part: str = "validation") -> tuple[float | None, ...]:
    request = request_of(one, RecipeSection(batch_size=16), epochs=3, part=part, seeds=(1, 2))
    return evaluate(request, "cpu").accuracies


def test_resizing_is_by_area_about_the_middle(mine: str) -> None:
    small = load_task(task(mine, resize=4), "cpu")
    whole = load_task(task(mine), "cpu")
    assert small.shape == (3, 4, 4)
    middle = whole.train.x[..., 2:10].float()
    expected = torch.nn.functional.interpolate(middle, (4, 4), mode="bilinear", antialias=True).round()
    assert torch.equal(small.train.x.float(), expected)
    assert torch.equal(small.train.y, whole.train.y)


def test_grey_is_what_the_eye_sees(mine: str) -> None:
    grey = load_task(task(mine, greyscale=True), "cpu")
    colour = load_task(task(mine), "cpu").train.x.float()
    expected = 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]
    assert grey.shape == (1, 8, 12)
    assert (grey.train.x[:, 0].float() - expected).abs().max() <= 0.501


def test_images_are_normalised_unless_that_is_turned_off(mine: str) -> None:
    assert load_task(task(mine), "cpu").scale is not None
    assert load_task(task(mine, normalize=False), "cpu").scale is None
    assert load_task(task("digits"), "cpu").scale is None
    assert load_task(task("digits", normalize=True), "cpu").scale is not None


def test_a_streamed_set_trains_to_the_same_numbers(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    augmented = task(mine, augmentation={"crop": 1, "flip": True}, label_noise=0.2)
    resident = [accuracies(augmented, part) for part in ("validation", "test")]
    resting = load_task(augmented, "cpu")
    _loaded.cache_clear()
    monkeypatch.setattr(prepare, "_RESIDENT_BYTES", 100)
    streamed = load_task(augmented, "cpu")
    assert streamed.train.rows is not None
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(streamed, name), getattr(resting, name)
        assert torch.equal(torch.cat(list(ours.chunks(7))), theirs.x)
        assert torch.equal(ours.y, theirs.y)
    assert torch.equal(streamed.pooled().samples(torch.arange(50)), resting.pooled().x)
    assert [accuracies(augmented, part) for part in ("validation", "test")] == resident
    assert "batches stream" in describe(streamed)[1][2]
    _loaded.cache_clear()


def test_batches_are_fetched_ahead_in_order_and_an_early_end_leaves_nothing() -> None:
    fetched = []

    def gather(batch: torch.Tensor) -> torch.Tensor:
        fetched.append(int(batch))
        return batch * 2

    batches = [torch.tensor(number) for number in range(50)]
    assert [int(batch) for batch in prefetched(gather, batches)] == list(range(0, 100, 2))
    fetched.clear()
    stream = prefetched(gather, batches)
    next(stream)
    stream.close()
    assert len(fetched) <= 6


def test_what_a_gather_raises_is_raised() -> None:
    def gather(batch: torch.Tensor) -> torch.Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetched(gather, [torch.tensor(0)] * 9))


def test_augmentation_changes_a_training_and_its_absence_does_not(mine: str) -> None:
    plain = task(mine, train=48)
    assert accuracies(plain) == accuracies(task(mine, train=48, augmentation={"crop": 0}))
    both = [task(mine, train=48, augmentation={"crop": 3, "cutout": 5, "brightness": 0.5}) for _ in range(2)]
    assert accuracies(both[0]) == accuracies(both[1])


def test_what_a_data_set_is_like_is_told(mine: str) -> None:
    # The files' test part repeats ten of the training images.
    data = load_task(task(mine, train=48, validation=12), "cpu")
    rows = {what: (state, told) for what, state, told in describe(data)}
    assert rows["duplicates"][0] == "bad"
    assert rows["parts"] == ("good", f"training {len(data.train)}, validation {len(data.validation)}, test 40")
    assert len(data.train) + len(data.validation) == 50
    assert rows["samples"][1] == "8×12, 3 channels, uint8"
    assert rows["classes"][1] == "3: 0, 1, 2"
    assert rows["balance"][0] == "good"


def test_an_uneven_set_is_noted(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "a.npz", x_train=X, y_train=(numpy.arange(90) < 5).astype(int))
    rows = {row[0]: row for row in describe(load_task(task(f"npz:{tmp_path / 'a.npz'}"), "cpu"))}
    assert rows["balance"][1] == "note"
    assert "of which accuracy says little" in rows["balance"][2]


def test_what_does_not_fit_the_network_is_refused(mine: str, tmp_path: Path) -> None:
    check_fit(task(mine))
    with pytest.raises(ModelError, match="takes images of 4×4 or more"):
        check_fit(task(mine, resize=3))
    with pytest.raises(DataError, match="cutout: is 9, larger"):
        check_fit(task(mine, augmentation={"cutout": 9}))
    numpy.savez(tmp_path / "rare.npz", x_train=X, y_train=(numpy.arange(90) < 1).astype(int))
    rare = f"npz:{tmp_path / 'rare.npz'}"
    splits = [task(rare, train=10, split_seed=seed) for seed in range(20)]
    without = next(one for one in splits if int(load_task(one, "cpu").train.y.max()) == 0)
    with pytest.raises(DataError, match="none of the 10 training samples is of class '1'"):
        check_fit(without)


def test_a_network_with_one_answer_an_image_is_refused_for_masks(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "m.npz", x_train=X, m_train=X[..., 0] > 128)
    with pytest.raises(ModelError, match=r"task\.model: 'small_cnn' gives a class for every sample"):
        check_fit(task(f"masks:{tmp_path / 'm.npz'}"))


def test_the_five_best_of_five_classes_or_fewer_are_no_metric(mine: str) -> None:
    with pytest.raises(DataError, match=r"top5_accuracy needs more than 5 classes, and '.*' has 3"):
        load_task(task(mine, metric="top5_accuracy"), "cpu")
    assert load_task(task("digits", metric="top5_accuracy"), "cpu").classes == 10


def test_classes_are_scored_by_the_metric_asked_for(mine: str) -> None:
    for metric in ("balanced_accuracy", "f1"):
        request = request_of(task(mine, metric=metric), RecipeSection(batch_size=16), epochs=3, seeds=(1, 2))
        result = evaluate(request, "cpu")
        assert list(result.accuracies) == [metrics[metric] for metrics in result.metrics]
