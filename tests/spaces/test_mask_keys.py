"""Keys of masks and classes: what they may be, what goes together, and that older runs do not notice them."""

from __future__ import annotations

from typing import Any

import pytest

from lossforge.errors import SpaceError
from lossforge.spaces.load import dump_space, read_space, read_toml
from lossforge.spaces.schema import SearchSpace, TaskSection

COLOURS = {"ground": [0, 0, 0], "water": [0, 0, 255]}
MASKS = "masks:a.npz"


def space(overrides: list[str] | None = None, **task: Any) -> SearchSpace:
    return read_space({"name": "a", "task": task}, "a.toml", overrides or [])


def refusal(overrides: list[str] | None = None, **task: Any) -> str:
    with pytest.raises(SpaceError) as caught:
        space(overrides, **task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"data": MASKS, "mask_colours": {"a": [0, 0, 0]}}, "names one class; there must be two at least"),
        ({"data": MASKS, "mask_colours": {"a": [0, 0, 0], "b": [0, 0, 0]}}, "colour [0, 0, 0] is there twice"),
        ({"data": MASKS, "mask_colours": {"a": [0, 0, 0], "b": [0, 0, 256]}}, "no class with its red, green and blue"),
        ({"data": MASKS, "mask_colours": {"a": [0, 0, 0], "b": "#0000ff"}}, "no class with its red, green and blue"),
        ({"data": MASKS, "mask_colours": {"a": [0, 0, 0], "b": [True, 0, 0]}}, "no class with its red, green and blue"),
        ({"data": MASKS, "mask_colours": "colours.csv"}, "'colours.csv' is neither 'class_dict.csv', the data's own"),
        ({"data": MASKS, "mask_colours": 3}, "task.mask_colours: give a table such as { background = [0, 0, 0]"),
        ({"data": "digits", "mask_colours": COLOURS}, "task.mask_colours: is for data of masks:; leave it out"),
        ({"data": "deepglobe", "mask_colours": COLOURS}, "is for data of masks:, and 'deepglobe' has its own"),
        (
            {"data": "digits", "mask_threshold": 128},
            "task.mask_threshold: is for data of masks: and crack_segmentation",
        ),
        ({"data": MASKS, "mask_threshold": 0}, "task.mask_threshold"),
        ({"data": MASKS, "nearest_colour": True}, "task.nearest_colour: is for masks of colours; set mask_colours too"),
        ({"data": MASKS, "ignore": "water"}, "task.ignore: 'water' names no pixels of masks of numbers; write their"),
        ({"data": MASKS, "ignore": 3, "mask_colours": COLOURS}, "task.ignore: 3 names no pixels of masks of colours"),
        ({"data": "deepglobe", "ignore": 0}, "task.ignore: 0 names no pixels of masks of colours; write the name"),
        (
            {"data": MASKS, "ignore": "sea", "mask_colours": COLOURS},
            "'sea' is no class of mask_colours (ground, water)",
        ),
        ({"data": "digits", "ignore": 3}, "task.ignore: is for masks"),
        ({"data": MASKS, "only": ["1", "2"]}, "task.only: is for data with a class for each sample"),
        ({"data": "digits", "positive": ["3", "3"]}, "task.positive: class '3' is there twice"),
        ({"data": "digits", "positive": ["3"], "head": "sigmoid"}, "task.positive: makes two classes, for the heads"),
        ({"data": "digits", "positive": ["3"], "metric": "top5_accuracy"}, "task.metric: top5_accuracy needs more"),
        ({"data": "digits", "positive": {"3": 1}}, "task.positive"),
    ],
)
def test_what_does_not_go_together_is_told(task: dict[str, Any], told: str) -> None:
    assert told in refusal(**task)


def test_a_command_line_may_give_them() -> None:
    assert space(["task.positive=water"], data="deepglobe").task[0].positive == ("water",)
    assert space(["task.positive=3"], data="digits").task[0].positive == ("3",)
    assert space(['task.positive=["3", "5"]'], data="digits").task[0].positive == ("3", "5")
    assert space(["task.ignore=255"], data=MASKS).task[0].ignore == 255
    assert space(["task.ignore=unknown"], data="deepglobe").task[0].ignored == "unknown"
    assert space(["task.ignore=null"], data=MASKS, ignore=255).task[0].ignore is None
    given = space(["task.mask_colours=class_dict.csv", "task.nearest_colour=true"], data=MASKS).task[0]
    assert (given.mask_colours, given.nearest_colour) == ("class_dict.csv", True)
    table = "task.mask_colours={ ground = [0, 0, 0], water = [0, 0, 255] }"
    assert space([table], data=MASKS).task[0] == space(data=MASKS, mask_colours=COLOURS).task[0]


@pytest.mark.parametrize(
    "task",
    [
        {"data": MASKS, "mask_colours": COLOURS, "ignore": "water", "nearest_colour": True},
        {"data": MASKS, "mask_colours": "class_dict.csv"},
        {"data": MASKS, "mask_threshold": 128},
        {"data": "digits", "positive": [3, 5], "only": ["1", "3", "5"]},
    ],
)
def test_a_run_keeps_them_as_they_were(tmp_path: Any, task: dict[str, Any]) -> None:
    own = space(**task)
    (tmp_path / "space.toml").write_text(dump_space(own), encoding="utf-8")
    assert read_space(read_toml(tmp_path / "space.toml"), "space.toml", []).task == own.task
    assert TaskSection(**own.task[0].model_dump(mode="json")) == own.task[0]
    hash(own.task[0])


def test_they_enter_the_identity_where_they_say_something() -> None:
    keys = ("only", "positive", "mask_colours", "mask_threshold", "nearest_colour", "ignore")
    for data in ("digits", MASKS, "deepglobe"):
        assert not {*keys} & {*TaskSection(data=data).identity()}
    first = TaskSection(data="digits", positive=("3", "5")).identity()
    assert first["positive"] == ["3", "5"]
    assert TaskSection(data="digits", positive=("5", "3")).identity() == first
    assert TaskSection(data=MASKS, mask_threshold=128).identity()["mask_threshold"] == 128
