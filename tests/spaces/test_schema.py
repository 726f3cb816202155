from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from lossforge.errors import SpaceError
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import BOUND, PRIMITIVES
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import EvolutionSection, ExpressionSection, SearchSpace

SMALLEST: dict[str, Any] = {"name": "t", "task": [{"data": "digits"}]}

OUT_OF_RANGE: dict[str, list[Any]] = {
    "name": ["", "a b", "a/b", "a\n"],
    "seed": [-1, 2**63, 0.5],
    "expression.form": ["triple"],
    "expression.primitives": [[], ["pow"], ["add", "__import__"]],
    "expression.leaves": [[], ["logits"], ["y_pred", 3]],
    "expression.define": [{"a": "a(x)"}, {"log": "x"}, {"f": "g(x)"}, {"f": "y"}, {"f": "y_pred + x"}, {"f": 3}, ["f"]],
    "expression.constant_range": [[1, 1], [3, -3], [-math.inf, 1], [0, math.nan], [1], [1, 2, 3]],
    "expression.seeds": [["y_pred +"], ["os(y_pred)"], [""]],
    "expression.initial_height": [[0, 2], [2, 11], [4, 2], [2, 9]],
    "expression.max_height": [0, 21],
    "expression.max_size": [2, 201],
    "screening.max_gradient": [1, -5.0, math.nan, math.inf],
    "screening.descent_steps": [0, 1001],
    "screening.descent_accuracy": [-0.01, 1.01, math.nan],
    "screening.network_steps": [-1, 1001],
    "screening.precisions": [[], ["float8"]],
    "screening.audit": [-0.01, 1.01, math.nan],
    "task.name": ["a b", "a/b"],
    "task.data": [""],
    "task.classes": [1, 100_001],
    "task.train": [9, -1],
    "task.validation": [9],
    "task.test": [9],
    "task.own_validation": [True, "perhaps"],
    "task.drop_duplicates": ["perhaps"],
    "task.drop_index": [True, "perhaps"],
    "task.drop_columns": [["a"], "a"],
    "task.impute": ["mean", "mode"],
    "task.one_hot": [True, ["a"], "a"],
    "task.nested": [True, "perhaps"],
    "task.skip_broken": [True, "perhaps"],
    "task.split": ["each", ""],
    "task.split_seed": [-1],
    "task.label_noise": [-0.01, 1.0, math.nan],
    "task.noise_kind": ["", "pairwise"],
    "task.noise_pairs": [{"3": "8"}, 3],
    "task.noise_file": ["a.pt"],
    "task.noise_key": ["worse_label"],
    "task.imbalance": [0.5, 1e7, math.nan],
    "task.only": [{"a": 1}, ["3", "3"], 1.5],
    "task.positive": [{"a": 1}, ["3", "3"], [True]],
    "task.mask_colours": [
        {"a": [0, 0, 0]},
        {"a": [0, 0, 0], "b": [0, 0, 256]},
        "other.csv",
        3,
        {"a": [0, 0, 0], "b": [1, 1, 1]},
    ],
    "task.mask_threshold": [0, 256, 1.5, 128],
    "task.nearest_colour": [True, "perhaps"],
    "task.ignore": [255, 1.5, 2**40, "water"],
    "task.resize": [0, 4097, [8], [8, 0], [8, 8, 8], "big"],
    "task.head": ["", "sigmod", 1],
    "task.metric": ["", "iou", "mean_iou", "f1_micro"],
    "task.augmentation.crop": [-1, 257],
    "task.augmentation.rotation": [-1, 181, math.nan],
    "task.augmentation.zoom": [-0.1, 1.0, math.nan],
    "task.augmentation.shift": [-0.1, 1.0, math.nan],
    "task.augmentation.brightness": [-0.1, 1.1, math.nan],
    "task.augmentation.contrast": [-0.1, 1.1, math.nan],
    "task.augmentation.saturation": [-0.1, 1.1, math.nan],
    "task.augmentation.cutout": [-1, 1025],
    "task.width": [0, 1025],
    "task.output_init": ["half", ""],
    "task.score_training": ["perhaps"],
    "task.probe_train": [9],
    "task.probe_test": [9],
    "task.cohort": [0, 1025],
    "task.distributed": [-1, 4097],
    "recipe.optimizer": ["lion", ""],
    "recipe.schedule": ["step"],
    "recipe.plateau_epochs": [0, 10_001],
    "recipe.plateau_factor": [0.0, 1.0, math.nan],
    "recipe.plateau_floor": [-0.1, 11.0, math.nan],
    "recipe.epochs": [0, 10_001],
    "recipe.steps": [-1, 0.5, 10_000_001],
    "recipe.batch_size": [1, 100_001],
    "recipe.weight_decay": [-0.1, math.inf],
    "recipe.epsilon": [0, -1e-8, 1.1, math.nan],
    "recipe.output_rate": [0, -1.0, 10.1, math.nan],
    "recipe.clip_norm": [-1.0, math.inf, math.nan],
    "recipe.label_smoothing": [-0.1, 1.0, math.nan],
    "recipe.learning_rate": [0, -1.0, 10.1, math.nan, "best"],
    "recipe.learning_rates": [[], [0.1], [0.2, 0.1], [0.1, 0.1], [0.0, 0.1], [1.0, 11.0]],
    "recipe.sweep_seeds": [0, 101],
    "recipe.cohort": [0, 1025, "many"],
    "recipe.heats": [0, 65],
    "recipe.precision": ["float64", "half"],
    "recipe.backend": ["fastest"],
    "recipe.stop_at": [-0.1, 1.0, math.nan],
    "recipe.stop_below": [-0.1, 1.0, math.nan],
    "fitness.measure": ["gain", ""],
    "fitness.aggregate": ["best"],
    "fitness.seeds": [0, 101],
    "fitness.race": [-0.1, 1.1],
    "fitness.finalists": [-1, 1001],
    "fitness.finalist_seeds": [0, 1001],
    "evolution.population": [3, 100_001],
    "evolution.elites": [-1, 40, 41],
    "evolution.tournament": [1],
    "evolution.parsimony": [0.99, 2.01, math.nan],
    "evolution.crossover": [-0.1, 1.1, 0.9],
    "evolution.mutation": [-0.1, 1.1, 0.9],
    "evolution.subtree_mutation": [-1, math.nan, math.inf],
    "evolution.point_mutation": [-1],
    "evolution.insert_mutation": [-1],
    "evolution.shrink_mutation": [-1],
    "evolution.constant_mutation": [-1],
    "evolution.relate_mutation": [-1],
    "fusion.losses": [["focal", "focal"], [""], [3], "focal"],
    "fusion.orders": [[], [0], [17], [1, 1]],
    "fusion.weights": ["optimal", {"focal": 1.0}, {"focal": -1.0}],
    "fusion.levels": [[], [0.0], [2.0, 2.0], [math.nan]],
    "fusion.match": ["perhaps"],
    "fusion.weight_range": [[10.0, 0.1], [0.0, 1.0], [1.0]],
    "fusion.dynamic": ["magic", True],
    "fusion.temperature": [0.0, -1.0, math.inf],
    "fusion.alpha": [-0.1, math.nan],
    "fusion.shares": ["perhaps"],
    "evolution.niche": [-0.1, 1.1, math.nan],
    "evolution.restart": [-1],
    "evolution.surrogate.proposals": [0, 100_001],
    "evolution.surrogate.plain": [-0.1, 1.1, math.nan],
    "evolution.surrogate.fresh": [-0.1, 1.1],
    "evolution.surrogate.least_judged": [3],
    "evolution.surrogate.most_judged": [3],
    "evolution.surrogate.least_correlation": [-1.1, 1.1, math.nan],
    "evolution.surrogate.distance": [-0.1, 1.1],
    "evolution.surrogate.learned": [[["y_pred"]], [["y_pred", 2.0]], "y_pred"],
    "evolution.surrogate.tuned": [-1, 101],
    "evolution.surrogate.trees": [49, 10_001],
    "evolution.strategy": ["annealing"],
    "evolution.attempts": [0],
    "budget.generations": [0],
    "budget.trainings": [-1],
    "budget.hours": [-1.0, math.inf],
    "reference.coarse_seeds": [0],
    "reference.tuned": [0],
    "reference.tuning_seeds": [0],
    "reference.seeds": [1],
    "fitness.measured": [-1, 21],
    "fitness.race_error": [-0.1, 1.1],
    "fitness.fresh_seeds": [-1, 1, 1001],
    "budget.training_seconds": [0, -1.0, math.inf],
    "budget.training_gigabytes": [-1.0, math.inf],
    "validation.top": [0],
    "validation.seeds": [0, 1, 1001],
    "validation.epochs": [0],
    "validation.margin": [-0.1],
    "validation.best_known": [-1, 101],
    "validation.coarse_seeds": [0, 101],
    "validation.second_optimizer": ["rmsprop"],
    "validation.second_seeds": [-1, 1001],
    "validation.second_tuning_seeds": [0, 101],
    "validation.second_learning_rates": [[0.2, 0.1], [0.1, 0.1], [0.0]],
    "validation.tuning_seeds": [0, 101],
    "validation.learning_rates": [[], [0.2, 0.1], [0.1, 0.1], [0.0]],
    "validation.rivals": [[], ["ngl"]],
    "execution.executor": ["slurm"],
    "execution.workers": [-1, 10_001],
    "execution.device": ["tpu"],
    "execution.address": ["somewhere", "head:", "ray://head:10001", "head:1 2", 6379],
    "execution.gpus_per_worker": [-0.1, 1.5, math.nan],
    "execution.cpus_per_worker": [0, -1.0, 1025, math.inf],
}
WITHOUT_RANGE = {
    "evolution.adaptive",
    "evolution.surrogate.enabled",
    "description",
    "task.model",
    "task.probe",
    "task.activation",
    "task.python",
    "task.greyscale",
    "task.normalize",
    "task.augmentation.flip",
    "execution.data_dir",
    "execution.checkpoints",
    "screening.repair_sign",
    "screening.guards",
    "recipe.match_gradient",
    "recipe.deterministic",
    "validation.after_search",
    "validation.looks",
    "validation.known",
    "reference.losses",
}


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def keys(model: type[BaseModel] = SearchSpace, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        below = list(sections(field.annotation))
        for section in below:
            yield from keys(section, f"{prefix}{name}.")
        if not below:
            yield f"{prefix}{name}"


def with_value(key: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(SMALLEST)
    *tables, last = key.split(".")
    target: Any = data
    for table in tables:
        target = target.setdefault(table, {})
        target = target[0] if isinstance(target, list) else target
    target[last] = value
    return data


def refusal(key: str, value: Any) -> str:
    with pytest.raises(SpaceError) as caught:
        validate_space(with_value(key, value), "my.toml")
    return str(caught.value)


def test_the_table_of_bad_values_knows_every_key() -> None:
    assert set(OUT_OF_RANGE) | WITHOUT_RANGE == set(keys())


@pytest.mark.parametrize(
    ("key", "value"),
    [pytest.param(key, value, id=f"{key}={value!r}") for key, values in OUT_OF_RANGE.items() for value in values],
)
def test_a_value_out_of_range_is_refused_by_its_key_in_one_line(key: str, value: Any) -> None:
    message = refusal(key, value)
    assert message.startswith("my.toml: ")
    assert "\n" not in message
    for part in key.split("."):
        assert part in message


@pytest.mark.parametrize("key", sorted(keys()))
def test_a_table_where_a_value_belongs_is_refused_by_its_key(key: str) -> None:
    message = refusal(key, {"x": 1})
    assert message.startswith("my.toml: ")
    assert key.rsplit(".", 1)[-1] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "key", ["seed", "task.train", "recipe.epochs", "evolution.parsimony", "budget.training_seconds", "fitness.seeds"]
)
def test_words_where_a_number_belongs_are_refused(key: str) -> None:
    message = refusal(key, "many")
    assert key.rsplit(".", 1)[-1] in message
    assert "'many'" in message


@pytest.mark.parametrize("key", ["name", "description", "task.data", "task.model", "recipe.optimizer"])
def test_a_number_where_text_belongs_is_refused(key: str) -> None:
    assert key.rsplit(".", 1)[-1] in refusal(key, 5)


@pytest.mark.parametrize("section", ["", *sorted({key.partition(".")[0] + "." for key in keys() if "." in key})])
def test_an_unknown_key_is_named(section: str) -> None:
    message = refusal(f"{section}surprise", 1)
    assert f"{section.rstrip('.')}" in message
    assert "surprise: unknown key; digits.toml has every key" in message


@pytest.mark.parametrize("key", ["integrity", "recipe.interval", "evolution.float_mutation"])
def test_an_unknown_key_that_looks_like_a_type_is_named_too(key: str) -> None:
    assert f"{key}: unknown key" in refusal(key, 1)


@pytest.mark.parametrize("key", ["name", "task"])
def test_a_missing_key_is_named(key: str) -> None:
    data = {name: value for name, value in SMALLEST.items() if name != key}
    with pytest.raises(SpaceError, match=rf"^my\.toml: {key}: this key is required$"):
        validate_space(data, "my.toml")


def test_a_task_without_data_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"data: give either data, or python"):
        validate_space({"name": "t", "task": [{}]}, "my.toml")


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(SpaceError) as caught:
        validate_space({**SMALLEST, "seed": -1, "budget": {"generations": 0}}, "my.toml")
    assert str(caught.value).splitlines() == [
        "my.toml: 2 things are wrong:",
        "  seed: input should be greater than or equal to 0, not -1",
        "  budget.generations: input should be greater than or equal to 1, not 0",
    ]


def test_a_long_value_is_shortened() -> None:
    assert len(refusal("seed", "x" * 10_000)) < 300


def test_a_single_task_may_be_a_table() -> None:
    assert validate_space({"name": "t", "task": {"data": "digits"}}, "x") == validate_space(SMALLEST, "x")


def test_two_tasks_need_two_names() -> None:
    same: list[dict[str, Any]] = [{"data": "digits"}, {"data": "digits", "width": 4}]
    with pytest.raises(SpaceError, match="task: two tasks have the same name"):
        validate_space({"name": "t", "task": same}, "x")
    space = validate_space({"name": "t", "task": [{**same[0], "name": "a"}, {**same[1], "name": "b"}]}, "x")
    assert [task.title for task in space.task] == ["a", "b"]


def test_a_task_is_called_after_its_data_where_it_has_no_name() -> None:
    assert validate_space(SMALLEST, "x").task[0].title == "digits"


def test_a_seed_formula_must_keep_the_limits() -> None:
    data = {**SMALLEST, "expression": {"seeds": ["exp(exp(exp(y_pred)))"], "max_height": 2, "initial_height": [1, 2]}}
    with pytest.raises(SpaceError, match=r"seeds: .* larger than max_size or max_height"):
        validate_space(data, "x")


def test_a_seed_formula_must_use_listed_primitives() -> None:
    data = {**SMALLEST, "expression": {"primitives": ["add"], "seeds": ["y_true + exp(y_pred)"]}}
    with pytest.raises(SpaceError, match=r"seeds: .* uses 'exp', which primitives does not list"):
        validate_space(data, "x")


def test_seed_formulas_are_kept_in_their_printed_form() -> None:
    space = validate_space({**SMALLEST, "expression": {"seeds": ["-(y_true)*log( y_pred )"]}}, "x")
    assert space.expression.seeds == ["-y_true * log(y_pred)"]


def test_constants_must_be_ones_that_a_formula_can_hold() -> None:
    assert "constant_range" in refusal("expression.constant_range", [-2 * BOUND, 2 * BOUND])


def test_one_mutation_must_have_weight() -> None:
    weights = {name: 0.0 for name in EvolutionSection.model_fields if name.endswith("_mutation")}
    with pytest.raises(SpaceError, match="at least one of the mutation weights must be above 0"):
        validate_space({**SMALLEST, "evolution": weights}, "x")


def test_a_space_cannot_be_changed_after_loading() -> None:
    space = validate_space(SMALLEST, "x")
    with pytest.raises(ValidationError, match="frozen"):
        space.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        space.task[0].width = 3


def test_the_defaults_are_a_valid_space() -> None:
    space = validate_space(SMALLEST, "x")
    assert validate_space(space.model_dump(mode="json"), "x") == space
    assert space.expression.primitives == list(PRIMITIVES)
    assert parse_formula(space.expression.seeds[0]).uses("log")


def test_the_largest_seed_is_accepted() -> None:
    assert validate_space({**SMALLEST, "seed": 2**63 - 1}, "x").seed == 2**63 - 1


def test_steps_and_epochs_of_a_validation_contradict_one_another() -> None:
    data = {**SMALLEST, "recipe": {"steps": 100}}
    assert validate_space(data, "x").recipe.steps == 100
    with pytest.raises(SpaceError, match=r"^x: validation\.epochs: recipe\.steps says how long"):
        validate_space({**data, "validation": {"epochs": 3}}, "x")


def test_operations_of_one_s_own_may_be_listed_and_all_seeds_at_fault_are_told() -> None:
    own = {"inv": "1 / x"}
    section = ExpressionSection(primitives=["add", "inv"], define=own, seeds=["inv(y_pred) + y_true"])
    assert section.primitives == ["add"]
    with pytest.raises(ValueError, match=r"uses 'abs', .* uses 'square', which primitives does not list"):
        ExpressionSection(primitives=["add"], seeds=["abs(y_pred) + y_true", "square(y_pred) + y_true"])


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"task": {"data": "digits"}}, 'set evolution.strategy = "grid"'),
        (
            {"task": {"python": "mine:train", "classes": 3}, "evolution": {"strategy": "grid"}},
            "leave it, or task.python and task.distributed, out",
        ),
    ],
)
def test_weights_change_where_they_can(tables: dict[str, Any], told: str) -> None:
    fusion = {"losses": ["focal", "dice"], "orders": [1, 2], "dynamic": "dwa"}
    with pytest.raises(ValidationError, match=told):
        SearchSpace(name="x", fusion=fusion, **tables)
