"""The data set of a probe, in the form that a task's networks take."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of

from lossforge.data.datasets import load_task
from lossforge.errors import DataError, SpaceError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.feasibility import check_fit
from lossforge.evaluation.names import check_names
from lossforge.evaluation.probes import probe_of
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """A data set of each kind, 120 samples of 3 classes."""
    generator = numpy.random.Generator(numpy.random.PCG64(0))
    y = numpy.arange(120) % 3
    shapes = {"grey": (12, 10), "colour": (12, 12, 3), "four": (9, 9, 4), "vectors": (5,), "others": (6,)}
    found = {}
    for name, shape in shapes.items():
        x = generator.integers(0, 256, size=(120, *shape)).astype(numpy.uint8)
        x[y == 1, :2] //= 4
        x = x.astype(numpy.float32) / 255 if len(shape) == 1 else x
        numpy.savez(tmp_path / f"{name}.npz", x=x, y=y)
        found[name] = f"npz:{tmp_path / name}.npz"
    return found


def task_of(places: dict[str, str], data: str, probe: str, **keys: object) -> TaskSection:
    model = "mlp" if data in ("vectors", "others") else "small_cnn"
    given = {"data": places.get(data, data), "probe": places.get(probe, probe), "model": model, "width": 2}
    return TaskSection(**{**given, "probe_train": 60, "probe_test": 40, **keys})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "probe"),
    [("digits", "colour"), ("digits", "grey"), ("colour", "grey"), ("grey", "colour"), ("vectors", "vectors")],
)
def test_samples_come_in_the_form_that_the_network_takes(places: dict[str, str], data: str, probe: str) -> None:
    task = task_of(places, data, probe)
    loaded = load_task(task, "cpu")
    found = probe_of(task, loaded, "cpu")
    assert (len(found.train), len(found.test)) == (60, 40)
    x = found.prepare(next(found.train.chunks(7)))
    assert x.shape == (7, *loaded.shape)
    assert x.dtype == torch.float32
    assert float(x.std()) > 0
    check_fit(task)


def test_samples_are_scaled_as_the_networks_own(places: dict[str, str]) -> None:
    task = task_of(places, "grey", "grey")
    loaded = load_task(task, "cpu")
    found = probe_of(task, loaded, "cpu")
    assert loaded.scale is not None
    stored = found.train.x[:5]
    expected = (stored.float() / 255 - loaded.scale.mean) / loaded.scale.std
    torch.testing.assert_close(found.prepare(stored), expected)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_re_validated_network_is_probed(places: dict[str, str], part: str) -> None:
    task = task_of(places, "digits", "colour", train=100, validation=50, test=80)
    result = evaluate(request_of(task, RecipeSection(), part=part, seeds=(1, 2)), "cpu")
    for metrics in result.metrics:
        assert ("linear_probe" in metrics) == (part == "test")
        assert ("temperature" in metrics) == (part == "test")
        assert 0 <= metrics["worst_class"] <= metrics["balanced_accuracy"]
    again = evaluate(request_of(task, RecipeSection(), part=part, seeds=(1, 2)), "cpu")
    assert again.metrics == result.metrics


REFUSED = [
    ("digits", "four", {}, "have shape (4, 8, 8), and the network takes (1, 8, 8)"),
    ("digits", "vectors", {}, "is a table, and the network takes images"),
    ("vectors", "others", {}, "have shape (6, 1, 1), and the network takes (5, 1, 1)"),
    ("vectors", "grey", {}, "and the network takes (5, 1, 1)"),
    ("digits", "grey", {"probe_train": 200}, "task.probe_train = 200 and task.probe_test = 40"),
]


@pytest.mark.parametrize(("data", "probe", "keys", "told"), REFUSED)
def test_what_does_not_fit_is_told_before_any_training(
    places: dict[str, str], data: str, probe: str, keys: dict[str, object], told: str
) -> None:
    with pytest.raises(DataError, match=r"^task\.probe: ") as caught:
        check_fit(task_of(places, data, probe, **keys))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_probe_that_does_not_exist_is_named(places: dict[str, str]) -> None:
    space = SearchSpace(name="one", task=[task_of(places, "digits", "fashion_mnst")])
    with pytest.raises((DataError, SpaceError), match=r"task\.probe: 'fashion_mnst' is not a data set.*fashion_mnist"):
        check_names(space)
