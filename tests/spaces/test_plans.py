"""Plans: studies over a plan's defaults, contenders over studies, faults by study and key, shipped ones."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lossforge.errors import SpaceError
from lossforge.spaces.load import load_space
from lossforge.spaces.plan_schema import ContenderSection, Plan
from lossforge.spaces.plans import dump_plan, find_plan, load_plan, plan_of_space, read_plan, study_space, with_seeds
from lossforge.spaces.shipped import shipped_plans, shipped_spaces

PLAN: dict[str, Any] = {
    "name": "mine",
    "seeds": 8,
    "losses": ["ngl", {"name": "one neuron", "loss": "cross_entropy", "head": "binary", "recipe": {"epochs": 3}}],
    "task": {"data": "digits", "train": 400, "augmentation": {"crop": 1, "flip": True}},
    "recipe": {"epochs": 4, "batch_size": 32},
    "study": [
        {"name": "clean"},
        {
            "name": "noisy",
            "seeds": 4,
            "margin": 1.0,
            "task": {"label_noise": 0.4, "augmentation": {"crop": 2}},
            "recipe": {"epochs": 9},
        },
    ],
}


def plan(**changes: object) -> Plan:
    return read_plan({**PLAN, **changes}, "mine.toml")


def test_a_study_stands_over_the_plan_and_a_contender_over_both() -> None:
    read = plan()
    clean, noisy = (study_space(read, study) for study in read.study)
    assert (clean.recipe.epochs, noisy.recipe.epochs) == (4, 9)
    assert clean.recipe.batch_size == noisy.recipe.batch_size == 32
    assert (clean.task[0].label_noise, noisy.task[0].label_noise) == (0.0, 0.4)
    assert (noisy.task[0].augmentation.crop, noisy.task[0].augmentation.flip) == (2, True)
    assert [space.task[0].title for space in (clean, noisy)] == ["clean", "noisy"]
    own = read.losses[1]
    assert isinstance(own, ContenderSection)
    space = study_space(read, read.study[1], own)
    assert (space.task[0].head, space.recipe.epochs, space.task[0].label_noise) == ("binary", 3, 0.4)


def test_seeds_and_margins_are_the_studys_own_or_the_plans() -> None:
    read = plan()
    assert [read.seeds_of(study) for study in read.study] == [8, 4]
    assert [read.margin_of(study) for study in read.study] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"study": []}, "study"),
        ({"study": [{"name": "a"}, {"name": "a"}]}, "two studies have the same name"),
        ({"study": [{"name": "a", "task": {"widht": 3}}]}, "study 'a': task.widht: unknown key; did you mean 'width'?"),
        ({"study": [{"name": "a", "recipe": {"epochs": 0}}]}, "study 'a': recipe.epochs"),
        ({"study": [{"name": "a", "task": {"data": "digits", "metric": "dice"}}]}, "study 'a': task.metric"),
        ({"losses": ["ngl", "ngl"]}, "losses: 'ngl' is there twice"),
        ({"losses": [{"loss": "ngl", "head": "softplus"}]}, "losses"),
        ({"losses": [{"loss": "ngl", "recipe": {"optimiser": "sgd"}}]}, "did you mean 'recipe.optimizer'"),
        ({"rivals": {"named": []}}, "rivals.named: must name one"),
        ({"rivals": {"best": -1}}, "rivals.best"),
        ({"tuning": {"learning_rates": [0.1, 0.01]}}, "tuning.learning_rates: must rise"),
        ({"tunning": {}}, "tunning: unknown key; did you mean 'tuning'?"),
        ({"seeds": 1}, "seeds"),
    ],
)
def test_what_is_wrong_is_told_by_study_and_key(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SpaceError, match=r"^mine\.toml") as caught:
        plan(**changes)
    text = str(caught.value)
    assert told in text or told.replace("recipe.", "") in text, text


def test_overrides_reach_a_study_by_its_name() -> None:
    read = read_plan(PLAN, "mine.toml", ["study.noisy.seeds=6", "task.train=500", "study.clean.task.width=4"])
    assert [read.seeds_of(study) for study in read.study] == [8, 6]
    spaces = [study_space(read, study) for study in read.study]
    assert [space.task[0].train for space in spaces] == [500, 500]
    assert [space.task[0].width for space in spaces] == [4, 16]


def test_seeds_of_a_command_are_every_studys_and_within_reason() -> None:
    read = with_seeds(plan(), 12)
    assert [read.seeds_of(study) for study in read.study] == [12, 12]
    for seeds in (1, 0, -3, 10_001, 10**8):
        with pytest.raises(SpaceError, match=r"--seeds: must be 2 to 10,000"):
            with_seeds(plan(), seeds)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"losses": [{"loss": "ngl", "head": "bin"}]}, ".head: input should be 'softmax'"),
        ({"losses": ["brier", {"loss": "ngl", "nmae": "two"}]}, ".nmae: unknown key"),
        ({"losses": [3]}, "losses"),
        ({"losses": [{"name": "two"}]}, "loss: this key is required"),
    ],
)
def test_a_contender_that_is_wrong_is_told_by_its_key(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SpaceError, match=r"^mine\.toml") as caught:
        plan(**changes)
    assert told in str(caught.value)


def test_a_space_is_no_plan_and_a_plan_no_space() -> None:
    with pytest.raises(SpaceError, match=r"is a search space and no plan .* --space"):
        load_plan(shipped_spaces()["digits"])
    with pytest.raises(SpaceError, match=r"is a plan and no search space .* --plan"):
        load_space(shipped_plans()["league_digits"])


def test_an_override_of_a_study_that_is_not_there_is_refused() -> None:
    with pytest.raises(SpaceError, match="there is no study 'noisey'; did you mean 'noisy'"):
        read_plan(PLAN, "mine.toml", ["study.noisey.seeds=3"])
    assert [one.seeds for one in read_plan(PLAN, "mine.toml", ["study.seeds=3"]).study] == [3, 3]


def test_a_plan_written_out_is_the_same_plan() -> None:
    read = plan()
    assert read_plan(tomllib.loads(dump_plan(read)), "again") == read


@pytest.mark.parametrize("name", sorted(shipped_plans()))
def test_shipped_plans_are_read(name: str) -> None:
    read = load_plan(find_plan(name))
    assert read.name == name
    assert read.description


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_a_spaces_own_comparison_goes_as_its_revalidation(name: str) -> None:
    space = load_space(shipped_spaces()[name]).decided()
    made = plan_of_space(space, ["ngl"])
    assert made.seeds == space.validation.seeds
    assert made.tuning.learning_rates == space.validation.learning_rates
    own = [study_space(made, study) for study in made.study]
    assert [one.task[0] for one in own] == list(space.task)
    wanted = space.validation.epochs or 2 * space.recipe.epochs
    assert {one.recipe.epochs for one in own} == {wanted if not space.recipe.steps else space.recipe.epochs}


def test_what_is_no_plan_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no shipped plan of that name; did you mean 'league_digits'"):
        find_plan("league_digit")
    with pytest.raises(SpaceError, match="the space 'mine' has no plan of that name"):
        find_plan("transfer", "mine")
    file = tmp_path / "own.toml"
    file.write_text("study = 3\n", encoding="utf-8")
    assert find_plan(file) == file
    with pytest.raises(SpaceError, match=r"own\.toml: 2 things are wrong"):
        load_plan(file)


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_shipped_space_goes_on_to_other_data_and_networks(name: str) -> None:
    space, plan = load_space(shipped_spaces()[name]), load_plan(find_plan("transfer", name))
    seen = {(task.data, task.model, task.width) for task in space.task}
    tasks = [study_space(plan, study).task[0] for study in plan.study]
    assert any(task.data not in {data for data, _, _ in seen} for task in tasks)
    assert any(task.model not in {model for _, model, _ in seen} for task in tasks)
    assert not {(task.data, task.model, task.width) for task in tasks} & seen or name == "fashion_mnist"
