"""Re-validation: the best losses of a run, trained again beside rivals that were tuned in the same way.

It is a study for each task of the space, as `lossforge.validation.study` has it, on the task's own test data; the
losses are then tried under a second kind of optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from lossforge.errors import LossforgeError, SpaceError
from lossforge.evaluation.space_trainings import key_in
from lossforge.executors.choice import make_executor, needs_isolation
from lossforge.executors.protocol import Stop
from lossforge.losses.candidates import candidate_spec
from lossforge.losses.compiled import LossSpec
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.search.reference import known_losses
from lossforge.search.scores import as_score
from lossforge.search.standing import checked_leaders
from lossforge.spaces.plan_schema import MOST_SEEDS
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage
from lossforge.validation.coarse import Tried
from lossforge.validation.comparison import Comparison, summaries
from lossforge.validation.contenders import Contender, contender, told_name
from lossforge.validation.measures import Measured, measured
from lossforge.validation.results import write_comparisons
from lossforge.validation.rivals import parts_of
from lossforge.validation.rows import comparisons
from lossforge.validation.second_optimizer import second_optimizer, under_second_optimizer, with_second
from lossforge.validation.sentences import loss_sentences
from lossforge.validation.settings import Settings
from lossforge.validation.study import Runner, Study

_AGAIN = 3
"""How many times as many known losses a coarse pass tries as become rivals, where a search has tried them all."""


def validate(
    folder: RunFolder,
    space: SearchSpace,
    *,
    stop: Stop,
    progress: Progress,
    top: int,
    seeds: int,
    rivals: Sequence[str] = (),
) -> list[Comparison]:
    """Re-validate the ``top`` losses of a run on ``seeds`` fresh seeds. Finished trainings are never repeated.

    ``rivals`` are further ones, names or formulas, beside those of the space.
    Raises InterruptedSearchError once ``stop()`` is true, StoreError where the run has no hall of fame yet.
    """
    if not 2 <= seeds <= MOST_SEEDS:
        raise SpaceError(f"--seeds: must be 2 to {MOST_SEEDS:,}, not {seeds:,}; an interval needs pairs")
    discovered = best_of_run(folder, space, top)
    studies = [_study(space, index, discovered, seeds, rivals) for index in range(len(space.task))]
    ledger = Ledger(folder.ledger_file)
    studies = [replace(one, settings=_fewer(one, ledger)) for one in studies]
    rows: list[Comparison] = []
    tried: list[tuple[str, Tried]] = []
    further: list[Measured] = []
    try:
        progress.phase("re-validating the best losses")
        executor = make_executor(space.execution, isolated=needs_isolation(space))
        try:
            progress.working(executor.meter)
            recorder = Recorder(ledger, executor, stop, progress.trained, folder.log)
            runner = Runner(recorder, progress, ("validate", folder.path))
            for study in studies:
                result = runner.run(study)
                tried += [(study.title, one) for one in result.tried]
                further += measured(result)
                rows += _with_second(space, study, comparisons(result), recorder, progress)
        finally:
            executor.close()
    finally:
        ledger.close()
    write_comparisons(folder.validation_folder, rows, tried, further)
    log_rows(folder, rows)
    return rows


def best_of_run(folder: RunFolder, space: SearchSpace, top: int) -> list[tuple[LossSpec, int, float, str]]:
    """The ``top`` losses of a run: the loss as people read it, size, gain in the search, and the formula there."""
    best = checked_leaders(folder, space)[:top]
    if not best:
        raise LossforgeError(
            f"{folder.path}: the search found no loss that trains, so there is nothing to validate; "
            "give it more generations with 'lossforge resume --set budget.generations=N'"
        )
    return [(candidate_spec(one.formula, space.head), one.size, one.search_gain, one.searched) for one in best]


def log_rows(folder: RunFolder, rows: Sequence[Comparison]) -> None:
    """Write what came of a re-validation into the run's log."""
    for row in rows:
        folder.log(f"validation: {row.formula} against {row.rival}: {row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]")
    for sentence in [*summaries(rows), *loss_sentences(rows)]:
        folder.log(f"validation: {sentence}")


def settings_of(space: SearchSpace, seeds: int) -> Settings:
    """How the re-validation of a space goes."""
    validation = space.validation
    return Settings(
        seeds=seeds,
        looks=validation.looks,
        margin=validation.margin,
        epochs=validation.epochs or 2 * space.recipe.epochs,
        rates=tuple(validation.learning_rates),
        tuning_seeds=validation.tuning_seeds,
        coarse_rates=tuple(validation.learning_rates),
        coarse_seeds=validation.coarse_seeds,
        known=validation.best_known,
        among=tuple(validation.known),
    )


def _fewer(study: Study, ledger: Ledger) -> Settings:
    """The study's settings; of the library, its coarse pass tries those alone that did best before the search."""
    settings = study.settings
    if settings.among or not settings.known:
        return settings
    tried: dict[tuple[str, float], list[float]] = {}
    for row in ledger.trainings(Stage.REFERENCE):
        if row.task == study.title:
            tried.setdefault((row.key, row.learning_rate), []).append(as_score(row.accuracy))
    scores: dict[str, float] = {}
    for (key, _), found in tried.items():
        scores[key] = max(scores.get(key, 0.0), fmean(found))
    ranked = sorted(known_losses(study.space), key=lambda one: -scores.get(one[2], 0.0))
    return replace(settings, among=tuple(name for name, _, key in ranked[: _AGAIN * settings.known] if key in scores))


def _study(
    space: SearchSpace,
    index: int,
    discovered: Sequence[tuple[LossSpec, int, float, str]],
    seeds: int,
    further: Sequence[str],
) -> Study:
    # What a search tunes is the rate of cross-entropy; here every loss has its own.
    own = space.model_copy(update={"task": [space.task[index]], "recipe": space.recipe.validated()})
    losses = [
        Contender(
            told_name(loss, searched), loss, key_in(own, loss), own, size=size, search_gain=gain, searched=searched
        )
        for loss, size, gain, searched in discovered
    ]
    parts = parts_of(searched for *_, searched in discovered)
    named = dict.fromkeys([*space.validation.rivals, *parts, *further])
    rivals = [contender(name, own, is_rival=True) for name in named]
    return Study(own.task[0].title, own, losses, rivals, settings_of(space, seeds))


def _with_second(
    space: SearchSpace, study: Study, rows: list[Comparison], recorder: Recorder, progress: Progress
) -> list[Comparison]:
    """The rows with what became of their losses under the second optimiser."""
    if second_optimizer(space) and not study.task.python:
        progress.phase("training the best losses under another kind of optimiser")
    found = [(one.loss, one.key) for one in study.losses]
    results = under_second_optimizer(space, study.task, found, recorder, study.settings.epochs)
    return [row if (second := results[row.rank - 1]) is None else with_second(row, second) for row in rows]
