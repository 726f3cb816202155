"""JSON schemas of spaces and plans, by which editors complete and check TOML."""

from __future__ import annotations

import copy
import json
from typing import Any

from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.spaces.plan_schema import Plan
from lossforge.spaces.schema import SearchSpace

KINDS = ("space", "plan")
_DIALECT = "http://json-schema.org/draft-07/schema#"
"""What editors of TOML read."""


def json_schema(kind: str) -> dict[str, Any]:
    """The schema of a ``space`` or a ``plan``, draft 7: keys, ranges, defaults, and what sections are for.

    What a key means beside another one is checked when a file is read, and is not in it.
    """
    model = SearchSpace if kind == "space" else Plan
    schema = model.model_json_schema(ref_template="#/definitions/{model}")
    schema["definitions"] = schema.pop("$defs", {})
    schema = {"$schema": _DIALECT, **_as_draft_7(schema)}
    schema["title"] = f"lossforge: a {'search space' if kind == 'space' else kind}"
    if kind == "space":
        _one_task_or_several(schema)
        _names(schema["definitions"]["ExpressionSection"]["properties"])
    else:
        _tables_of_a_space(schema)
    return schema


def schema_text(kind: str) -> str:
    """The schema as it is written into a file."""
    return json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"


def _as_draft_7(value: Any) -> Any:
    """Tuples as draft 7 writes them, and texts on one line."""
    if isinstance(value, list):
        return [_as_draft_7(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _as_draft_7(item) for key, item in value.items() if key != "discriminator"}
    if isinstance(found.get("prefixItems"), list):
        found["items"] = found.pop("prefixItems")
        found["additionalItems"] = False
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found


def _one_task_or_several(schema: dict[str, Any]) -> None:
    """``[task]`` and ``[[task]]`` are both a space's tasks."""
    tasks = schema["properties"]["task"]
    tasks.pop("title", None)
    schema["properties"]["task"] = {
        "anyOf": [{"$ref": "#/definitions/TaskSection"}, tasks],
        "description": "what losses are judged on: [task], or several [[task]] with a name each",
    }


def _names(expression: dict[str, Any]) -> None:
    """Operations and leaves by their names; a space's own operations are none of them."""
    expression["primitives"]["items"] = {
        "anyOf": [
            {"enum": list(OPERATIONS)},
            {"type": "string", "description": "an operation of this space's own: expression.define"},
        ]
    }
    expression["leaves"]["items"] = {"enum": list(EVERY_LEAF)}


def _tables_of_a_space(schema: dict[str, Any]) -> None:
    """A plan's tables for tasks and recipes have a space's keys, each of them optional."""
    space = json_schema("space")["definitions"]
    own = schema["definitions"]
    for name, section in space.items():
        own.setdefault(name, section)
    for name, target in (("task", "TaskSection"), ("recipe", "RecipeSection")):
        for holder in (schema, own["StudySection"], own["ContenderSection"]):
            before = holder["properties"].get(name, {})
            told = {key: copy.deepcopy(before[key]) for key in ("description",) if key in before}
            holder["properties"][name] = {"$ref": f"#/definitions/{target}", **told}
