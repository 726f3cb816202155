"""Checks of a Ray that a first search on it would otherwise stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lossforge.errors import LossforgeError
from lossforge.inspection.doctor import tiny_training

_SHARED_GIB = 0.25
_TEMPORARY_GIB = 1.0

Row = tuple[str, str, str]


def examine_ray(
    address: str, gpus_per_worker: float | None, data: str, resize: int | None, data_dir: str
) -> list[dict[str, str]]:
    """Checks of the Ray at ``address`` ("": one is started here) and of each machine in it, as `doctor.examine`."""
    from lossforge.data.places import using_data_folder

    rows: list[Row] = []
    try:
        with using_data_folder(data_dir):
            rows.extend(_rows(address, gpus_per_worker, {"data": data, "resize": resize}))
    except LossforgeError as error:
        rows.append(("Ray", "bad", str(error)))
    return [{"check": name, "state": state, "told": told} for name, state, told in rows]


def _rows(address: str, gpus_per_worker: float | None, task: dict[str, Any]) -> Iterator[Row]:
    from lossforge.evaluation.records import request_to_text
    from lossforge.executors.ray_pool import RayExecutor, import_ray
    from lossforge.executors.ray_session import environment
    from lossforge.executors.trainee import data_seen
    from lossforge.spaces.load import validate_space

    given = {} if gpus_per_worker is None else {"gpus_per_worker": gpus_per_worker}
    execution = {"executor": "ray", "address": address, "workers": 0 if address else 1, **given}
    space = validate_space({"name": "doctor", "task": [task], "execution": execution}, "doctor")
    with environment(address):
        yield "Ray", "good", f"{import_ray().__version__}"
    here = data_seen(task)
    yield _data_row("data here", task["data"], here, here)
    executor = RayExecutor(space.execution)
    try:
        yield "device", "good", f"workers train on {executor.device}"
        for name, facts in executor.examine(request_to_text(tiny_training()), task):
            yield from _machine(name, facts, task["data"], here)
    finally:
        executor.close()


def _machine(name: str, facts: dict[str, Any], data: str, here: dict[str, Any]) -> Iterator[Row]:
    if "idle" in facts:
        yield name, "note", facts["idle"]
        return
    if facts["fault"]:
        yield name, "bad", facts["fault"]
    if "versions" not in facts:
        return
    shared, temporary = facts["shared_gib"], facts["temporary_gib"]
    if shared is not None:
        state = "good" if shared > _SHARED_GIB else "bad"
        yield f"{name}: /dev/shm", state, f"{shared:.1f} GiB free (more than {_SHARED_GIB:g} is needed)"
    state = "good" if temporary > _TEMPORARY_GIB else "bad"
    yield f"{name}: temporary folder", state, f"{temporary:.1f} GiB free (more than {_TEMPORARY_GIB:g} is needed)"
    if facts["gpu"]:
        yield f"{name}: GPU", "good", facts["gpu"]
    yield _data_row(f"{name}: data", data, facts["data"], here)
    yield _training_row(f"{name}: worker", facts)


def _data_row(name: str, data: str, seen: dict[str, Any], here: dict[str, Any]) -> Row:
    if "fault" in seen:
        return name, "bad", seen["fault"]
    if "fault" not in here and seen != here:
        return name, "bad", f"'{data}' is not what it is on this machine; give both the same files"
    return name, "good", f"'{data}' with {seen['samples']} training samples"


def _training_row(name: str, facts: dict[str, Any]) -> Row:
    from lossforge.evaluation.records import Outcome, result_from_text

    if "told" in facts:
        return name, "bad", facts["told"]
    if "result" not in facts:
        return name, "bad", "did not train"
    result = result_from_text(facts["result"])
    if set(result.outcomes) != {Outcome.TRAINED}:
        return name, "bad", f"could not train: {result.reasons[0]}"
    return name, "good", f"lossforge {facts['versions']['lossforge']} trained a network in {result.seconds:.2f} s"
