"""Reading, overriding, freezing and comparing search spaces."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossforge.errors import SpaceError
from lossforge.spaces.evolution_section import as_before_surrogates
from lossforge.spaces.faults import Fault, find_faults, in_words, named
from lossforge.spaces.schema import SearchSpace
from lossforge.spaces.section import NOTHING, Typed
from lossforge.spaces.task_section import as_before_switches

RESUMABLE = ("budget.", "execution.")
"""Keys that may change on resume: they decide how much is done and where, never what a training gives."""

Further = Callable[[object], Sequence[Fault]] | None
"""Looks through a space's tables for faults that the schema cannot know of, such as names of networks."""


def load_space(path: Path, overrides: list[str] | None = None, further: Further = None) -> SearchSpace:
    """Read a space from TOML, with ``KEY=VALUE`` overrides. Raises SpaceError that names file and keys."""
    return read_space(read_toml(path), str(path), overrides, further)


def read_space(
    tables: Mapping[str, object], origin: str, overrides: list[str] | None = None, further: Further = None
) -> SearchSpace:
    """The space in tables from ``origin``, with ``KEY=VALUE`` overrides. Raises SpaceError with all its faults."""
    data = copy.deepcopy(dict(tables))
    if "study" in data and "evolution" not in data:
        raise SpaceError(f"{origin}: is a plan and no search space (it has [[study]]); give it with --plan")
    given = overridden_keys(data, overrides or [])
    apply_overrides(data, overrides or [])
    return validate_space(data, origin, given, further)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises SpaceError where there is none, or it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpaceError(
            f"{path}: there is no such file; 'lossforge list spaces' shows the spaces that there are"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read ({error}); give the path of a TOML file") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SpaceError(f"{path}: is nested too deeply to be a search space") from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise SpaceError(f"{path}: is not valid TOML: {error}") from None


def validate_space(
    data: object, origin: str, given: Mapping[str, str] | None = None, further: Further = None
) -> SearchSpace:
    """Check a space's tables. Raises SpaceError that names ``origin``, the keys and what was expected.

    ``given`` has the override of each key that comes from one; ``further`` looks for what no schema knows, where
    something else is wrong too.
    """
    faults = find_faults(data)
    if faults:
        known = {fault.key for fault in faults}
        faults += [fault for fault in (further(data) if further else ()) if fault.key not in known]
        raise SpaceError(in_words(faults, origin, given))
    return SearchSpace.model_validate(data)


def validate_frozen(data: object, origin: str) -> SearchSpace:
    """Check a space that a run keeps, maybe an older one's: switches that did not exist then are off."""
    tasks = data.get("task") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(tasks, dict | list):
        tables = tasks if isinstance(tasks, list) else [tasks]
        data = {**data, "task": [as_before_switches(one) if isinstance(one, dict) else one for one in tables]}
    if isinstance(data, dict) and isinstance(data.get("fitness", {}), dict):
        before = {"fresh_seeds": 0, "race_error": 0.0}
        data = {"reference": {"losses": []}, **data, "fitness": {**before, **data.get("fitness", {})}}
    if isinstance(data, dict):
        evolution = data.get("evolution", {})
        if isinstance(evolution, dict):
            data = {**data, "evolution": as_before_surrogates(evolution)}
    return validate_space(data, origin)


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> None:
    """Set ``a.b=VALUE`` in place; VALUE is read as TOML, and as typed text where it is not TOML (see `Typed`).

    ``null`` unsets a key that has no value by default, and ``task.NAME=null`` leaves a task out.

    Of several tables of one name, as tasks are, all are set; ``task.NAME.b=VALUE`` or ``task.0.b=VALUE`` sets one.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            raise SpaceError(f"--set {override}: expected KEY=VALUE, such as evolution.population=60")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = Typed(text.strip())
        *tables, last = key.split(".")
        targets: list[Any] = [data]
        for table in tables:
            targets = [step for target in targets for step in _steps(target, table, override)]
        left_out = [_left_out(target, last) for target in targets if value in NOTHING]
        if any(left_out):
            continue
        ends = [item for target in targets for item in (target if isinstance(target, list) else [target])]
        for target in ends:
            if not isinstance(target, dict):
                raise SpaceError(f"--set {override}: there is no key '{key}'")
            target[last] = value


def _left_out(target: Any, name: str) -> bool:
    """Whether a table of that name or number was in the list, which is left without it."""
    found = _of_name(target, name) if isinstance(target, list) else []
    for item in found:
        target.remove(item)
    return bool(found)


def overridden_keys(data: dict[str, Any], overrides: list[str]) -> dict[str, str]:
    """The override of each key, and table, that the file does not have, or that it sets to something else."""
    found = {}
    for override in overrides:
        parts = [part.strip() for part in override.partition("=")[0].split(".")]
        found[".".join(parts)] = override
        if parts[0] not in data:
            found[parts[0]] = override
    return found


def _steps(target: Any, table: str, override: str) -> list[Any]:
    """What ``table`` leads to: of a list its one item with that name or number, else that table of every item."""
    if isinstance(target, list):
        chosen = _of_name(target, table)
        return chosen or [step for item in target for step in _steps(item, table, override)]
    if not isinstance(target, dict):
        raise SpaceError(f"--set {override}: '{table}' is not inside a table")
    return [target.setdefault(table, {})]


def _of_name(tables: list[Any], name: str) -> list[Any]:
    return [
        item
        for number, item in enumerate(tables)
        if name == str(number) or (isinstance(item, dict) and item.get("name") == name)
    ]


def dump_space(space: SearchSpace) -> str:
    """The whole space as TOML, every default written out."""
    import tomli_w

    return tomli_w.dumps(space.model_dump(mode="json", exclude_none=True))


def changed_keys(old: SearchSpace, new: SearchSpace) -> list[str]:
    """Dotted names of the keys whose values differ, sorted."""
    tables = max((space.model_dump(mode="json") for space in (old, new)), key=lambda data: len(data["task"]))
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return sorted(named(key, tables) for key in {*before, *after} if before.get(key) != after.get(key))


def forbidden_changes(old: SearchSpace, new: SearchSpace) -> list[str]:
    """The changed keys that may not change on resume."""
    return [key for key in changed_keys(old, new) if not key.startswith(RESUMABLE)]


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict):
        return {name: leaf for key, value in data.items() for name, leaf in _flat(value, f"{prefix}{key}.").items()}
    if isinstance(data, list) and any(isinstance(item, dict) for item in data):
        return _flat(dict(enumerate(data)), prefix)
    return {prefix.rstrip("."): data}
