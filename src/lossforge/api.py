"""The three things that people do, as functions: search, resume, validate."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from lossforge.data.places import using_data_folder
from lossforge.errors import (
    DataError,
    ExecutionError,
    InterruptedSearchError,
    LossforgeError,
    SpaceError,
    given_path,
    whole_number,
)
from lossforge.interrupts import stop_on_signal
from lossforge.run import Run
from lossforge.spaces.base_folder import working_from
from lossforge.spaces.load import apply_overrides, load_space, read_space, validate_space
from lossforge.spaces.schema import SearchSpace
from lossforge.spaces.shipped import find_space
from lossforge.store.run_folder import RunFolder, refuse_changes

if TYPE_CHECKING:
    from lossforge.executors.protocol import Stop
    from lossforge.search.hall_of_fame import Entry
    from lossforge.search.progress import Progress
    from lossforge.validation.comparison import Comparison


class Execution(TypedDict, total=False):
    """Where trainings run; changes no result. ``executor`` is "local" or "ray", ``device`` "auto", "cpu" or "cuda"."""

    executor: str | None
    workers: int | None
    device: str | None
    address: str | None
    gpus_per_worker: float | None
    cpus_per_worker: float | None
    data_dir: str | Path | None


def search(
    space: str | Path | Mapping[str, object],
    *,
    run: str | Path | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    seed_from: Sequence[str | Path] = (),
    progress: Progress | bool | None = None,
    **execution: Unpack[Execution],
) -> Run:
    """Search a space to the end of its budget, and re-validate the best.

    ``space`` is the path of a TOML file, the name of a shipped space such as ``"digits"``, or a space's tables as a
    dict. ``run`` is the new run's folder (default: ``runs/NAME-TIME``), ``seed`` the run's (default: the space's), and
    ``overrides`` are ``"KEY=VALUE"`` texts. ``seed_from`` are runs' folders, names of known losses, and formulas to
    start from. ``progress`` True shows it on standard error, or in a notebook; None does so in a notebook alone.
    ``execution`` may give ``executor``, ``workers``, ``device``, ``address``, ``gpus_per_worker``, ``cpus_per_worker``
    and ``data_dir``. Raises LossforgeError.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ExecutionError(
            "lossforge.search was called while a worker process was importing the script; put the call under "
            "if __name__ == '__main__':"
        )
    loaded, digests = ready_space(space, seed=seed, overrides=overrides, seed_from=seed_from, **execution)
    path = Path("runs") / f"{loaded.name}-{time.strftime('%Y%m%d-%H%M%S')}" if run is None else given_path(run, "run")
    folder = RunFolder.create(path, loaded, digests)
    with shown_progress(progress) as told:
        try:
            return _go(folder, loaded, told)
        except InterruptedSearchError:
            raise
        except LossforgeError:
            # What is refused before anything is trained leaves nothing behind.
            if not told.trainings:
                folder.discard()
            raise


def ready_space(
    space: str | Path | Mapping[str, object],
    *,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    seed_from: Sequence[str | Path] = (),
    **execution: Unpack[Execution],
) -> tuple[SearchSpace, dict[str, str]]:
    """A space as a search begins with it, and the sha256 of what is the user's own; nothing is written.

    See `search` for the arguments. Raises LossforgeError where data, networks or the machine do not fit it.
    """
    from lossforge.evaluation.feasibility import with_split
    from lossforge.evaluation.names import check_names, faults_of_names

    changes = overrides_of(overrides, execution, seed)
    if isinstance(space, Mapping):
        origin = "the space"
        loaded = read_space(space, origin, changes, faults_of_names).decided()
    else:
        origin = str(space)
        loaded = load_space(find_space(space), changes, faults_of_names).decided()
    loaded = with_baseline(loaded)
    if seed_from:
        from lossforge.search.starting import started_from

        loaded = started_from(loaded, seed_from)
    with working_from(Path.cwd()), using_data_folder(loaded.execution.data_dir):
        check_names(loaded, origin)
        check_device(loaded)
        _refuse_streamed(loaded, origin)
        digests = check_data(loaded)
        loaded = with_split(loaded)
        if loaded.recipe.cohort == "auto" or loaded.recipe.backend == "trial":
            from lossforge.evaluation.calibrate import settled
            from lossforge.executors.devices import resolve_device

            loaded = settled(loaded, resolve_device(loaded.execution.device))
        if loaded.recipe.precision == "bfloat16":
            from lossforge.evaluation.precision import check_precision
            from lossforge.executors.devices import resolve_device

            check_precision(loaded.recipe, resolve_device(loaded.execution.device))
    return loaded, digests


def resume(
    run: str | Path,
    *,
    overrides: Sequence[str] = (),
    progress: Progress | bool | None = None,
    **execution: Unpack[Execution],
) -> Run:
    """Go on with a search where it stopped. Only budget and execution keys may be changed; see `search` for the others.

    Raises LossforgeError.
    """
    folder = RunFolder.open(given_path(run, "a run"))
    folder.refuse_other_scores()
    space = changed_space(folder, overrides_of(overrides, execution))
    with shown_progress(progress) as told:
        return _go(folder, space, told, resumed=True)


def validate(
    run: str | Path,
    *,
    top: int | None = None,
    seeds: int | None = None,
    rivals: Sequence[str] = (),
    progress: Progress | bool | None = None,
    **execution: Unpack[Execution],
) -> list[Comparison]:
    """Re-validate the best ``top`` losses of a run on ``seeds`` fresh seeds, beside the space's rivals.

    ``rivals`` are further ones, names or formulas; see `search` for the others. Raises LossforgeError.
    """
    from lossforge.validation.protocol import validate as run_validation
    from lossforge.validation.rivals import further_rivals

    folder = RunFolder.open(given_path(run, "a run"))
    folder.refuse_other_scores()
    space = changed_space(folder, overrides_of((), execution))
    further = further_rivals(rivals, space.head, table=not all(task.masks for task in space.task))
    watched = stop_on_signal(told_to_stop)
    with shown_progress(progress) as told, places_of(folder, space), folder.locked(), watched as stop:
        check_device(space)
        refuse_changed_data(folder, space)
        try:
            return run_validation(
                folder,
                space,
                stop=stop,
                progress=told,
                top=space.validation.top if top is None else whole_number(top, "top", 1),
                seeds=space.validation.seeds if seeds is None else whole_number(seeds, "seeds", 2),
                rivals=further,
            )
        except InterruptedSearchError:
            raise InterruptedSearchError(
                f"stopped; what was finished is recorded: go on with 'lossforge validate {folder.path}'"
            ) from None


def with_baseline(space: SearchSpace) -> SearchSpace:
    """The space with cross-entropy as it is behind its head for a seed, where it names no seeds of its own."""
    unasked = "seeds" not in space.expression.model_fields_set
    if space.head != "sigmoid" or not unasked or "sub" not in space.expression.primitives:
        return space
    from lossforge.losses.behind_heads import baseline

    expression = space.expression.model_copy(update={"seeds": [baseline(space.head).formula]})
    return space.model_copy(update={"expression": expression})


@contextmanager
def places_of(folder: RunFolder, space: SearchSpace) -> Iterator[None]:
    """Within it the run's relative paths lead where they led when it began, whatever the current folder is."""
    with working_from(folder.base_folder(space)), using_data_folder(space.execution.data_dir):
        yield


def changed_space(folder: RunFolder, overrides: list[str]) -> SearchSpace:
    """The run's space with overrides. Raises SpaceError for keys that may not change on resume."""
    old = folder.space()
    data = old.model_dump(mode="json", exclude_none=True)
    apply_overrides(data, overrides)
    given = data["execution"]["data_dir"]
    if isinstance(given, str) and given and given != old.execution.data_dir:
        # It was typed here, and the run may have begun elsewhere.
        data["execution"]["data_dir"] = str(Path(given).expanduser().absolute())
    new = validate_space(data, "--set")
    refuse_changes(old, new, "--set")
    return new


def _refuse_streamed(space: SearchSpace, origin: str) -> None:
    streamed = next((task.title for task in space.task if task.distributed), "")
    if streamed:
        raise SpaceError(
            f"{origin}: task.distributed: task '{streamed}' is one that several workers train together, which a search "
            "is not for; compare what a search found with lossforge validate RUN --plan PLAN"
        )


def check_device(space: SearchSpace) -> None:
    """Refuse a GPU that is not there; on a cluster it may be elsewhere."""
    if space.execution.executor == "local" and space.execution.device == "cuda":
        from lossforge.executors.devices import resolve_device

        resolve_device("cuda")


def check_data(space: SearchSpace) -> dict[str, str]:
    """Refuse data that cannot be read or do not fit their parts or their network, before anything is written.

    Returns the sha256 of each of the user's own data sets, networks and trainings, by what the task calls them.
    """
    from lossforge.data.datasets import forget_loaded, own_digest

    forget_loaded()
    tasks = [task for task in space.task if task.data]
    if tasks:
        from lossforge.evaluation.feasibility import check_fit

        for task in tasks:
            check_fit(task)
    return {task.data: digest for task in tasks if (digest := own_digest(task.data))} | _sources(space)


def _sources(space: SearchSpace) -> dict[str, str]:
    """sha256 of the file of each function of the user's own, by its import path, and of each file of labels."""
    from lossforge.data.human_labels import label_file_digest
    from lossforge.models.imported import source_digest

    paths = [path for task in space.task for path in (task.python, task.model) if ":" in path]
    files = [task.noise_file for task in space.task if task.noise_file]
    return {path: source_digest(path) for path in paths} | {file: label_file_digest(file) for file in files}


def refuse_changed_data(folder: RunFolder, space: SearchSpace) -> None:
    """Raise DataError where a data set, network or training of the user's own is not what it was at the beginning.

    What was trained before would be compared with what is trained now.
    """
    from lossforge.data.datasets import is_unchanged

    recorded = folder.manifest.get("data") or {}
    for path, digest in _sources(space).items():
        if path in recorded and digest != recorded[path]:
            raise DataError(
                f"'{path}': its file is not what it was when the run began; put the old one back, or start a new run"
            )
    for task in space.task:
        if task.data in recorded and not is_unchanged(task.data, recorded[task.data]):
            raise DataError(
                f"task.data: '{task.data}' is not what it was when the run began; put the old data back, or start a "
                "new run"
            )


def overrides_of(overrides: Sequence[str], execution: Mapping[str, object], seed: int | None = None) -> list[str]:
    """Overrides with those that arguments stand for. Raises SpaceError, and TypeError for an unknown argument."""
    unknown = sorted(set(execution) - Execution.__optional_keys__)
    if unknown:
        raise TypeError(f"unexpected argument '{unknown[0]}'; give other keys as overrides=['KEY=VALUE']")
    if isinstance(overrides, str) or not all(isinstance(one, str) for one in overrides):
        raise SpaceError(f"overrides: give a list of texts such as 'evolution.population=60', not {overrides!r}")
    given = {"seed": seed, **{f"execution.{name}": value for name, value in execution.items()}}
    return [*overrides, *(f"{key}={value}" for key, value in given.items() if value is not None)]


def _is_validated(folder: RunFolder, space: SearchSpace, best: list[Entry]) -> bool:
    """Whether a re-validation is recorded, of the same losses and of as many seeds as the space asks for, or more."""
    from lossforge.validation.results import read_comparisons

    rows = read_comparisons(folder)
    by_rank = {row.rank: (row.formula, row.searched) for row in rows}
    wanted = best[: space.validation.top]
    same = all(entry.formula in by_rank.get(rank, ()) for rank, entry in enumerate(wanted, 1))
    # A pair that was decided early has fewer than were planned.
    planned = min((max(row.seeds, *row.looks, 0) for row in rows), default=0)
    return same and planned >= space.validation.seeds


@contextmanager
def shown_progress(progress: Progress | bool | None) -> Iterator[Progress]:
    """The progress that was given, or one that is shown, or one that is not."""
    from lossforge.search.progress import Progress, in_notebook, shown

    if isinstance(progress, Progress):
        yield progress
    elif progress or (progress is None and in_notebook()):
        with shown() as told:
            yield told
    else:
        yield Progress()


def told_to_stop() -> None:
    """Say that a stop was asked for."""
    print("\nfinishing what is under way; once more ends at once", file=sys.stderr, flush=True)  # noqa: T201


def _go(folder: RunFolder, space: SearchSpace, progress: Progress, *, resumed: bool = False) -> Run:
    with places_of(folder, space), folder.locked(), stop_on_signal(told_to_stop) as stop:
        # torch loads here, after the folder exists: a kill from now on can be resumed.
        from lossforge.report.report_file import ReportKeeper
        from lossforge.search.hall_of_fame import read_hall_of_fame

        page = ReportKeeper(folder.path, folder.log)
        try:
            trained = _search(folder, space, stop, progress, page.checkpoint, resumed=resumed)
            space = folder.space()  # with the cohorts that the search has settled on
            best = read_hall_of_fame(folder.hall_of_fame_file)
            if space.validation.after_search and best and not _is_validated(folder, space, best):
                if not trained:
                    check_device(space)
                    refuse_changed_data(folder, space)
                _validate(folder, space, stop, progress)
                trained = True
        except InterruptedSearchError:
            raise InterruptedSearchError(
                f"stopped; everything finished is recorded: go on with 'lossforge resume {folder.path}'"
            ) from None
        if trained:
            page.write()
        else:
            progress.line(_finished(folder, space))
        return Run(folder.path)


def _search(
    folder: RunFolder,
    space: SearchSpace,
    stop: Stop,
    progress: Progress,
    written: Callable[[], None],
    *,
    resumed: bool,
) -> bool:
    """Run the search, or what is left of it; whether anything was."""
    from lossforge.search.loop import is_finished
    from lossforge.search.loop import search as run_search

    if not resumed:
        run_search(folder, space, stop=stop, progress=progress, written=written)
    elif is_finished(folder, space):
        folder.update_space(space)
        return False
    else:
        check_device(space)
        refuse_changed_data(folder, space)
        # Changed keys are kept once workers are there: what cannot be had must not be asked for again.
        ready = lambda: folder.update_space(space)  # noqa: E731
        run_search(folder, space, stop=stop, progress=progress, ready=ready, written=written)
    return True


def _validate(folder: RunFolder, space: SearchSpace, stop: Stop, progress: Progress) -> None:
    from lossforge.validation.protocol import validate as run_validation

    top, seeds = space.validation.top, space.validation.seeds
    run_validation(folder, space, stop=stop, progress=progress, top=top, seeds=seeds)


def _finished(folder: RunFolder, space: SearchSpace) -> str:
    done = space.budget.generations
    return (
        f"{folder.path} is finished: all {done} generations are done, and nothing was trained; for more, type "
        f"'lossforge resume {folder.path} --set budget.generations={2 * done}'"
    )
