"""One class against the rest, and some of the classes alone: of any data with classes, samples or pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of
from tests.helpers.folders import loaded

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe
from lossforge.data.samples import IGNORED
from lossforge.data.splits import TaskData
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.feasibility import check_fit
from lossforge.spaces.schema import RecipeSection, TaskSection

NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Two numbers for each of 80 animals: its class, and which it is."""
    y = numpy.arange(80) % 4
    path = tmp_path / "animals.npz"
    numpy.savez(path, x=numpy.stack([y, numpy.arange(80)], 1).astype(float), y=numpy.array(NAMES)[y])
    return path


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Images that show the classes 0 to 3 of their masks, with some pixels of 255."""
    rng = numpy.random.default_rng(3)
    m = rng.integers(0, 4, (40, 16, 16))
    x = (50 * m).astype(numpy.uint8)
    m[:, 0] = 255
    numpy.savez(tmp_path / "masks.npz", x_train=x, m_train=m)
    return tmp_path / "masks.npz"


def parts_of(data: TaskData) -> tuple[Any, ...]:
    return data.train, data.validation, data.test


def plain(path: Path, **keys: Any) -> TaskData:
    return loaded(path, "npz", normalize=False, **keys)


@pytest.mark.parametrize(
    ("positive", "numbers", "names"),
    [
        (["cat"], {2}, ("rest", "cat")),
        (["dog", "ant"], {0, 3}, ("rest", "dog+ant")),
        (["dog", "cat", "bee"], {1, 2, 3}, ("rest", "dog+cat+bee")),
        ("bee", {1}, ("rest", "bee")),
    ],
)
def test_named_classes_are_one_against_the_rest(
    animals: Path, positive: Any, numbers: set[int], names: tuple[str, str]
) -> None:
    data = plain(animals, positive=positive)
    assert data.names == names
    for part in parts_of(data):
        assert part.y.tolist() == [int(int(value) in numbers) for value in part.x[:, 0, 0, 0]]
    told = [row[2] for row in describe(data) if row[0] == "labels"]
    assert told == [
        f"task.positive: class 1 is '{names[1]}', class 0 '{names[0]}'; {12 * len(numbers)} of 48 training samples are "
        "of class 1"
    ]


def test_pixels_are_one_against_the_rest_too(masks: Path) -> None:
    data = loaded(masks, "masks", ignore=255, positive=[1, 3])
    assert data.names == ("rest", "1+3")
    for part in parts_of(data):
        assert (part.y[:, 0] == IGNORED).all()
        wanted = torch.isin(part.x[:, 0, 1:], torch.tensor([50, 150], dtype=torch.uint8))
        assert torch.equal(part.y[:, 1:], wanted.to(part.y.dtype))


@pytest.mark.parametrize("head", ["softmax", "binary"])
def test_one_digit_against_the_rest_is_learned_behind_either_head(head: Any) -> None:
    task = TaskSection(
        data="digits", positive=["3"], head=head, metric="f1", train=600, validation=200, test=300, width=4
    )
    check_fit(task)
    recipe = RecipeSection(batch_size=32)
    result = evaluate(request_of(task, recipe, learning_rate=0.02, epochs=8, seeds=(1, 2)), "cpu")
    assert min(value or 0 for value in result.accuracies) > 0.8


def test_some_classes_are_taken_alone(animals: Path) -> None:
    data = plain(animals, only=["dog", "ant"])
    assert data.names == ("ant", "dog")
    assert sum(map(len, parts_of(data))) == 40
    for part in parts_of(data):
        assert part.x[:, 0, 0, 0].tolist() == [3.0 * label for label in part.y.tolist()]
    assert any("2 of 4 classes; 40 training samples of others are left out" in row[2] for row in describe(data))
    both = plain(animals, only=["dog", "ant", "bee"], positive=["bee"])
    assert both.names == ("rest", "bee")
    assert [int(both.train.y.sum()), len(both.train)] == [12, 36]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"positive": ["catt"]}, r"task\.positive: 'npz:.*' has no class 'catt'; did you mean 'cat'\?"),
        ({"positive": ["emu"]}, r"task\.positive: .* has no class 'emu' \(known: ant, bee, cat, dog\)"),
        ({"positive": list(NAMES)}, r"task\.positive: names all 4 classes of .*, and nothing is left as rest"),
        ({"only": ["cat"]}, r"task\.only: leaves .* one class; name two at least"),
        ({"only": ["cat", "emu"]}, r"task\.only: 'emu' is no class of"),
        ({"only": ["cat", "ant"], "positive": ["dog"]}, r"task\.positive: .* has no class 'dog' \(known: ant, cat\)"),
        ({"head": "binary"}, r"task\.head: 'binary' is for two classes, .* in task\.positive"),
    ],
)
def test_what_cannot_be_is_told(animals: Path, keys: Any, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        plain(animals, **keys)
    assert "\n" not in str(caught.value)


def test_labels_that_are_made_wrong_are_of_the_two_classes(animals: Path) -> None:
    data = plain(animals, positive=["cat"], noise_kind="asymmetric", noise_pairs={"cat": "rest"}, label_noise=0.5)
    assert data.noise.taken_for == (0, 0)


def test_given_labels_are_mapped_with_the_true_ones(tmp_path: Path) -> None:
    y = numpy.arange(60) % 3
    rng = numpy.random.default_rng(0)
    given = rng.permutation(y)
    numpy.savez(tmp_path / "a.npz", x=numpy.arange(60.0)[:, None], y=y)
    numpy.savez(tmp_path / "given.npz", given=given)
    task = TaskSection(
        data=f"npz:{tmp_path / 'a.npz'}",
        positive=["2"],
        noise_kind="human",
        noise_file=str(tmp_path / "given.npz"),
        normalize=False,
    )
    train = load_task(task, "cpu").train
    rows = train.x[:, 0, 0, 0].long()
    assert train.given is not None
    assert train.given.tolist() == (given == 2)[rows].astype(int).tolist()
    assert train.y.tolist() == (y == 2)[rows].astype(int).tolist()
