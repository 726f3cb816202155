"""What is wrong with a space: all of it at once, by the names that stand in the file, with what was meant."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.spaces.faults import Fault, find_faults, in_words, named
from lossforge.spaces.schema import SearchSpace

SMALLEST: dict[str, Any] = {"name": "t", "task": {"data": "digits"}}
SECTIONS = ["expression", "screening", "recipe", "fitness", "evolution", "budget", "validation", "execution"]


def told(data: Any) -> dict[str, str]:
    return {fault.key: fault.message for fault in find_faults(data)}


def test_a_space_without_faults_has_none() -> None:
    assert find_faults(SMALLEST) == []


def test_a_misspelt_table_is_named_and_looked_into() -> None:
    faults = told({"name": "t", "taks": {"data": "digits", "modle": "mlp", "width": 0}})
    assert faults == {
        "taks": "unknown key; did you mean 'task'?",
        "task.modle": "unknown key; did you mean 'model'?",
        "task.width": "input should be greater than or equal to 1, not 0",
    }


@given(section=st.sampled_from(SECTIONS), place=st.integers(0, 6), key=st.sampled_from(["name", "task"]))
def test_every_section_and_required_key_is_recognised_with_two_letters_exchanged(
    section: str, place: int, key: str
) -> None:
    for name in (section, key):
        at = min(place, len(name) - 2)
        slip = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
        if slip == name:
            continue
        data: dict[str, Any] = {**copy.deepcopy(SMALLEST), section: {}}
        data[slip] = data.pop(name)
        assert told(data) == {slip: f"unknown key; did you mean '{name}'?"}


def test_every_key_of_every_section_is_recognised_with_a_letter_too_few() -> None:
    for section in SECTIONS:
        keys = SearchSpace.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        for key in keys:
            slip = key[:-1]
            if slip not in keys and len(key) > 3:
                message = told({**SMALLEST, section: {slip: 1}})[f"{section}.{slip}"]
                assert f"'{key}'" in message


def test_a_key_of_another_section_is_found_there() -> None:
    assert told({**SMALLEST, "recipe": {"population": 40}}) == {
        "recipe.population": "unknown key; did you mean 'evolution.population'?"
    }


def test_what_is_like_nothing_is_sent_to_the_file_with_all_keys() -> None:
    assert told({**SMALLEST, "zzz": 1}) == {
        "zzz": "unknown key; digits.toml has every key ('lossforge list spaces' tells where it lies)"
    }


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"task": {"data": "digits", "width": 0}}, "task.width"),
        ({"task": [{"data": "digits", "width": 0}]}, "task.width"),
        ({"task": [{"data": "mnist"}, {"data": "digits", "width": 0}]}, "task.1.width"),
        ({"task": [{"data": "mnist"}, {"data": "digits", "name": "b", "width": 0}]}, "task.b.width"),
        ({"task": {"data": "digits", "augmentation": {"crop": -1}}}, "task.augmentation.crop"),
        ({"task": {"data": "digits", "resize": [8, 0]}}, "task.resize"),
        ({"task": {"data": "digits", "metric": "dice"}}, "task.metric"),
        ({"task": {"data": "digits"}, "recipe": {"steps": True}}, "recipe.steps"),
        ({"task": {"data": "digits"}, "evolution": {"elites": 99}}, "evolution.elites"),
        ({"task": {"data": "digits"}, "evolution": 3}, "evolution"),
        ({"task": [3]}, "task.0"),
    ],
)
def test_a_fault_goes_by_the_key_as_a_person_writes_it(data: dict[str, Any], key: str) -> None:
    assert [*told({"name": "t", **data})] == [key]


def test_a_choice_that_does_not_exist_is_answered_with_the_nearest() -> None:
    faults = told({**SMALLEST, "recipe": {"optimizer": "adm", "schedule": "cosin", "learning_rate": "swep"}})
    assert [message.rpartition("; ")[2] for message in faults.values()] == [
        "did you mean 'adam'?",
        "did you mean 'cosine'?",
        "did you mean 'sweep'?",
    ]


def test_primitives_and_formulas_are_answered_with_the_nearest() -> None:
    faults = told({**SMALLEST, "expression": {"primitives": ["ad"], "seeds": ["y_prd"]}})
    assert [*faults] == ["expression.primitives.0", "expression.seeds.0"]
    assert [message.rpartition("; ")[2] for message in faults.values()] == [
        "did you mean 'add'?",
        "did you mean 'y_pred'?",
    ]


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*SearchSpace.model_fields, "taks", "0", ""]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_the_tables_are_each_fault_is_one_line(data: object) -> None:
    faults = find_faults(data)
    assert faults
    assert "\n" not in "".join(map(str, faults))


def test_faults_of_overrides_are_told_of_them() -> None:
    faults = [Fault("seed", "no"), Fault("evolutoin", "unknown key")]
    given = {"evolutoin": "evolutoin.population=3"}
    assert in_words(faults, "my.toml", given).splitlines() == [
        "my.toml: 2 things are wrong:",
        "  seed: no",
        "  --set evolutoin.population=3: evolutoin: unknown key",
    ]
    assert in_words(faults[1:], "my.toml", given) == "--set evolutoin.population=3: evolutoin: unknown key"


def test_keys_of_one_task_have_no_number() -> None:
    assert named("task.0.augmentation.crop", {"task": [{}]}) == "task.augmentation.crop"
    assert named("task.1.width", {"task": [{}, {}]}) == "task.1.width"
    assert named("recipe.learning_rates", {}) == "recipe.learning_rates"
