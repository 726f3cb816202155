"""The JSON schema by which editors complete spaces and plans: as shipped, and what it takes and refuses."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from lossforge.spaces.json_schema import KINDS, json_schema, schema_text
from lossforge.spaces.shipped import schema_file, shipped_plans, shipped_spaces

FILES = [
    *(("space", path) for path in shipped_spaces().values()),
    *(("plan", path) for path in shipped_plans().values()),
]
VALIDATORS = {kind: Draft7Validator(json_schema(kind)) for kind in KINDS}


def faults(kind: str, data: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATORS[kind].iter_errors(data)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_that_of_the_code(kind: str) -> None:
    Draft7Validator.check_schema(json_schema(kind))
    told = "write it again: lossforge schema [--plan] -o FILE"
    assert schema_file(kind).read_text(encoding="utf-8") == schema_text(kind), told


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[path.stem for _, path in FILES])
def test_a_shipped_file_names_its_schema_and_keeps_to_it(kind: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    place = text.splitlines()[0].removeprefix("#:schema ")
    assert (path.parent / place).resolve() == schema_file(kind)
    assert faults(kind, tomllib.loads(text)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"evolution": {"populaton": 40}},
        {"evolution": {"population": 1}},
        {"task": {"data": "digits", "metric": "acuracy"}},
        {"recipe": {"optimizer": "lion"}},
        {"expression": {"leaves": ["y_prd"]}},
        {"expression": {"initial_height": [2, 3, 4]}},
    ],
)
def test_what_a_space_refuses_an_editor_underlines(change: dict[str, Any]) -> None:
    right = {"name": "mine", "task": [{"data": "digits"}, {"data": "mnist"}]}
    assert faults("space", right) == []
    assert faults("space", {**right, **change})


def test_a_plan_completes_the_keys_of_a_space() -> None:
    plan = {"name": "mine", "losses": ["ngl"], "study": [{"name": "one", "task": {"data": "digits"}}]}
    assert faults("plan", plan) == []
    assert faults("plan", {**plan, "study": [{"name": "one", "task": {"dta": "digits"}}]})
