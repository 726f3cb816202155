"""Reading plans, and what a study of one is as a search space: what trains it knows spaces only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossforge.errors import SpaceError, offered
from lossforge.spaces.faults import find_faults, in_words
from lossforge.spaces.load import apply_overrides, overridden_keys, read_toml, validate_space
from lossforge.spaces.plan_schema import MOST_SEEDS, ContenderSection, Plan, StudySection
from lossforge.spaces.schema import SearchSpace
from lossforge.spaces.shipped import shipped_plans

TRANSFER = "transfer"
"""The plan that leads from a space to larger data and other networks; each shipped space has its own."""


def load_plan(path: Path, overrides: list[str] | None = None) -> Plan:
    """Read a plan from TOML, with ``KEY=VALUE`` overrides. Raises SpaceError that names file and keys."""
    return read_plan(read_toml(path), str(path), overrides)


def read_plan(tables: Mapping[str, object], origin: str, overrides: list[str] | None = None) -> Plan:
    """The plan in tables from ``origin``. Raises SpaceError with all its faults, those of its studies included."""
    data = copy.deepcopy(dict(tables))
    if "study" not in data and {"task", "evolution", "expression", "fitness"} & set(data):
        raise SpaceError(f"{origin}: is a search space and no plan (it has no [[study]]); give it with --space")
    _refuse_other_studies(data, overrides or [])
    given = overridden_keys(data, overrides or [])
    apply_overrides(data, overrides or [])
    faults = find_faults(data, Plan)
    if faults:
        raise SpaceError(in_words(faults, origin, given))
    plan = Plan.model_validate(data)
    for study in plan.study:
        study_space(plan, study, origin=origin)
        for one in (*plan.losses, *plan.rivals.named):
            if isinstance(one, ContenderSection):
                study_space(plan, study, one, origin=origin)
    return plan


def _refuse_other_studies(data: Mapping[str, Any], overrides: list[str]) -> None:
    """Raise SpaceError for an override of a study that the plan does not have: it would be a key of every one."""
    listed = data.get("study")
    studies = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [str(one.get("name")) for one in studies]
    known = {*names, *StudySection.model_fields, *map(str, range(len(names)))}
    for override in overrides:
        table, _, rest = override.partition("=")[0].strip().partition(".")
        first = rest.partition(".")[0]
        if table == "study" and "." in rest and first not in known:
            raise SpaceError(f"--set {override}: there is no study '{first}'{offered(first, names)}")


def study_space(
    plan: Plan, study: StudySection, contender: ContenderSection | None = None, *, origin: str = ""
) -> SearchSpace:
    """A study as a space of one task, with what a contender has of its own.

    Raises SpaceError that names the study, or the contender too, and the keys.
    """
    own = ContenderSection(loss="-") if contender is None else contender
    task = _over(_over(plan.task, study.task), own.task)
    if own.head is not None:
        task["head"] = own.head
    task.setdefault("name", study.name)
    data: dict[str, Any] = {
        "name": study.name,
        "seed": plan.seed,
        "task": task,
        "recipe": _over(_over(plan.recipe, study.recipe), own.recipe),
        "budget": plan.budget.model_dump(mode="json"),
        "execution": plan.execution.model_dump(mode="json"),
    }
    place = f"{origin or plan.name}, study '{study.name}'" + (f", '{own.title}'" if contender is not None else "")
    return validate_space(data, place).decided()


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables with the keys of another over them, tables within them too."""
    found = copy.deepcopy(dict(below))
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _over(found[key], value) if both else copy.deepcopy(value)
    return found


def plan_of_space(space: SearchSpace, losses: list[str], seeds: int | None = None) -> Plan:
    """A plan that compares losses on the tasks of a space as its re-validation would: tuned alike, on test data."""
    validation = space.validation
    recipe = space.recipe.validated().model_dump(mode="json")
    if not space.recipe.steps:
        recipe["epochs"] = validation.epochs or 2 * space.recipe.epochs
    else:
        recipe["steps"] = 2 * space.recipe.steps
    data = {
        "name": space.name,
        "description": f"losses in the task of the space '{space.name}'",
        "seed": space.seed,
        "seeds": validation.seeds,
        "margin": validation.margin,
        "looks": validation.looks,
        "losses": losses,
        "recipe": recipe,
        "rivals": {"named": validation.rivals, "best": validation.best_known, "among": validation.known},
        "tuning": {
            "learning_rates": validation.learning_rates,
            "seeds": validation.tuning_seeds,
            "coarse_seeds": validation.coarse_seeds,
        },
        "study": [{"name": task.title, "task": task.model_dump(mode="json", exclude_none=True)} for task in space.task],
        "budget": space.budget.model_dump(mode="json"),
        "execution": space.execution.model_dump(mode="json"),
    }
    plan = read_plan(data, space.name)
    return plan if seeds is None else with_seeds(plan, seeds)


def with_seeds(plan: Plan, seeds: int) -> Plan:
    """The plan with so many seeds at most in every study. Raises SpaceError for fewer than 2, or too many."""
    if not 2 <= seeds <= MOST_SEEDS:
        raise SpaceError(f"--seeds: must be 2 to {MOST_SEEDS:,}, not {seeds:,}")
    studies = [one.model_copy(update={"seeds": None}) for one in plan.study]
    return plan.model_copy(update={"seeds": seeds, "study": studies})


def dump_plan(plan: Plan) -> str:
    """The whole plan as TOML, every default written out."""
    import tomli_w

    return tomli_w.dumps(plan.model_dump(mode="json", exclude_none=True))


def find_plan(given: str | Path, space: str = "") -> Path:
    """The file that is given, or the shipped plan of that name; "transfer" is that of the ``space``.

    Raises SpaceError where there is neither.

    >>> find_plan("transfer", "digits").name
    'transfer_digits.toml'
    """
    path = Path(given)
    if path.is_file():
        return path
    shipped, name = shipped_plans(), path.name.removesuffix(".toml")
    wanted = f"{TRANSFER}_{space}" if name == TRANSFER and space else name
    if path == Path(path.name) and wanted in shipped:
        return shipped[wanted]
    if name == TRANSFER:
        have = ", ".join(one.removeprefix(f"{TRANSFER}_") for one in shipped if one.startswith(f"{TRANSFER}_"))
        raise SpaceError(
            f"--plan {given}: the space '{space}' has no plan of that name; write one of your own and give its path "
            f"(there are those of the spaces {have})"
        )
    raise SpaceError(f"--plan {given}: there is no such file, and no shipped plan of that name{offered(name, shipped)}")
