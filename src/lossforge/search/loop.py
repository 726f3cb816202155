"""The loop of a search: sweep, then generation after generation, each ended by a checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lossforge.errors import FormulaError, StoreError
from lossforge.evaluation.records import Outcome
from lossforge.evolution.choice import make_strategy
from lossforge.evolution.strategy import Strategy
from lossforge.executors.choice import make_executor, needs_isolation
from lossforge.executors.protocol import Executor, Stop
from lossforge.glossary import MEANINGS
from lossforge.screening.candidates import CandidateScreener
from lossforge.screening.descent import compile_kernels
from lossforge.screening.helpers import Helpers, helper_count
from lossforge.screening.screener import Screener
from lossforge.screening.settings import ScreenSettings
from lossforge.search.audit import audit_report
from lossforge.search.budget import Clock, used_up
from lossforge.search.control import check_control, check_own_trainings, control_key, train_control
from lossforge.search.control_rate import sweep_learning_rates
from lossforge.search.fresh import FreshTrainings, verdict
from lossforge.search.generation import Asked, Generation, long_lived, short_of_seeds
from lossforge.search.hall_of_fame import Entry, Measured, hall_of_fame, write_hall_of_fame
from lossforge.search.likeness import diversity
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder, identity_of
from lossforge.search.reference import Known, explore, told
from lossforge.search.scores import Scores, floors
from lossforge.search.standing import scores_at
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.store.checkpoint import load_checkpoint, save_checkpoint
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage

_LOOKED_AT = 500
"""Members of a population, the best, whose diversity is measured."""


def search(
    folder: RunFolder,
    space: SearchSpace,
    *,
    stop: Stop,
    progress: Progress,
    ready: Callable[[], None] = lambda: None,
    written: Callable[[], None] = lambda: None,
) -> None:
    """Run or resume the search in ``folder`` until its budget is used up.

    A run that has trained nothing yet settles the size of its cohorts, and keeps it in its space. ``ready`` is called
    once workers are there, before anything is trained, and ``written`` after every checkpoint.
    Raises InterruptedSearchError once ``stop()`` is true; a later call goes on where this one stopped.
    """
    with _opened(folder) as (state, ledger, done):
        progress.line(MEANINGS[space.head])
        progress.phase("starting workers")
        executor = make_executor(space.execution, isolated=needs_isolation(space))
        try:
            ready()
            progress.working(executor.meter)
            if not ledger.training_count():
                space = _cut(space, folder, executor.device)
            for task in space.task:
                _tell_about(task, space, folder, progress, executor.device)
            _Search(folder, space, ledger, executor, stop, progress, written).run(state, done)
        finally:
            executor.close()


def is_finished(folder: RunFolder, space: SearchSpace) -> bool:
    """Whether the search has used its budget up, and its leaders have all their seeds; nothing is trained for it.

    The table of a finished one is written again: the process may have died between the last checkpoint and it.
    """
    with _opened(folder) as (state, ledger, done):
        if state is None or not used_up(space, state, ledger):
            return False
        # Who was to get further seeds was decided before they were trained; what they then led to asks for no more.
        promoted = short_of_seeds(scores_at(ledger, space, done), space.fitness)
        scores = scores_at(ledger, space, done, leaders=True)
        if short_of_seeds(scores, space.fitness, promoted):
            return False
        known, rates = Known.kept(state.get("known")), _rates_of(state)
        if space.fitness.fresh_seeds and any(task.title not in rates for task in space.task):
            return False
        fresh = FreshTrainings(space, rates, scores, known)
        identities = [identity_of(training) for training in fresh.wanted]
        rows = ledger.find_all(identities)
        if len(rows) < len(set(identities)):
            return False
        _write_results(folder, space, scores, fresh.measured([rows[one] for one in identities]), known)
        return True


def _rates_of(state: dict[str, object]) -> dict[str, float]:
    """Learning rates by task, as a checkpoint has them."""
    rates = state.get("learning_rates")
    return {str(title): float(rate) for title, rate in rates.items()} if isinstance(rates, dict) else {}


@contextmanager
def _opened(folder: RunFolder) -> Iterator[tuple[dict[str, object] | None, Ledger, int]]:
    """Checkpoint, ledger, and the last generation that is done (-1: none). Raises StoreError where they do not fit."""
    state = load_checkpoint(folder.checkpoint_file)
    if state is not None and not folder.ledger_file.exists():
        raise StoreError(
            f"{folder.ledger_file}: is missing, but the checkpoint knows of a search; copy the ledger back from where "
            "the run was copied from, or begin a new run"
        )
    ledger = Ledger(folder.ledger_file)
    try:
        done = -1 if state is None else int(state["generation"])
        if ledger.last_generation() < done:
            raise StoreError(
                f"{folder.ledger_file}: ends before the checkpoint does (generation {ledger.last_generation() + 1}, "
                f"not {done + 1}); copy the ledger back whole, with its -wal file, from where the run was copied from"
            )
        yield state, ledger, done
    finally:
        ledger.close()


def _cut(space: SearchSpace, folder: RunFolder, device: str) -> SearchSpace:
    """The space with cohorts as large as is worth it on the device, kept from now on: a run that trained keeps its."""
    from lossforge.evaluation.calibrate import told_cuts, with_gainful_cohorts

    cut = with_gainful_cohorts(space, device)
    if cut != space:
        folder.settle(cut)
        for line in told_cuts(space, cut):
            folder.log(line)
    return cut


def _tell_about(task: TaskSection, space: SearchSpace, folder: RunFolder, progress: Progress, device: str) -> None:
    """Log how a task is trained, and what is uneven in its data."""
    from lossforge.data.datasets import load_task
    from lossforge.data.examine import first_lines
    from lossforge.evaluation.evaluate import backend_name

    if task.python:
        folder.log(f"{task.title}: trained by {task.python}")
        return
    recipe = space.recipe.of(task)
    backend = backend_name(task, recipe.backend, recipe.lanes, device, recipe.batch_size)
    with_ = "" if task.activation == "relu" else f" with {task.activation}"
    folder.log(f"{task.title}: {task.model} of width {task.width}{with_}, {recipe.cohort} at once by {backend}")
    for note in first_lines(load_task(task, "cpu"), task.measure):
        folder.log(f"{task.title}: {note}")
        progress.line(f"{task.title}: {note}")


@dataclass(slots=True)
class _Search:
    folder: RunFolder
    space: SearchSpace
    ledger: Ledger
    executor: Executor
    stop: Stop
    progress: Progress
    written: Callable[[], None] = lambda: None
    known: Known | None = None

    def run(self, state: dict[str, object] | None, done: int) -> None:
        # The first time on a machine this takes half a minute, in which workers can train already.
        compiling = threading.Thread(target=compile_kernels, daemon=True)
        compiling.start()
        recorder = Recorder(self.ledger, self.executor, self.stop, self.progress.trained, self.folder.log)
        rates = sweep_learning_rates(self.space, recorder, self.folder, self.progress)
        scores = scores_at(self.ledger, self.space, done)
        floors = self._control(recorder, scores, rates, begun=done >= 0)
        self._explore(recorder, rates, begun=done >= 0)
        settings = screen_settings(self.space)
        strategy = make_strategy(self.space, settings.classes)
        if state is not None:
            self._load(strategy, state)
        if compiling.is_alive():
            self.progress.phase("compiling the screens, once a machine")
        compiling.join()
        count = helper_count(self.executor.workers)
        helpers = Helpers(count, settings) if count else None
        try:
            screener = CandidateScreener(Screener(settings, helpers=helpers))
            generation = Generation(self.space, strategy, screener, scores, recorder, rates, self._asked, floors)
            with long_lived():
                self._generations(generation, state)
        finally:
            if helpers is not None:
                helpers.close()
        audit = audit_report(
            self.ledger.candidates(Outcome.REJECTED),
            self.ledger.trainings(Stage.AUDIT),
            self.ledger.trainings(Stage.CONTROL),
        )
        for line in (f"audit: {audit}", f"workers: {self.progress.work()}"):
            self._tell(line)

    def _generations(self, generation: Generation, state: dict[str, object] | None) -> None:
        scores, strategy, rates = generation.scores, generation.strategy, generation.rates
        self.progress.start_search(self.space.budget.generations, self.ledger.tally())
        clock = Clock.kept(state)
        self.progress.ends_after(clock.left(self.space))
        number = -1 if state is None else int(str(state["generation"]))
        while not (ended := used_up(self.space, state, self.ledger)):
            number += 1
            self.progress.start_generation(number)
            rows = generation.run(number)
            self.ledger.add_candidates(rows)
            state = {"generation": number, "strategy": strategy.save(), "learning_rates": rates}
            if self.known is not None:
                state["known"] = self.known.to_keep()
            if self.space.budget.hours:
                state |= clock.to_keep(self.progress.elapsed(), self.progress.searched(), number + 1)
            save_checkpoint(self.folder.checkpoint_file, state)
            best = _write_results(self.folder, self.space, scores)[:1]
            self.folder.log(
                f"generation {number + 1}: {len(rows)} generated, best {best[0].formula if best else 'none'} "
                f"gain {best[0].told_gain if best else 'none'}"
            )
            self._remark(strategy, number)
            self.progress.end_generation(number, best, [scores.gain(told.key) for told in strategy.members()])
            self.written()
        if ended in ("budget.hours", "budget.trainings"):
            self._tell(f"{ended} is used up: the search ends at generation {number + 1}")
        generation.finish(number + 1)
        self._measure(generation, number + 1)

    def _measure(self, generation: Generation, number: int) -> None:
        """Train the leaders on fresh replicates, write the table, and say what was found."""
        fresh = FreshTrainings(self.space, generation.rates, generation.scores, self.known)
        if fresh.wanted:
            self.progress.phase("measuring the leaders on replicates that chose nobody")
        rows = generation.recorder.run(fresh.wanted, Stage.FRESH, number)
        found = fresh.measured(rows)
        entries = _write_results(self.folder, self.space, generation.scores, found, self.known)
        if entries and entries[0].signature in found:
            seeds = self.space.fitness.fresh_seeds
            self._tell(verdict(entries[0].formula, found[entries[0].signature], self.known, seeds))

    def _tell(self, text: str) -> None:
        self.folder.log(text)
        self.progress.line(text)

    def _remark(self, strategy: Strategy, number: int) -> None:
        """Keep what a generation was like, and have it told."""
        measures = strategy.figures()
        if self.space.evolution.niche:
            members = (str(told.expression) for told in strategy.members()[:_LOOKED_AT])
            measures["diversity"] = diversity(self.space, members)
        self.ledger.add_measures(number, measures)
        told = [strategy.remark(), f"diversity {measures['diversity']:.2f}" if "diversity" in measures else ""]
        self.progress.remark = "; ".join(filter(None, told))
        if self.progress.remark:
            self.folder.log(f"generation {number + 1}: {self.progress.remark}")

    def _load(self, strategy: Strategy, state: dict[str, object]) -> None:
        try:
            strategy.load(state["strategy"])  # type: ignore[arg-type]
        except (AttributeError, KeyError, TypeError, ValueError, FormulaError) as error:
            raise StoreError(
                f"{self.folder.checkpoint_file}: is damaged ({type(error).__name__}: {error}); delete it and resume: "
                "the search goes on from the checkpoint before and the ledger"
            ) from None

    def _explore(self, recorder: Recorder, rates: dict[str, float], *, begun: bool) -> None:
        """Train the known losses, and say what they show."""
        if self.space.reference.losses:
            self.progress.phase("training the known losses, as reference")
        ground = explore(self.space, recorder, rates)
        if ground is None:
            return
        self.known = ground.known
        self.progress.known(ground.known.name, max(0.0, ground.gain.mean))
        for line in [] if begun else told(ground, self.space):
            self._tell(line)

    def _control(self, recorder: Recorder, scores: Scores, rates: dict[str, float], *, begun: bool) -> dict[str, float]:
        """Train cross-entropy, and see that it can be compared with; returns what stops others, by task."""
        if not begun:
            check_own_trainings(self.space, recorder, rates, self.folder, self.progress)
        self.progress.phase("training cross-entropy, the control")
        rows = train_control(self.space, recorder, rates, self.folder)
        scores.add_control(rows)
        if not begun:
            check_control(self.space, rows, self.folder, self.progress)
        return floors(rows, self.space.recipe)

    def _asked(self, asked: Asked) -> None:
        self.progress.asked(asked.tally.copy(), len(asked.rows))


def _write_results(
    folder: RunFolder,
    space: SearchSpace,
    scores: Scores,
    fresh: Mapping[str, Measured] | None = None,
    known: Known | None = None,
) -> list[Entry]:
    entries = hall_of_fame(scores, space, control_key(space), fresh, "" if known is None else known.name)
    write_hall_of_fame(folder.hall_of_fame_file, entries)
    return entries


def screen_settings(space: SearchSpace) -> ScreenSettings:
    """The funnel's thresholds for a space and the classes of its tasks."""
    from lossforge.evaluation.feasibility import class_count

    classes = sorted({class_count(task) for task in space.task})
    return ScreenSettings(
        max_gradient=space.screening.max_gradient,
        descent_steps=space.screening.descent_steps,
        descent_accuracy=space.screening.descent_accuracy,
        network_steps=space.screening.network_steps,
        precisions=tuple(space.screening.precisions),
        repair_sign=space.screening.repair_sign,
        guards=space.screening.guards,
        label_smoothing=space.recipe.label_smoothing,
        keep_scale=not space.recipe.match_gradient,
        classes=tuple(classes),
        head=space.head,
    )
