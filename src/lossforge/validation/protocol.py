"""Re-validation: the best losses of a run, trained again beside rivals that were tuned in the same way.

1. Every loss, discovered or rival, gets its learning rate from one grid, by validation accuracy (an
   accuracy here is the task's metric).
2. Each is trained at its own best rate on training and validation data together, with seeds that the
   search never used and a longer recipe, and scored on the test part, which nothing has touched before.
3. Differences are paired by seed; the interval is Student's t, and p-values are adjusted for the number
   of losses tried. The order is the search's: nothing is picked by its test score.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from statistics import fmean

from lossforge.errors import LossforgeError, SpaceError, StoreError
from lossforge.evaluation.feasibility import class_count, scored_samples, validated_sizes
from lossforge.evaluation.records import Outcome, Training
from lossforge.evaluation.space_trainings import loss_key, trainings
from lossforge.executors.choice import make_executor, needs_isolation
from lossforge.executors.protocol import Stop
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import loss_spec
from lossforge.search.hall_of_fame import checked_entries
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.search.tuning import Sweep, require_trained, sweep_together
from lossforge.spaces.schema import SearchSpace
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder, read_json
from lossforge.validation.second_optimizer import (
    ENOUGH,
    SecondResult,
    optimizer_title,
    second_optimizer,
    under_second_optimizer,
)
from lossforge.validation.statistics import holm, paired_difference


@dataclass(frozen=True, slots=True)
class Contender:
    """One loss under re-validation; ``rival`` is its name or formula where it is one of the rivals.

    ``searched`` is the formula that the search trained, where it is a discovery.
    """

    loss: LossSpec
    key: str
    size: int = 0
    search_gain: float = 0.0
    rival: str = ""
    searched: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One discovered loss against one rival on the test part.

    ``gain``, ``low`` and ``high`` (95 % interval) are accuracy differences in percentage points, paired by
    seed; ``p_adjusted`` is Holm's over the losses compared with this rival. Accuracies are in [0, 1], and are
    what ``metric`` names; ``failed`` and ``rival_failed`` count trainings that diverged, each with accuracy 0.
    ``formula`` is what was trained, in the form that people read, and ``searched`` what the search trained. Under
    ``second_optimizer`` ("": none was tried) the loss has ``second_score`` and cross-entropy ``second_control``.
    ``trained_on`` and ``tested_on`` count samples (0: not known).
    """

    rank: int
    formula: str
    size: int
    rival: str
    search_gain: float
    gain: float
    low: float
    high: float
    p: float
    p_adjusted: float
    seeds: int
    task: str
    accuracy: float
    rival_accuracy: float
    learning_rate: float
    rival_learning_rate: float
    failed: int = 0
    rival_failed: int = 0
    metric: str = "accuracy"
    searched: str = ""
    second_optimizer: str = ""
    second_score: float = 0.0
    second_control: float = 0.0
    second_learning_rate: float = 0.0
    classes: int = 0
    trained_on: int = 0
    tested_on: int = 0


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
    if seeds < 2:
        raise SpaceError(f"--seeds: must be 2 or more, not {seeds}; an interval needs pairs")
    contenders = _contenders(folder, space, top, rivals)
    ledger = Ledger(folder.ledger_file)
    try:
        progress.phase("re-validating the best losses")
        executor = make_executor(space.execution, isolated=needs_isolation(space))
        try:
            progress.working(executor.meter)
            recorder = Recorder(ledger, executor, stop, progress.trained)
            comparisons = _Validation(space, recorder, contenders, seeds, progress).run()
        finally:
            executor.close()
    finally:
        ledger.close()
    _write(folder, comparisons)
    for row in comparisons:
        folder.log(f"validation: {row.formula} against {row.rival}: {row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]")
    return comparisons


def _contenders(folder: RunFolder, space: SearchSpace, top: int, further: Sequence[str]) -> list[Contender]:
    best = checked_entries(folder.hall_of_fame_file, keep_scale=not space.recipe.match_gradient)[:top]
    if not best:
        raise LossforgeError(
            f"{folder.path}: the search found no loss that trains, so there is nothing to validate; "
            "give it more generations with 'lossforge resume --set budget.generations=N'"
        )
    found = [
        Contender(LossSpec(entry.formula), entry.signature, entry.size, entry.gain, searched=entry.formula)
        for entry in best
    ]
    rivals = []
    for name in dict.fromkeys([*space.validation.rivals, *further]):
        loss = loss_spec(name)
        rivals.append(Contender(loss, loss_key(loss, keep_scale=not space.recipe.match_gradient), rival=name))
    return found + rivals


class _Validation:
    def __init__(
        self, space: SearchSpace, recorder: Recorder, contenders: list[Contender], seeds: int, progress: Progress
    ) -> None:
        self.space = space
        self.recorder = recorder
        self.contenders = contenders
        self.seeds = seeds
        self.progress = progress
        self.epochs = space.validation.epochs or 2 * space.recipe.epochs

    def run(self) -> list[Comparison]:
        comparisons = []
        for index in range(len(self.space.task)):
            self.progress.phase("tuning the best losses and their rivals alike")
            sweeps = self._tune(index)
            self.progress.phase("training the best losses and their rivals for the test")
            accuracies = self._test(index, sweeps)
            rows = self._compare(index, sweeps, accuracies)
            comparisons += self._with_second(index, rows)
        return comparisons

    def _with_second(self, index: int, rows: list[Comparison]) -> list[Comparison]:
        """The rows with what became of their losses under the second optimiser."""
        found = [(one.loss, one.key) for one in self.contenders if not one.rival]
        if second_optimizer(self.space):
            self.progress.phase("training the best losses under another kind of optimiser")
        results = under_second_optimizer(self.space, self.space.task[index], found, self.recorder, self.epochs)
        return [row if (second := results[row.rank - 1]) is None else with_second(row, second) for row in rows]

    def _tune(self, index: int) -> list[Sweep]:
        def at(contender: Contender) -> Callable[[float], list[Training]]:
            return lambda rate: self._trainings(
                index, contender, rate, self.space.validation.tuning_seeds, "tuning", "validation"
            )

        named = {f"{place} {one.loss.formula}": at(one) for place, one in enumerate(self.contenders)}
        # A training of the user's own has its own rate.
        rates = [1.0] if self.space.task[index].python else self.space.validation.learning_rates
        sweeps = sweep_together(self.recorder, named, rates, "tuning")
        for one, sweep in zip(self.contenders, sweeps.values(), strict=True):
            if one.rival:
                require_trained(sweep, one.rival)
        return list(sweeps.values())

    def _test(self, index: int, sweeps: list[Sweep]) -> list[list[float | None]]:
        """Test accuracy of every contender by seed; None where the training diverged.

        Raises LossforgeError where a rival's was cut short: its zero would be every discovery's gain.
        """
        jobs = [
            self._trainings(index, one, sweep.best, self.seeds, "validation", "test")
            for one, sweep in zip(self.contenders, sweeps, strict=True)
        ]
        answers = iter(self.recorder.run([training for wanted in jobs for training in wanted], "validation"))
        accuracies = []
        for one, wanted in zip(self.contenders, jobs, strict=True):
            rows = list(islice(answers, len(wanted)))
            cut = next((row for row in rows if row.outcome in (Outcome.TIMED_OUT, Outcome.CRASHED)), None)
            if one.rival and cut is not None:
                raise LossforgeError(
                    f"a training of the rival {one.rival} {cut.outcome.replace('_', ' ')} ({cut.reason}), so nothing "
                    "can be compared with it; give it more time or memory (budget.training_seconds) and validate again"
                )
            accuracies.append([row.accuracy for row in rows])
        return accuracies

    def _trainings(
        self, index: int, contender: Contender, rate: float, seeds: int, stage: str, part: str
    ) -> list[Training]:
        return trainings(
            self.space,
            self.space.task[index],
            contender.loss,
            contender.key,
            rate,
            range(seeds),
            stage=stage,
            part=part,
            epochs=self.epochs,
        )

    def _compare(self, index: int, sweeps: list[Sweep], by_seed: list[list[float | None]]) -> list[Comparison]:
        accuracies = [[0.0 if value is None else value for value in values] for values in by_seed]
        failed = [sum(value is None for value in values) for values in by_seed]
        scored = scored_samples(self.space.task[index])
        trained_on, tested_on = validated_sizes(self.space.task[index])
        classes = class_count(self.space.task[index])
        resolution = 100 / scored if scored else 0.0
        found = [place for place, one in enumerate(self.contenders) if not one.rival]
        rows: list[Comparison] = []
        for other, rival in enumerate(self.contenders):
            if not rival.rival:
                continue
            differences = [
                paired_difference(
                    [100 * (a - b) for a, b in zip(accuracies[place], accuracies[other], strict=True)],
                    resolution=resolution,
                )
                for place in found
            ]
            adjusted = holm([difference.p for difference in differences])
            for place, difference, p_adjusted in zip(found, differences, adjusted, strict=True):
                rows.append(
                    Comparison(
                        rank=place + 1,
                        formula=self.contenders[place].loss.formula,
                        size=self.contenders[place].size,
                        rival=rival.rival,
                        search_gain=self.contenders[place].search_gain,
                        gain=difference.mean,
                        low=difference.low,
                        high=difference.high,
                        p=difference.p,
                        p_adjusted=p_adjusted,
                        seeds=difference.count,
                        task=self.space.task[index].title,
                        accuracy=fmean(accuracies[place]),
                        rival_accuracy=fmean(accuracies[other]),
                        learning_rate=sweeps[place].best,
                        rival_learning_rate=sweeps[other].best,
                        failed=failed[place],
                        rival_failed=failed[other],
                        metric=self.space.task[index].measure,
                        searched=self.contenders[place].searched,
                        classes=classes,
                        trained_on=trained_on,
                        tested_on=tested_on,
                    )
                )
        return rows


def with_second(row: Comparison, second: SecondResult) -> Comparison:
    """The row with its loss's result under the second optimiser."""
    return replace(
        row,
        second_optimizer=second.optimizer,
        second_score=second.score,
        second_control=second.control,
        second_learning_rate=second.learning_rate,
    )


def under_both(rows: Sequence[Comparison]) -> str:
    """A sentence on who works under the second optimiser too; "" where none was tried."""
    tried = {(row.task, row.rank): row for row in rows if row.second_optimizer}
    if not tried:
        return ""
    failing = sorted({row.rank for row in tried.values() if row.second_score < ENOUGH * row.second_control})
    name = optimizer_title(next(iter(tried.values())).second_optimizer)
    if not failing:
        return f"under {name}, each at its own best rate there, all reach {ENOUGH:.0%} of cross-entropy's score"
    named = ", ".join(f"{rank}" for rank in failing)
    return (
        f"under {name}, at its own best rate there, rank {named} stays below {ENOUGH:.0%} of cross-entropy's score: "
        "use the search's optimiser with it"
    )


_NUMBERS = ("gain", "low", "high", "seeds", "learning_rate", "rival_learning_rate")


def _write(folder: RunFolder, comparisons: list[Comparison]) -> None:
    with told_as_store_error(folder.validation_folder):
        folder.validation_folder.mkdir(exist_ok=True)
    rows = [asdict(row) for row in comparisons]
    write_atomically(folder.validation_folder / "results.json", json.dumps(rows, indent=1) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Comparison.__slots__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder.validation_folder / "results.csv", text.getvalue())


def read_comparisons(folder: RunFolder) -> list[Comparison]:
    """What the last re-validation wrote; empty where there was none. Raises StoreError where it is damaged."""
    path = folder.validation_folder / "results.json"
    if not path.exists():
        return []
    remedy = "delete it and validate again: nothing is trained twice"
    try:
        rows = [Comparison(**row) for row in read_json(path, remedy)]
    except TypeError as error:
        raise StoreError(f"{path}: is damaged ({error}); {remedy}") from None
    if not all(isinstance(getattr(row, name), (int, float)) for row in rows for name in _NUMBERS):
        raise StoreError(f"{path}: is damaged (a number is none); {remedy}")
    return rows
