"""Comparing losses by a plan: any that are named, or the best of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from lossforge.api import (
    Execution,
    changed_space,
    overrides_of,
    places_of,
    refuse_changed_data,
    shown_progress,
    told_to_stop,
)
from lossforge.data.places import using_data_folder
from lossforge.errors import InterruptedSearchError, SpaceError, StoreError, given_path, whole_number
from lossforge.interrupts import stop_on_signal
from lossforge.spaces.base_folder import working_from
from lossforge.spaces.load import load_space
from lossforge.spaces.plan_schema import Plan
from lossforge.spaces.plans import dump_plan, find_plan, load_plan, plan_of_space, with_seeds
from lossforge.spaces.shipped import find_space
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.search.progress import Progress
    from lossforge.validation.comparison import Comparison

DEFAULT_SPACE = "digits"
"""The space whose task losses are compared on where neither a space nor a plan is given."""


def are_runs(texts: Sequence[str]) -> bool:
    """Whether all of two texts or more are folders of searches, and so no losses."""
    files = ("manifest.json", "space.toml")
    return len(texts) > 1 and all((Path(text) / file).is_file() for text in texts for file in files)


def compare(
    losses: Sequence[str] = (),
    *,
    space: str | Path | None = None,
    plan: str | Path | None = None,
    seeds: int | None = None,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | bool | None = None,
    **execution: Unpack[Execution],
) -> list[Comparison]:
    """Compare losses, names or formulas, with rivals that are tuned alike, on test data with fresh seeds.

    ``plan`` is the path of a plan or the name of a shipped one: its losses, and these, in its studies. ``space`` is
    one of a search: these losses in its tasks, beside its rivals (default: "digits"). ``seeds`` are the most of each
    study. ``output`` is the folder (default: ``runs/compare-NAME-TIME``) that everything is kept in: the ledger from
    which the same call goes on after a stop, tables as CSV and LaTeX, diagrams, and the plan. ``overrides`` are
    ``"KEY=VALUE"`` texts for the plan's or the space's keys; see `lossforge.search` for the others. Raises
    LossforgeError.
    """
    if isinstance(losses, str):
        losses = [losses]
    asked = None if seeds is None else whole_number(seeds, "seeds", 2)
    wanted, origin = plan_of(list(losses), space, plan, asked, overrides_of(overrides, execution))
    base = Path.cwd()
    path = _default_folder(wanted) if output is None else given_path(output, "output")
    with working_from(base), using_data_folder(wanted.execution.data_dir), shown_progress(progress) as told:
        return _compare(wanted, origin, path, told)


def plan_of(
    losses: list[str], space: str | Path | None, plan: str | Path | None, seeds: int | None, changes: list[str]
) -> tuple[Plan, str]:
    """The plan that is meant, and what errors call it. Raises SpaceError."""
    if space is not None and plan is not None:
        raise SpaceError("--space and --plan: give one of them; a plan says what its studies are")
    if plan is not None:
        file = find_plan(plan)
        found = load_plan(file, changes)
        if losses:
            found = found.model_copy(update={"losses": [*found.losses, *losses]})
        return found if seeds is None else with_seeds(found, seeds), str(file)
    if not losses:
        raise SpaceError("there is no loss to compare: give names or formulas, or a plan with --plan")
    from lossforge.evaluation.names import faults_of_names

    chosen = load_space(find_space(space or DEFAULT_SPACE), changes, faults_of_names).decided()
    return plan_of_space(chosen, losses, seeds), f"the space '{chosen.name}'"


def _default_folder(plan: Plan) -> Path:
    return Path("runs") / f"compare-{plan.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _compare(plan: Plan, origin: str, path: Path, progress: Progress) -> list[Comparison]:
    from lossforge.store.plan_folder import PlanFolder
    from lossforge.validation.plans import Place, check_studies, run_plan, said_twice, studies_of

    progress.phase("reading the data")
    _check_published(plan)
    studies = studies_of(plan, origin=origin)
    digests = check_studies(studies, origin)
    folder = PlanFolder.open_or_create(path, plan, digests)
    _refuse_other_data(folder.manifest.get("data") or {}, digests, path)
    for line in [*said_twice(plan, studies), f"everything is kept in {path}"]:
        progress.line(line)
    place = Place(path, folder.ledger_file, folder.log, "compare --output", path)
    with folder.locked(), stop_on_signal(told_to_stop) as stop:
        try:
            rows = run_plan(plan, studies, place, stop=stop, progress=progress)
        except InterruptedSearchError:
            raise InterruptedSearchError(
                f"stopped; what was finished is recorded: the same command with --output {path} goes on"
            ) from None
        _write(path, rows, plan, progress)
    return rows


def _check_published(plan: Plan) -> None:
    from lossforge.validation.published import check_studies_named

    if plan.published:
        check_studies_named([study.name for study in plan.study], plan.published)


def _write(folder: Path, rows: list[Comparison], wanted: Plan, progress: Progress) -> None:
    from lossforge.report.comparison_files import write_files
    from lossforge.validation.published_text import write_beside

    write_files(folder, rows)
    if wanted.published:
        for line in write_beside(folder, rows, wanted.published).splitlines():
            progress.line(line)


def _refuse_other_data(before: dict[str, str], now: dict[str, str], path: Path) -> None:
    changed = sorted(name for name in now if name in before and before[name] != now[name])
    if changed:
        raise StoreError(
            f"{path}: '{changed[0]}' is not what it was when the comparison began; put the old data back, or choose "
            "another folder with --output"
        )


def validate_by_plan(
    run: str | Path,
    plan: str | Path,
    *,
    top: int | None = None,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | bool | None = None,
    **execution: Unpack[Execution],
) -> list[Comparison]:
    """Compare the best ``top`` losses of a run by a plan; "transfer" is the one that comes with the run's space.

    Trainings go into the run's ledger, results into ``validation/PLAN`` in its folder; see `compare`. Raises
    LossforgeError.
    """
    from lossforge.validation.plans import Place, check_studies, run_plan, studies_of
    from lossforge.validation.protocol import best_of_run, log_rows

    folder = RunFolder.open(given_path(run, "a run"))
    folder.refuse_other_scores()
    own = overrides_of((), execution)
    space = changed_space(folder, own)
    file = find_plan(plan, space.name)
    wanted = load_plan(file, [*overrides, *own])
    if seeds is not None:
        wanted = with_seeds(wanted, whole_number(seeds, "seeds", 2))
    count = space.validation.top if top is None else whole_number(top, "top", 1)
    data_dir = wanted.execution.data_dir
    with shown_progress(progress) as told, places_of(folder, space), using_data_folder(data_dir):
        progress_text = f"comparing the best losses by the plan '{wanted.name}'"
        told.phase(progress_text)
        refuse_changed_data(folder, space)
        _check_published(wanted)
        found = studies_of(wanted, best_of_run(folder, space, count), str(file))
        check_studies(found, str(file))
        results = folder.validation_folder / wanted.name
        with told_as_store_error(results):
            results.mkdir(parents=True, exist_ok=True)
        write_atomically(results / "plan.toml", dump_plan(wanted))
        place = Place(results, folder.ledger_file, folder.log, f"validate --plan {plan}", folder.path)
        with folder.locked(), stop_on_signal(told_to_stop) as stop:
            try:
                rows = run_plan(wanted, found, place, stop=stop, progress=told)
            except InterruptedSearchError:
                raise InterruptedSearchError(
                    "stopped; what was finished is recorded: go on with "
                    f"'lossforge validate {folder.path} --plan {plan}'"
                ) from None
            _write(results, rows, wanted, told)
            log_rows(folder, rows)
    return rows
