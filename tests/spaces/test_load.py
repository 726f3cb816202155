from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lossforge.errors import SpaceError
from lossforge.spaces.load import (
    RESUMABLE,
    apply_overrides,
    changed_keys,
    dump_space,
    forbidden_changes,
    load_space,
    read_space,
    read_toml,
    validate_space,
)
from lossforge.spaces.schema import SearchSpace, TaskSection

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"
MINIMAL = 'name = "t"\n[task]\ndata = "digits"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def refusal(path: Path, overrides: list[str] | None = None) -> str:
    with pytest.raises(SpaceError) as caught:
        load_space(path, overrides)
    return str(caught.value)


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def missing_keys(model: type[BaseModel], data: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        value = data.get(name)
        if value is None:
            yield f"{prefix}{name}"
            continue
        for section in sections(field.annotation):
            for table in value if isinstance(value, list) else [value]:
                yield from missing_keys(section, table, f"{prefix}{name}.")


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_spaces_load(path: Path) -> None:
    assert load_space(path).name == path.stem


def test_there_are_shipped_spaces() -> None:
    assert {"digits", "smoke"} <= {path.stem for path in SPACES.glob("*.toml")}


def test_digits_shows_every_key() -> None:
    # Of what has no place beside a data set with a name the file tells in a comment.
    text = (SPACES / "digits.toml").read_text(encoding="utf-8")
    missing = [key.rpartition(".")[2] for key in missing_keys(SearchSpace, read_toml(SPACES / "digits.toml"))]
    assert {"python", "classes", "impute"} <= set(missing)
    assert [name for name in missing if f"\n# {name} = " not in text] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.toml")
    assert f"{tmp_path / 'none.toml'}: there is no such file" in message
    assert "lossforge list spaces" in message


def test_a_folder_is_not_a_space(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert "cannot be read" in message


def test_unreadable_bytes_are_refused(file: Path) -> None:
    file.write_bytes(b'name = "\xff\xfe"\n')
    message = refusal(file)
    assert str(file) in message
    assert "cannot be read" in message


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "name: t\ntask:\n  data: digits\n",
        '{"name": "t"}',
        'name = "t"\nname = "u"\n',
        "name = 't\n",
        "[task]\n[task]\n",
        "seed = 2024-13-45\n",
        f"x = {'[' * 50_000}{']' * 50_000}\n",
        f"seed = {'1' * 5_000}\n",
    ],
    ids=["no value", "yaml", "json", "twice", "open quote", "table twice", "no date", "deep", "endless number"],
)
def test_what_is_not_toml_is_refused_in_one_line(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    message = refusal(file)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message


@settings(deadline=None, max_examples=60)
@given(text=st.binary(max_size=80))
def test_no_file_makes_another_error(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "space.toml"
    path.write_bytes(text)
    assert str(path) in refusal(path)


def test_an_empty_file_lacks_every_required_key(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    assert refusal(file).splitlines() == [
        f"{file}: 2 things are wrong:",
        "  name: this key is required",
        "  task: this key is required",
    ]


def test_a_bad_value_names_file_and_key(file: Path) -> None:
    file.write_text(MINIMAL + "[evolution]\npopulation = 2\n", encoding="utf-8")
    assert refusal(file).startswith(f"{file}: evolution.population: ")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        (" seed = 7 ", "seed", 7),
        ("evolution.population=60", "evolution.population", 60),
        ("recipe.learning_rate=0.02", "recipe.learning_rate", 0.02),
        ("recipe.learning_rate=sweep", "recipe.learning_rate", "sweep"),
        ("recipe.learning_rates=[0.1, 0.2]", "recipe.learning_rates", [0.1, 0.2]),
        ("recipe.match_gradient=false", "recipe.match_gradient", False),
        ("description=a = b # c", "description", "a = b # c"),
        ('description="60"', "description", "60"),
        ("description=", "description", ""),
        ("expression.seeds=['y_true - y_pred']", "expression.seeds", ["y_true - y_pred"]),
        ("execution.device=cpu", "execution.device", "cpu"),
        (f"seed={2**63 - 1}", "seed", 2**63 - 1),
        ("recipe.learning_rate=.02", "recipe.learning_rate", 0.02),
        ("recipe.match_gradient=False", "recipe.match_gradient", False),
        ("validation.epochs=null", "validation.epochs", None),
        ("validation.second_optimizer=none", "validation.second_optimizer", "none"),
        ("description=null", "description", "null"),
    ],
)
def test_an_override_sets_a_key(file: Path, override: str, key: str, value: object) -> None:
    found: Any = load_space(file, [override])
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_wins(file: Path) -> None:
    assert load_space(file, ["seed=1", "seed=2"]).seed == 2


def test_an_override_of_task_reaches_every_task(file: Path) -> None:
    tasks = '[[task]]\nname = "a"\ndata = "digits"\n[[task]]\nname = "b"\ndata = "digits"\n'
    file.write_text(f'name = "t"\n{tasks}', encoding="utf-8")
    assert [task.width for task in load_space(file, ["task.width=4"]).task] == [4, 4]


@pytest.mark.parametrize("text", ["null", "none", "None"])
def test_an_override_unsets_what_has_no_value_by_default(file: Path, text: str) -> None:
    file.write_text('name = "t"\n[task]\ndata = "digits"\nresize = 16\nnormalize = true\n', encoding="utf-8")
    (task,) = load_space(file, [f"task.resize={text}", f"task.normalize={text}"]).task
    assert task.resize is task.normalize is None
    assert f"task.width={text}: task.width: it cannot be unset; its default is 16" in refusal(
        file, [f"task.width={text}"]
    )
    assert "recipe: it cannot be unset" in refusal(file, [f"recipe={text}"])


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"task": None}, "task: input should be a table, or a list of tables, not None"),
        ({"task": 3}, "task: input should be a table, or a list of tables, not 3"),
        ({"recipe": None}, "recipe: input should be a table, not None"),
        ({"task": {"data": "digits", "width": "4"}}, "task.width: '4' is a text; write 4 without quotes"),
        ({"budget": {"training_seconds": " 1e3 "}}, "budget.training_seconds: ' 1e3 ' is a text; write 1e3 without"),
        ({"recipe": {"learning_rate": "0.1"}}, "recipe.learning_rate: '0.1' is a text"),
        ({"recipe": {"learning_rates": [0.1, "0.2"]}}, "recipe.learning_rates: '0.2' is a text"),
        ({"recipe": {"match_gradient": "yes"}}, "recipe.match_gradient: 'yes' is a text; write true or false"),
        ({"seed": "3"}, "seed: '3' is a text; write 3 without quotes"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_one_sentence(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(SpaceError) as caught:
        read_space({"name": "t", "task": {"data": "digits"}, **tables}, "the space")
    assert str(caught.value).startswith(f"the space: {told}")
    assert "\n" not in str(caught.value)


def test_numbers_of_other_kinds_are_numbers() -> None:
    space = read_space(
        {
            "name": "t",
            "task": {"data": "digits", "width": numpy.int64(4), "resize": (8, 8)},
            "budget": {"training_seconds": 60, "generations": 3.0},
        },
        "the space",
    )
    assert (space.task[0].width, space.budget.training_seconds, space.budget.generations) == (4, 60.0, 3)


@pytest.mark.parametrize("override", ["seed", "=3", "", " =3"])
def test_an_override_needs_key_and_value(file: Path, override: str) -> None:
    assert f"--set {override}: expected KEY=VALUE" in refusal(file, [override])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "evolution.poplation=30",
            "--set evolution.poplation=30: evolution.poplation: unknown key; did you mean 'population'?",
        ),
        ("evolutoin.population=30", "--set evolutoin.population=30: evolutoin: unknown key; did you mean 'evolution'?"),
        ("population=30", "population: unknown key; did you mean 'evolution.population'?"),
        ("evolution.population=2", "evolution.population: "),
        ("evolution.population=lots", "'lots'"),
        ("name.x=3", "name.x"),
        ("name.x.y=3", "name.x.y=3"),
        ("budget=3", "budget: "),
        (f"seed={'[' * 20_000}", "seed: "),
        (f"seed={'1' * 5_000}", "seed: "),
    ],
)
def test_a_bad_override_is_refused_by_its_key(file: Path, override: str, told: str) -> None:
    message = refusal(file, [override])
    assert told in message
    assert "\n" not in message


@settings(deadline=None, max_examples=100)
@given(override=st.text(max_size=30))
def test_no_override_makes_another_error(override: str) -> None:
    data: dict[str, Any] = {"name": "t", "task": [{"data": "digits"}]}
    message = ""
    try:
        apply_overrides(data, [override])
        validate_space(data, "--set")
    except SpaceError as error:
        message = str(error)
    assert "--set" in message or override.split("=")[0].strip() in {"seed", "name", "description"}


RATES = st.floats(1e-9, 10, exclude_min=True)
SPACE = st.builds(
    lambda seed, description, rate, rates, low, span, noise, seconds, epochs: SearchSpace.model_validate(
        {
            "name": "t",
            "seed": seed,
            "description": description,
            "task": [{"data": "digits", "label_noise": noise, "train": 100}],
            "expression": {"constant_range": (low, low + span), "seeds": ["-0.1 * y_true * log(y_pred)"]},
            "recipe": {"learning_rate": rate, "learning_rates": sorted(rates)},
            "budget": {"training_seconds": seconds},
            "validation": {"epochs": epochs},
        }
    ),
    seed=st.integers(0, 2**63 - 1),
    description=st.text(),
    rate=st.one_of(st.just("sweep"), RATES),
    rates=st.sets(RATES, min_size=2, max_size=6),
    low=st.floats(-100, 100),
    span=st.floats(1e-3, 100),
    noise=st.floats(0, 1, exclude_max=True),
    seconds=st.floats(0, 1e300, exclude_min=True),
    epochs=st.one_of(st.none(), st.integers(1, 50)),
)


@settings(deadline=None, max_examples=80)
@given(space=SPACE)
def test_a_dumped_space_loads_as_the_same(tmp_path_factory: pytest.TempPathFactory, space: SearchSpace) -> None:
    path = tmp_path_factory.mktemp("dump") / "space.toml"
    path.write_text(dump_space(space), encoding="utf-8")
    assert load_space(path) == space


def test_a_dump_writes_every_default_out(file: Path) -> None:
    dumped = dump_space(load_space(file))
    assert "population = 40" in dumped
    assert "[execution]" in dumped


def test_changed_keys_are_named_in_full(file: Path) -> None:
    old = load_space(file)
    new = load_space(file, ["seed=5", "task.width=4", "recipe.epochs=3", "recipe.learning_rates=[0.1, 0.2]"])
    assert changed_keys(old, old) == []
    assert changed_keys(old, new) == ["recipe.epochs", "recipe.learning_rates", "seed", "task.width"]


def test_a_further_task_is_a_change(file: Path) -> None:
    old = load_space(file)
    new = old.model_copy(update={"task": [*old.task, TaskSection(name="other", data="digits")]})
    assert "task.other.data" in forbidden_changes(old, new)


def test_only_budget_and_execution_may_change_on_resume(file: Path) -> None:
    old = load_space(file)
    new = load_space(
        file, ["budget.generations=99", "budget.training_seconds=1.0", "execution.workers=3", "execution.device=cpu"]
    )
    assert len(changed_keys(old, new)) == 4
    assert forbidden_changes(old, new) == []
    assert forbidden_changes(old, load_space(file, ["budget.generations=99", "fitness.seeds=4"])) == ["fitness.seeds"]
    assert RESUMABLE == ("budget.", "execution.")


def test_of_several_tasks_one_is_set_by_its_name_or_number_and_all_without() -> None:
    def tasks(*overrides: str) -> list[dict[str, Any]]:
        data: dict[str, Any] = {"task": [{"name": "a", "data": "x"}, {"name": "b", "data": "y"}]}
        apply_overrides(data, list(overrides))
        return data["task"]  # type: ignore[no-any-return]

    assert [task["data"] for task in tasks("task.b.data=z")] == ["x", "z"]
    assert [task["data"] for task in tasks("task.0.data=z")] == ["z", "y"]
    assert [task["width"] for task in tasks("task.width=3")] == [3, 3]
    assert [task["augmentation"] for task in tasks("task.a.augmentation.flip=true", "task.augmentation.crop=2")] == [
        {"flip": True, "crop": 2},
        {"crop": 2},
    ]


def test_a_task_is_left_out_by_its_name_or_number_and_not_the_last_of_them() -> None:
    tables = {"name": "s", "task": [{"name": name, "data": "digits"} for name in ("a", "b", "c")]}

    def left(*overrides: str) -> list[str]:
        return [task.title for task in read_space(tables, "my.toml", list(overrides)).task]

    assert left("task.b=null") == ["a", "c"]
    assert left("task.0=null", "task.c=null", "task.width=4") == ["b"]
    with pytest.raises(SpaceError, match="task"):
        left("task.a=null", "task.b=null", "task.c=null")
    with pytest.raises(SpaceError, match=r"task.*d"):
        left("task.d=null")
