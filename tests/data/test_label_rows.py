"""Several labels a sample: what is read as such, what is refused, and what becomes of it on the way to a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe, first_lines
from lossforge.data.labels import as_labels, from_labels
from lossforge.data.splits import TaskData
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection

ROWS = numpy.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 0]])
X = numpy.zeros((4, 2, 1, 1), numpy.float32)


@pytest.mark.parametrize("dtype", [bool, numpy.uint8, numpy.int64, numpy.float32])
def test_rows_of_every_type_of_number_stay_what_they_are(dtype: Any) -> None:
    found = as_labels(ROWS.astype(dtype), 4, "y", several=True)
    assert found.dtype == numpy.int64
    assert found.tolist() == ROWS.tolist()


def test_rows_with_one_label_each_are_several_labels_too_where_that_is_asked_for() -> None:
    assert as_labels(numpy.eye(3), 3, "y", several=True).tolist() == numpy.eye(3).tolist()
    assert as_labels(numpy.eye(3), 3, "y").tolist() == [0, 1, 2]
    assert as_labels(numpy.array([2, 0, 1]), 3, "y", several=True).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[0, 1], [2, 0]], "sample 1 has 2 for label 0; a row holds 1 for each label that the sample has, and else 0$"),
        ([[0, 1], [-1, 0]], "sample 1 has -1 for label 0"),
        ([[0, 1], [0, numpy.nan]], "sample 1 has nan for label 1"),
        ([[0.2, 1], [0, 1]], "sample 0 has 0.2 for label 0; .*; these look like probabilities: decide from which on"),
        ([["a", "b"], ["c", "d"]], r"has shape \(2, 2\); it must be \(2,\), a label for each sample"),
        ([[0, 1], [1, 0], [1, 1]], r"has shape \(3, 2\); it must be \(2,\)"),
    ],
)
def test_what_is_no_label_is_refused(rows: Any, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.npz: 'y': {told}"):
        as_labels(numpy.array(rows), 2, "a.npz: 'y'", several=True)


def test_rows_of_several_labels_say_how_they_are_trained() -> None:
    with pytest.raises(DataError, match=r'several labels .*; to train all of them, set task\.head = "sigmoid"'):
        as_labels(ROWS, 4, "a.npz: 'y_train'")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            ROWS * [1, 0, 1],
            "no training sample has label '1', so nothing about it can be learned; leave its column out",
        ),
        (ROWS | [0, 0, 1], "every training sample has label '2', so nothing about it can be learned"),
    ],
)
def test_a_label_that_says_nothing_is_refused(rows: Any, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.npz: {told}"):
        from_labels((X, rows), "a.npz")


@pytest.mark.parametrize("other", [ROWS[:, :2], ROWS[:, 0]])
def test_parts_have_the_same_labels(other: Any) -> None:
    with pytest.raises(
        DataError, match=r"labels of the test part have shape .*, and those of the training part \(4, 3\)"
    ):
        from_labels((X, ROWS), "a.npz", test=(X, other))


def test_samples_of_unlike_parts_are_refused() -> None:
    with pytest.raises(DataError, match=r"test samples are float32 of shape \(5, 1, 1\), training samples"):
        from_labels((X, ROWS), "a.npz", test=(numpy.zeros((4, 5, 1, 1), numpy.float32), ROWS))


RNG = numpy.random.default_rng(0)
SHARES = numpy.array([0.5, 0.2, 0.08, 0.03])


def drawn(count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features ``(N, 6)`` and labels ``(N, 4)`` that follow from them, of very different shares."""
    x = RNG.normal(size=(count, 6)).astype(numpy.float32)
    scores = x @ RNG.normal(size=(6, 4))
    cuts = [numpy.quantile(scores[:, label], 1 - share) for label, share in enumerate(SHARES)]
    return x, (scores > cuts).astype(numpy.int64)


def saved(path: Path, count: int = 600, **arrays: NDArray[Any]) -> Path:
    x, y = drawn(count)
    numpy.savez(path, **{"x": x, "y": y, **arrays})  # type: ignore[arg-type]
    return path


def task(path: Path, **keys: Any) -> TaskData:
    return load_task(TaskSection(data=f"npz:{path}", **{"head": "sigmoid", **keys}), "cpu")


def test_a_task_has_every_label_in_proportion_in_every_part(tmp_path: Path) -> None:
    data = task(saved(tmp_path / "mine.npz"))
    assert data.several_labels
    assert not data.segmentation
    assert (data.classes, data.names) == (4, ("0", "1", "2", "3"))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [360, 90, 150]
    for part in (data.train, data.validation, data.test):
        assert part.y.dtype == torch.int64
        wanted = torch.from_numpy(SHARES) * len(part)
        assert (part.counts(4) - wanted).abs().max() <= 1


def test_parts_of_ones_own_are_kept(tmp_path: Path) -> None:
    x, y = drawn(90)
    numpy.savez(tmp_path / "own.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:].astype(bool))
    data = task(tmp_path / "own.npz", drop_duplicates=False)
    assert len(data.test) == 30
    assert data.test.counts(4).tolist() == y[60:].sum(0).tolist()


def test_equal_samples_with_other_labels_are_told(tmp_path: Path) -> None:
    x, y = drawn(600)
    x[1], y[1] = x[0], [1, 1, 0, 0]
    y[0] = [1, 0, 0, 0]
    found = task(saved(tmp_path / "mine.npz", x=x, y=y)).duplicates
    assert found is not None
    assert found.conflicting == 2
    assert "2 samples are equal to one with another label" in found.told


def test_what_is_known_of_the_labels_is_told(tmp_path: Path) -> None:
    x, y = drawn(600)
    x[:, 0] = y[:, 1]
    data = task(saved(tmp_path / "mine.npz", x=x, y=y))
    rows = {what: (state, told) for what, state, told in describe(data)}
    assert rows["labels"][1].startswith("4: 0, 1, 2, 3; 0.8")
    assert "none at " in rows["labels"][1]
    assert "label 3 is at 3.1% of the training samples; fitness is mean average precision" in rows["balance"][1]
    assert "column 'feature 0' (100.0%) alone tells the class" in rows["columns"][1]
    micro = first_lines(data, "f1_micro")
    assert any('of which micro F1 says little; consider task.metric = "f1_macro"' in line for line in micro)


def test_a_metric_of_one_class_a_sample_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz")
    with pytest.raises(DataError, match=r"accuracy is for one class a sample, and a sample of .* has several labels"):
        task(path, metric="accuracy")


def test_one_class_a_sample_goes_behind_sigmoids_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", y=numpy.arange(600) % 4)
    data = task(path, metric="accuracy")
    assert not data.several_labels
    assert data.train.y.ndim == 1


def test_a_binary_head_wants_two_classes(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", y=numpy.arange(600) % 3)
    with pytest.raises(DataError, match=r"task\.head: 'binary' is for two classes, and .* has 3; use softmax"):
        task(path, head="binary")
    assert task(saved(tmp_path / "two.npz", y=numpy.arange(600) % 2), head="binary").classes == 2


def test_images_are_resized_and_their_labels_stay(tmp_path: Path) -> None:
    y = drawn(200)[1]
    path = saved(tmp_path / "mine.npz", x=RNG.integers(0, 255, (200, 8, 8)).astype(numpy.uint8), y=y)
    assert task(path, resize=4).train.y.shape == (120, 4)
