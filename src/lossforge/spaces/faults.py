"""What is wrong with a search space, in words: all of it at once, each by its key, with what was probably meant."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lossforge.errors import probably_meant
from lossforge.spaces.schema import SearchSpace

KeyPath = tuple[str | int, ...]
"""Keys and numbers of list items that lead to a value, from the top of a space."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the dotted key ("" for the space as a whole), and what is wrong with it."""

    key: str
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.key}: {self.message}".removeprefix(": ").split())


def find_faults(data: object, model: type[BaseModel] = SearchSpace) -> list[Fault]:
    """Everything that is wrong with the tables of a space, or of another ``model``; none where they make one.

    What was probably meant is taken for granted to look on: in ``[taks]`` too every fault is found.
    """
    faults, slips = _first_look(data, model)
    if slips:
        for fault in _first_look(_without(data, slips), model)[0]:
            if fault.key not in {known.key for known in faults}:
                faults.append(fault)
    return faults


def in_words(faults: Sequence[Fault], origin: str, given: Mapping[str, str] | None = None) -> str:
    """A sentence for one fault, a line for each of several.

    ``origin`` is where the space stands. ``given`` has the override, ``KEY=VALUE``, of each key that comes from one.
    """
    places = {key: f"--set {override}" for key, override in (given or {}).items()}
    lines = [(places.get(fault.key, origin), str(fault)) for fault in faults]
    if len(lines) == 1:
        return ": ".join(lines[0])
    return "\n  ".join(
        [
            f"{origin}: {len(lines)} things are wrong:",
            *(text if place == origin else f"{place}: {text}" for place, text in lines),
        ]
    )


def named(key: str, data: object) -> str:
    """The dotted key as a person would write it: ``task.0.width`` is ``task.width`` where there is one task.

    >>> named("task.0.width", {"task": [{"width": 3}]})
    'task.width'
    >>> named("task.1.width", {"task": [{"name": "a"}, {"name": "b"}]})
    'task.b.width'
    """
    return _name(tuple(int(part) if part.isdigit() else part for part in key.split(".")), data)


_Slip = tuple[KeyPath, str]
"""An unknown key, and the key of the same table that was probably meant; "" where there is none."""


def _first_look(data: object, model: type[BaseModel]) -> tuple[list[Fault], list[_Slip]]:
    try:
        model.model_validate(data)
    except ValidationError as error:
        found = [(_in_data(one["loc"], data, str(one["type"])), one) for one in error.errors()]
    else:
        return [], []
    slips = [(path, _meant_here(path, data, model)) for path, one in found if one["type"] == "extra_forbidden"]
    meant = {(*path[:-1], name) for path, name in slips if name}
    by_path: dict[KeyPath, list[Any]] = {}
    for path, one in found:
        if not (one["type"] == "missing" and path in meant):
            by_path.setdefault(path, []).append(one)
    return [_fault(path, errors, data, model) for path, errors in by_path.items()], slips


def _fault(path: KeyPath, errors: list[Any], data: object, model: type[BaseModel]) -> Fault:
    """What pydantic says of one value; of a union it says something for each of its kinds."""
    key, first = _name(path, data), errors[0]
    message = " or ".join(dict.fromkeys(_message(one, path) for one in errors))
    if first["type"] == "extra_forbidden":
        return Fault(key, f"unknown key{_suggestion(path, data, model)}")
    if first["type"] == "missing":
        return Fault(key, "this key is required")
    if first["type"] != "value_error":
        head, *more = message.split(" or input should be ")
        message = f"{' or '.join([head, *more])}, not {_shown(first['input'])}"
        choices = [name for one in errors for name in re.findall(r"'([^']*)'", str(one.get("ctx", {}).get("expected")))]
        near = probably_meant(first["input"], choices) if isinstance(first["input"], str) else []
        return Fault(key, f"{message}; did you mean {_either(near)}?" if near else message)
    # A section's own check names the key that it is about.
    inner = re.match(r"(\w+(?:\.\w+)*): ", message)
    if inner and (path == () or inner[1] in _keys(path, model)):
        return Fault(f"{key}.{inner[1]}".removeprefix("."), message[inner.end() :])
    return Fault(key, message)


def _message(error: Any, path: KeyPath) -> str:
    """pydantic's own words, but for what would name its machinery."""
    if error["type"] in ("model_type", "model_attributes_type"):
        return "input should be a table"
    if error["type"] == "list_type" and path == ("task",):
        return "input should be a table, or a list of tables"
    text = str(error["msg"]).removeprefix("Value error, ")
    last = error["loc"][-1] if error["loc"] else ""
    if isinstance(last, int) and len(error["loc"]) > len(path) and text.startswith("Input should"):
        return f"its item {last + 1} {text.removeprefix('Input ')}"
    return text[:1].lower() + text[1:]


def _suggestion(path: KeyPath, data: object, model: type[BaseModel]) -> str:
    """What was probably meant by an unknown key: one of the same table, of another, or where to look."""
    name = str(path[-1])
    near = probably_meant(name, _keys(path[:-1], model))
    elsewhere = [key for key in _all_keys(model) if key.rpartition(".")[2] == name]
    if not near and not elsewhere:
        names = [table["name"] for table in _tables(path, data) if isinstance(table.get("name"), str)]
        near = probably_meant(name, names) if len(names) > 1 else []
    near = near or elsewhere[:2]
    if near:
        return f"; did you mean {_either(near)}?"
    return f"; {_EVERY_KEY}" if model is SearchSpace else f"; there are {', '.join(_keys(path[:-1], model))}"


_EVERY_KEY = "digits.toml has every key ('lossforge list spaces' tells where it lies)"


def _meant_here(path: KeyPath, data: object, model: type[BaseModel]) -> str:
    """The key of the same table that was probably meant, unless it is there too."""
    table: Any = data
    for part in path[:-1]:
        table = _step(table, part)
    near = probably_meant(str(path[-1]), _keys(path[:-1], model))
    return next((key for key in near if key not in table), "")


def _without(data: object, slips: list[_Slip]) -> object:
    """The tables with every unknown key left out, or called what it was probably meant to be."""
    repaired: Any = copy.deepcopy(data)
    for path, name in slips:
        table = repaired
        for part in path[:-1]:
            table = _step(table, part)
        value = table.pop(path[-1])
        if name and name not in table:
            table[name] = value
    return repaired


def _in_data(loc: KeyPath, data: object, kind: str) -> KeyPath:
    """The part of an error's place that is in the data: pydantic goes on with the kinds of a union."""
    value: Any = data
    path: list[str | int] = []
    for number, part in enumerate(loc):
        if isinstance(part, str) and part.startswith("["):
            continue  # a form that a value may have
        try:
            value = _step(value, part)
        except (LookupError, TypeError):
            return (*path, part) if kind == "missing" and number == len(loc) - 1 else tuple(path)
        path.append(part)
    return tuple(path)


def _step(value: Any, part: str | int) -> Any:
    # A single task may be a table, and is then read as the first of a list.
    if isinstance(value, dict) and part == 0:
        return value
    if isinstance(value, dict):
        return value[part]
    if isinstance(value, list | tuple) and isinstance(part, int):
        return value[part]
    raise TypeError(part)


def _name(path: KeyPath, data: object) -> str:
    """Dotted; a table of several goes by its name or number, and one alone needs neither."""
    parts: list[str] = []
    value: Any = data
    for part in path:
        try:
            whole, value = value, _step(value, part)
        except (LookupError, TypeError):
            whole, value = None, None
        if isinstance(part, str) or not isinstance(value, dict):
            parts.append(str(part))
        elif isinstance(whole, list) and len(whole) > 1:
            name = value.get("name")
            parts.append(name if isinstance(name, str) and name else str(part))
    return ".".join(parts)


def _tables(path: KeyPath, data: object) -> list[dict[str, Any]]:
    """The tables of the list that the path leads into."""
    listed = data.get(str(path[0])) if isinstance(data, dict) else None
    return [table for table in listed if isinstance(table, dict)] if isinstance(listed, list) else []


def _keys(path: KeyPath, model: type[BaseModel]) -> list[str]:
    """Keys of the section that the path leads to; none where it leads to no section."""
    section: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, str) and section is not None:
            field = section.model_fields.get(part)
            section = next(_sections(field.annotation), None) if field else None
    return [] if section is None else [*section.model_fields]


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a model, those of sections included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for section in _sections(field.annotation):
            yield from _all_keys(section, f"{prefix}{name}.")


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
