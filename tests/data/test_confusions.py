"""Maps of confusions, and pairs of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from lossforge.data.confusions import MAPS, confusions
from lossforge.data.datasets import load_task
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_the_map_of_cifar10_is_the_usual_one() -> None:
    found = {CIFAR10[k]: CIFAR10[other] for k, other in enumerate(confusions((), "cifar10", CIFAR10)) if k != other}
    assert found == {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


def test_cifar100_goes_round_within_superclasses_of_five() -> None:
    classes, table = MAPS["cifar100"]
    assert sorted(table) == sorted(table.values()) == list(range(classes))
    for start in range(classes):
        circle = [start]
        while table[circle[-1]] != start:
            circle.append(table[circle[-1]])
        assert len(circle) == 5
    # Numbers by name, as torchvision has them: beaver is 4, dolphin 30, otter 55, seal 72, whale 95.
    assert [table[place] for place in (4, 30, 55, 72, 95)] == [30, 55, 72, 95, 4]
    assert [MAPS["cifar100_blocks"][1][place] for place in (0, 4, 5, 99)] == [1, 0, 6, 95]


def test_other_maps_are_those_of_their_papers() -> None:
    assert MAPS["mnist"] == MAPS["digits"] == (10, {2: 7, 3: 8, 5: 6, 6: 5, 7: 1})
    # ankle boot, sneaker, sandal; pullover and shirt; dress and coat.
    assert MAPS["fashion_mnist"] == (10, {9: 7, 7: 5, 2: 6, 4: 3, 3: 4})


def test_pairs_of_ones_own_go_by_name_or_number() -> None:
    assert confusions((("cat", "dog"), ("9", "1")), "npz:a", CIFAR10) == (0, 1, 2, 5, 4, 5, 6, 7, 8, 1)
    assert confusions("cifar10", "npz:a", CIFAR10)[9] == 1


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ((), r"task\.noise_kind: there is no usual map of confusions for 'npz:a'; give pairs, such as .*airplane"),
        ("cifar", "task.noise_pairs: 'cifar' is no map of confusions.*cifar10"),
        ("cifar100", "map 'cifar100' is for 100 classes, and 'npz:a' has 10"),
        ((("cat", "dgo"),), "'npz:a' has no class 'dgo'.*dog"),
        ((("cat", "3"),), "class 'cat' is taken for itself"),
        ((("cat", "dog"), ("3", "bird")), "class 'cat' is taken for one other class"),
        ((("cat", "10"),), "no class '10'"),
    ],
)
def test_what_cannot_be_meant_is_told(pairs: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        confusions(pairs, "npz:a", CIFAR10)  # type: ignore[arg-type]


def test_several_labels_a_sample_have_no_confusions(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(0)
    numpy.savez(tmp_path / "a.npz", x=rng.random((60, 4)), y=rng.integers(0, 2, (60, 3)))
    for keys in ({"noise_kind": "instance"}, {"imbalance": 10}):
        task = TaskSection(data=f"npz:{tmp_path / 'a.npz'}", head="sigmoid", label_noise=0.2, **keys)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=rf"task\.{next(iter(keys))}: is for one class a sample"):
            load_task(task, "cpu")
