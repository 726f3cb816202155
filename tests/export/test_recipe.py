"""How a loss was trained, as an export tells it: which classes there were, and which pixels did not count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lossforge.export.recipe import recipe_lines
from lossforge.spaces.schema import SearchSpace


def told(**task: Any) -> list[str]:
    row: Any = SimpleNamespace(trained_on=20, tested_on=10, classes=2, learning_rate=0.01, seeds=4, task="a")
    space = SearchSpace.model_validate({"name": "a", "task": {"name": "a", **task}})
    return recipe_lines(space, row)


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ({"data": "digits", "positive": ["3", "5"]}, "classes: 1 is 3 or 5, 0 all others"),
        ({"data": "digits", "only": ["3", "5"]}, "classes: 3, 5 alone"),
        (
            {"data": "voc2012"},
            "ignored: mask pixels of value 255 count neither in the loss nor in the metric; set them",
        ),
        (
            {"data": "deepglobe", "ignore": "unknown"},
            "ignored: mask pixels of class 'unknown' count neither in the loss",
        ),
    ],
)
def test_a_recipe_tells_classes_and_ignored_pixels(task: dict[str, Any], line: str) -> None:
    assert any(one.startswith(line) for one in told(**task)), told(**task)


def test_a_recipe_of_all_classes_tells_nothing_of_them() -> None:
    assert not [one for one in told(data="deepglobe") if one.startswith(("classes", "ignored"))]
