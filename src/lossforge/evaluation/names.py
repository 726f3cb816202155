"""Names in a space that only the rooms of data, networks and losses know: whether there are such."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lossforge.errors import DataError, FormulaError, LossError, LossforgeError, ModelError, SpaceError, offered
from lossforge.expression.heads import HEADS
from lossforge.spaces.faults import Fault, in_words
from lossforge.spaces.mask_keys import has_masks
from lossforge.spaces.schema import SearchSpace


def check_names(space: SearchSpace, origin: str = "") -> None:
    """Refuse data sets, networks, trainings and rivals that do not exist.

    Raises DataError, ModelError or SpaceError; where several are wrong SpaceError, with all of them.
    """
    found = list(_faults(space.model_dump(mode="json"), imports=True))
    if len(found) == 1:
        fault, error = found[0]
        raise type(error)(str(fault)) from error.__cause__
    if found:
        raise SpaceError(in_words([fault for fault, _ in found], origin or space.name))


def faults_of_names(data: object) -> list[Fault]:
    """The same faults in tables that are no whole space, without importing anything of the user's own."""
    return [fault for fault, _ in _faults(data, imports=False)]


def _faults(data: object, *, imports: bool) -> Iterator[tuple[Fault, LossforgeError]]:
    if not isinstance(data, dict):
        return
    tasks = data.get("task")
    tables = [table for table in (tasks if isinstance(tasks, list) else [tasks]) if isinstance(table, dict)]
    for number, table in enumerate(tables):
        place = f"task.{table.get('name') or number}" if len(tables) > 1 else "task"
        for key, check in _checks(table, imports):
            try:
                check()
            except (DataError, ModelError) as error:
                yield Fault(f"{place}.{key}", str(error).removeprefix(f"task.{key}: ")), error
    validation = data.get("validation")
    head = "sigmoid" if _head_of(tables) == "sigmoid" else "softmax"
    plain = any(not has_masks(str(table.get("data") or "masks:")) for table in tables)
    for key in ("rivals", "known"):
        named = validation.get(key) if isinstance(validation, dict) else None
        for rival in named if isinstance(named, list) else ():
            try:
                _check_rival(rival, head, table=plain)
            except SpaceError as error:
                told = str(error).removeprefix("validation.rivals: ")
                yield Fault(f"validation.{key}", told), SpaceError(f"validation.{key}: {told}")
    yield from _faults_of_fusion(data.get("fusion"), _head_of(tables), table=plain)


def _head_of(tables: list[dict[str, object]]) -> str:
    found = next((table.get("head") for table in tables if table.get("head") in HEADS), "softmax")
    return str(found)


def _faults_of_fusion(section: object, head: str, *, table: bool) -> Iterator[tuple[Fault, LossforgeError]]:
    """Losses to be added that do not exist, or not behind the head."""
    losses = section.get("losses") if isinstance(section, dict) else None
    for name in losses if isinstance(losses, list) else ():
        if isinstance(name, str) and name:
            try:
                _check_part(name, head, table=table)
            except SpaceError as error:
                yield Fault("fusion.losses", str(error)), error


def _check_part(name: str, head: str, *, table: bool) -> None:
    from lossforge.losses.library import ALIASES, LIBRARY, loss_spec, named_sum

    try:
        found = named_sum(name)
        if found is None or len(found.parts) > 1 or found.parts[0].weight != 1:
            raise SpaceError(f"'{name}' is not a loss of the library{offered(name, [*LIBRARY, *ALIASES])}")
        loss_spec(name, head=head, table=table)
    except (FormulaError, LossError) as error:
        raise SpaceError(str(error)) from None


def _checks(table: dict[str, object], imports: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    """What there is to check of a task, by key."""
    from lossforge.data.datasets import find_source
    from lossforge.models.imported import import_function
    from lossforge.models.registry import PUBLISHED_WIDTH, check_activation, check_model

    python, data, model, width = (table.get(key) for key in ("python", "data", "model", "width"))
    if isinstance(python, str) and python:
        if imports:
            yield "python", lambda: import_function(python, "task.python")
        return
    if isinstance(data, str) and data:
        yield "data", lambda: find_source(data)
    probe = table.get("probe")
    if isinstance(probe, str) and probe:
        yield "probe", lambda: _check_probe(probe)
    activation, network = table.get("activation"), model if isinstance(model, str) else ""
    if isinstance(activation, str):
        taker = network if imports or ":" not in network else ""
        yield "activation", lambda: check_activation(activation, taker)
    if isinstance(model, str) and (imports or ":" not in model):
        number = width if isinstance(width, int) else PUBLISHED_WIDTH
        yield "model", lambda: check_model(model, number)


def _check_probe(data: str) -> None:
    from lossforge.data.datasets import find_source

    try:
        find_source(data)
    except DataError as error:
        raise DataError(f"task.probe: {str(error).removeprefix('task.data: ')}") from None


def _check_rival(rival: object, head: str, *, table: bool) -> None:
    from lossforge.losses.library import ALIASES, LIBRARY, loss_spec

    if isinstance(rival, str) and rival.split("(")[0] not in {*LIBRARY, *ALIASES}:
        raise SpaceError(f"validation.rivals: '{rival}' is not a loss of the library{offered(rival, LIBRARY)}")
    if isinstance(rival, str):
        try:
            loss_spec(rival, head=head, table=table)
        except LossError as error:
            raise SpaceError(f"validation.rivals: {error}") from None
