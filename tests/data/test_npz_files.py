from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from lossforge.data.datasets import load_task
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection

RNG = numpy.random.default_rng(0)
X = RNG.integers(0, 256, (40, 8, 8, 3), dtype=numpy.uint8)
Y = numpy.arange(40) % 4


def write(path: Path, **arrays: Any) -> Path:
    numpy.savez(path, **arrays)
    return path


def loaded(path: Path, **keys: Any) -> Any:
    return load_task(TaskSection(data=f"npz:{path}", **keys), "cpu")


def refusal(path: Path, kind: str = "npz") -> str:
    with pytest.raises(DataError) as caught:
        load_task(TaskSection(data=f"{kind}:{path}"), "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_arrays_as_keras_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.npz", x_train=X, y_train=Y[:, None], x_test=X[:12], y_test=Y[:12])
    data = loaded(path, drop_duplicates=False)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 12)
    assert (data.shape, data.classes, data.names) == ((3, 8, 8), 4, ("0", "1", "2", "3"))
    assert data.train.x.dtype == torch.uint8


def test_the_test_part_is_the_files_own_and_the_rest_never_is(tmp_path: Path) -> None:
    x = numpy.arange(60, dtype=numpy.uint8).repeat(64).reshape(60, 8, 8)
    path = write(tmp_path / "a.npz", x_train=x[:40], y_train=Y, x_test=x[40:], y_test=Y[:20])
    data = loaded(path, train=20, validation=12, test=12)
    parts = [part.x[:, 0, 0, 0].tolist() for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [20, 12, 12]
    assert max(parts[0] + parts[1]) < 40 <= min(parts[2])
    assert len({*parts[0], *parts[1]}) == 32
    for part in (data.train, data.validation, data.test):
        assert torch.bincount(part.y).tolist() == [len(part) // 4] * 4
        assert [int(value) % 4 for value in part.x[:, 0, 0, 0] % 40] == part.y.tolist()


def test_without_a_test_part_one_is_split_off(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "a.npz", x_train=X, y_train=Y))
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 10)


def test_sorted_classes_are_mixed(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "a.npz", x_train=X, y_train=numpy.sort(Y)))
    assert data.train.y.tolist() != sorted(data.train.y.tolist())
    assert len(set(data.train.y[:12].tolist())) > 1


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (X[..., 0], (1, 8, 8)),
        (X, (3, 8, 8)),
        (X.transpose(0, 3, 1, 2), (3, 8, 8)),
        (X[..., :1] / 255, (1, 8, 8)),
        (X[..., 0].astype(numpy.int64), (1, 8, 8)),
        (X[..., 0] > 9, (1, 8, 8)),
    ],
    ids=["grey", "last", "first", "float", "int64", "bool"],
)
def test_images_may_be_stored_in_several_forms(tmp_path: Path, array: Any, shape: tuple[int, int, int]) -> None:
    data = loaded(write(tmp_path / "a.npz", x_train=array, y_train=Y))
    assert data.shape == shape
    assert data.train.x.dtype in (torch.uint8, torch.float32)


def test_labels_are_numbered_in_their_order(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "a.npz", x_train=X, y_train=Y * 10 - 5.0))
    assert data.names == ("-5", "5", "15", "25")
    assert set(data.train.y.tolist()) == {0, 1, 2, 3}


def with_value(value: float) -> Any:
    x = X / 255
    x[3, 2, 1, 0] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x_train": X}, r"has no 'y_train' \(it has x_train\)"),
        (
            {"pictures": X, "kinds": Y},
            r"has no training samples .* \(it has pictures, kinds\); read are x_train and y_t",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X}, "has one of 'x_test' and 'y_test'"),
        ({"x_train": X[0, 0, 0], "y_train": Y}, "'x_train': has shape"),
        ({"x_train": X[..., :2], "y_train": Y}, "'x_train': has shape"),
        ({"x_train": X, "y_train": Y[:7]}, r"'y_train': has shape \(7,\); it must be \(40,\)"),
        ({"x_train": X, "y_train": numpy.eye(4)[Y] / 2}, "rows that are not one-hot .* probabilities"),
        ({"x_train": with_value(numpy.nan), "y_train": Y}, "'x_train': holds NaN"),
        ({"x_train": with_value(1e300), "y_train": Y}, "'x_train': holds NaN or infinity"),
        ({"x_train": X, "y_train": Y + 0.5}, "'y_train': holds 0.5, which is no whole number"),
        ({"x_train": X, "y_train": Y.astype(complex)}, "'y_train': holds complex128"),
        ({"x_train": X, "y_train": Y * numpy.nan}, "'y_train': holds nan"),
        ({"x_train": X, "y_train": Y * 0}, "every sample has the same label, 0"),
        ({"x_train": X.astype(int) * 2, "y_train": Y}, "whole numbers beyond 0 to 255"),
        ({"x_train": X.astype(object), "y_train": Y}, "'x_train' cannot be read"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "'x_train' has no samples"),
        ({"x_train": X.astype(complex), "y_train": Y}, "holds complex128"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "has label 4, which no training sample has"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :5], "y_test": Y}, "they must be alike"),
    ],
)
def test_a_malformed_file_is_refused_with_its_key(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        loaded(write(tmp_path / "bad.npz", **arrays))
    refusal(tmp_path / "bad.npz")


def test_a_file_that_is_none_or_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert "there is nothing at" in refusal(path)
    write(path, x_train=X, y_train=Y)
    whole = path.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:kept])
        assert "cannot be read as .npz" in refusal(path)
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    assert "'x_train' cannot be read" in refusal(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=X, y_train=Y)
    first = loaded(path)
    assert loaded(path) is first
    write(path, x_train=X[:20], y_train=Y[:20])
    assert len(loaded(path).train) == 12


def test_parts_larger_than_the_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=X // 2, y_test=Y)
    with pytest.raises(DataError, match=r"train \+ validation = 50 samples, but the training part of .* has 40"):
        loaded(path, train=30, validation=20)
    with pytest.raises(DataError, match=r"test = 41 samples, but the test part of .* has 40"):
        loaded(path, test=41)
    assert len(loaded(path, train=35).validation) == 5
    with pytest.raises(DataError, match="each part needs a sample at least"):
        loaded(path, train=40)


M = (RNG.random((40, 8, 8)) < 0.1).astype(numpy.uint8) * 255
M[::2] = 0


def test_masks_keep_the_share_of_empty_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=X, m_train=M, x_test=X[:10], m_test=M[:10, ..., None])
    data = load_task(TaskSection(data=f"masks:{path}", drop_duplicates=False), "cpu")
    assert data.segmentation
    assert (data.classes, data.names) == (2, ("0", "255"))
    assert (data.train.y.shape, data.train.y.dtype) == ((32, 8, 8), torch.int16)
    assert int((data.train.y.amax((1, 2)) > 0).sum()) == 16
    assert len(data.test) == 10
    for x, y in zip(data.train.x, data.train.y, strict=True):
        place = next(place for place in range(40) if (X[place] == x.permute(1, 2, 0).numpy()).all())
        assert (M[place] == 255 * y.numpy()).all()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x_train": X, "y_train": Y}, "has no 'm_train'"),
        ({"x_train": X, "m_train": M[:, :4]}, r"'m_train': has shape \(40, 4, 8\); it must be \(40, 8, 8\)"),
        ({"x_train": X, "m_train": M * 0}, "every mask holds 0 alone"),
        ({"x_train": X, "m_train": M + 0.5}, "'m_train': holds 0.5"),
        ({"x_train": X, "m_train": M, "x_test": X, "m_test": M // 2}, "test masks hold 127"),
        ({"x_train": X, "m_train": M, "x_test": X[:, :4], "m_test": M[:, :4]}, "give one size"),
    ],
)
def test_malformed_masks_are_refused(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    path = write(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=told):
        load_task(TaskSection(data=f"masks:{path}"), "cpu")


def test_masks_are_resized_without_mixing_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_train=X, m_train=numpy.where(M > 0, 7, 2))
    data = load_task(TaskSection(data=f"masks:{path}", resize=5), "cpu")
    assert data.train.y.shape[1:] == data.train.x.shape[2:] == (5, 5)
    assert set(data.train.y.unique().tolist()) == {0, 1}


def parts(data: Any) -> list[int]:
    return [len(part) for part in (data.train, data.validation, data.test)]


def test_medmnist_is_read_with_its_three_parts(tmp_path: Path) -> None:
    labels = Y.astype(numpy.uint8)[:, None]
    held = {"train_images": X, "train_labels": labels, "val_images": X[:8] // 2, "val_labels": labels[:8]}
    path = write(tmp_path / "a.npz", **held, test_images=X[:12] // 3, test_labels=labels[:12])
    data = loaded(path)
    assert (parts(data), data.shape, data.classes) == ([40, 8, 12], (3, 8, 8), 4)
    assert sorted(x.flatten().tolist() for x in data.validation.x.permute(0, 2, 3, 1)) == sorted(
        x.flatten().tolist() for x in X[:8] // 2
    )
    assert parts(loaded(path, own_validation=False)) == [32, 8, 12]
    assert parts(loaded(write(tmp_path / "b.npz", **held))) == [32, 8, 8]


@pytest.mark.parametrize(
    ("x", "y"), [("x", "y"), ("X", "y"), ("images", "labels"), ("data", "target"), ("X_train", "Y_train")]
)
def test_samples_and_labels_alone_are_split(tmp_path: Path, x: str, y: str) -> None:
    assert parts(loaded(write(tmp_path / "a.npz", **{x: X, y: Y, "classes": numpy.asarray(list("abcd"))}))) == [
        24,
        6,
        10,
    ]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_validation_part_has_one_of_several_names(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / "a.npz",
        **{"x_train": X, "y_train": Y, f"x_{name}": X[:8] // 2, f"y_{name}": Y[:8]},
        x_test=X[:12] // 3,
        y_test=Y[:12],
    )
    assert parts(loaded(path)) == [40, 8, 12]


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32, numpy.uint8, numpy.int32, bool])
def test_vectors_are_features(tmp_path: Path, dtype: type) -> None:
    x = (X[:, 0, :, 0] > 99).astype(dtype) if dtype is bool else (X[:, 0, :, 0] * 1.0).astype(dtype)
    data = loaded(write(tmp_path / "a.npz", x=x * 1000 if dtype is numpy.int32 else x, y=Y))
    assert (data.shape, data.train.x.dtype) == ((8, 1, 1), torch.float32)
    scale = 1000 if dtype is numpy.int32 else 1
    known = {tuple(float(value) * scale for value in row) for row in x}
    assert {tuple(row) for row in data.train.x[:, :, 0, 0].tolist()} <= known


def test_vectors_with_gaps_are_filled_where_that_is_asked_for(tmp_path: Path) -> None:
    x = X[:, 0, :, 0].astype(float)
    x[::3, 2] = numpy.nan
    path = write(tmp_path / "a.npz", x=x, y=Y)
    with pytest.raises(DataError, match=r"sample 0 has no feature 2 \(NaN\), nor have 13 other .* task\.impute"):
        loaded(path)
    data = loaded(path, impute="median")
    column = data.train.x[:, 2, 0, 0]
    assert column.isfinite().all()
    assert len(set(column.tolist())) < len(column)
    with pytest.raises(DataError, match=r"task\.impute: is for tables"):
        loaded(write(tmp_path / "b.npz", x=X, y=Y), impute="mean")
    x[:, 2] = numpy.nan
    with pytest.raises(DataError, match="no training sample has a value of feature 2"):
        loaded(write(tmp_path / "c.npz", x=x, y=Y), impute="mean")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (numpy.asarray(["cat", "dog", "ant", "bee"])[Y], ("ant", "bee", "cat", "dog")),
        (numpy.eye(4, dtype=numpy.float32)[Y], ("0", "1", "2", "3")),
        (Y[:, None].astype(numpy.uint8), ("0", "1", "2", "3")),
        (numpy.asarray(["10", "9", "9.0", "8"])[Y], ("8", "9", "10")),
    ],
)
def test_labels_may_be_written_in_several_ways(tmp_path: Path, labels: Any, names: tuple[str, ...]) -> None:
    assert loaded(write(tmp_path / "a.npz", x_train=X, y_train=labels)).names == names


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": X, "y": Y, "train_images": X, "train_labels": Y}, "holds train_images and x, each with labels; leave"),
        ({"x_train": X, "y_train": Y, "x_val": X}, "has one of 'x_val' and 'y_val'; give both or none"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "x_dev": X, "y_dev": Y}, "has 'x_val' and 'x_dev'"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y + 1}, "the validation part has label 4"),
        ({"x_train": X, "y_train": Y.astype(object)}, "'y_train' cannot be read: it holds Python objects, which run"),
        ({"x": X, "y": numpy.repeat(Y[:, None] % 2, 5, axis=1)}, "several labels for a sample, or none"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    write(tmp_path / "bad.npz", **arrays)
    assert re.search(told, refusal(tmp_path / "bad.npz"))


def test_an_object_in_a_file_is_never_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (touched,)

    path = write(tmp_path / "a.npz", x_train=X, y_train=numpy.asarray([Trap()] * 40, dtype=object))
    assert "holds Python objects" in refusal(path)
    assert not touched.exists()


def test_masks_have_a_validation_part_too(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.npz", x_train=X, m_train=M, x_val=X[:6] // 2, m_val=M[:6], x_test=X[:10] // 3, m_test=M[:10]
    )
    assert parts(load_task(TaskSection(data=f"masks:{path}"), "cpu")) == [40, 6, 10]
