"""Re-validation: the best losses of a run, trained again beside rivals that were tuned in the same way.

1. Every loss, discovered or rival, gets its learning rate from one grid, by validation accuracy (an
   accuracy here is the task's metric); a training of the user's own has a rate of its own.
2. Each is trained at its own best rate on training and validation data together, with seeds that the
   search never used and a longer recipe, and scored on the test part, which nothing has touched before.
3. Differences are paired by seed; the interval is Student's t, no finer than one test sample, and p-values are
   adjusted for the number of losses tried. An interval over seeds and test images stands beside it.
   The order is the search's: nothing is picked by its test score.
4. What that means is said in words, of each pair and of each loss over all rivals; see
   `lossforge.validation.verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from statistics import fmean

from lossforge.errors import LossforgeError, SpaceError
from lossforge.evaluation.feasibility import class_count, resolution, scores_unseen, validated_sizes
from lossforge.evaluation.records import Outcome, Training
from lossforge.evaluation.remedies import remedy
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.executors.choice import make_executor, needs_isolation
from lossforge.executors.protocol import Stop
from lossforge.losses.analysis import gradient_cosine
from lossforge.losses.candidates import candidate_spec
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import loss_spec
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.search.standing import checked_leaders
from lossforge.search.tuning import Sweep, require_trained, sweep_together
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage
from lossforge.validation.comparison import Comparison, summaries
from lossforge.validation.paired import other_tests
from lossforge.validation.results import write_comparisons
from lossforge.validation.rivals import parts_of
from lossforge.validation.scored import Scored, finest_step, over_images
from lossforge.validation.second_optimizer import second_optimizer, under_second_optimizer, with_second
from lossforge.validation.sentences import loss_sentences
from lossforge.validation.statistics import paired_difference
from lossforge.validation.verdicts import Pair, judge_pairs


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
            recorder = Recorder(ledger, executor, stop, progress.trained, folder.log)
            comparisons = _Validation(folder, space, recorder, contenders, seeds, progress).run()
        finally:
            executor.close()
    finally:
        ledger.close()
    write_comparisons(folder, comparisons)
    for row in comparisons:
        folder.log(f"validation: {row.formula} against {row.rival}: {row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]")
    for sentence in [*summaries(comparisons), *loss_sentences(comparisons)]:
        folder.log(f"validation: {sentence}")
    return comparisons


def _contenders(folder: RunFolder, space: SearchSpace, top: int, further: Sequence[str]) -> list[Contender]:
    best = checked_leaders(folder, space)[:top]
    if not best:
        raise LossforgeError(
            f"{folder.path}: the search found no loss that trains, so there is nothing to validate; "
            "give it more generations with 'lossforge resume --set budget.generations=N'"
        )

    def contender(loss: LossSpec) -> Contender:
        return Contender(loss, key_in(space, loss))

    found = [
        replace(
            contender(candidate_spec(one.formula, space.head)),
            size=one.size,
            search_gain=one.gain,
            searched=one.searched,
        )
        for one in best
    ]
    named = dict.fromkeys([*space.validation.rivals, *parts_of(one.formula for one in best), *further])
    return found + [replace(contender(loss_spec(name, head=space.head)), rival=name) for name in named]


class _Validation:
    def __init__(
        self,
        folder: RunFolder,
        space: SearchSpace,
        recorder: Recorder,
        contenders: list[Contender],
        seeds: int,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.space = space
        self.recorder = recorder
        self.contenders = contenders
        self.seeds = seeds
        self.progress = progress
        self.epochs = space.validation.epochs or 2 * space.recipe.epochs

    def run(self) -> list[Comparison]:
        comparisons = []
        for index in range(len(self.space.task)):
            own = bool(self.space.task[index].python)
            if not own:
                self.progress.phase("tuning the best losses and their rivals alike")
            sweeps = self._tune(index)
            again = "again" if own else "for the test"
            self.progress.phase(f"training the best losses and their rivals {again}")
            rows = self._compare(index, sweeps, self._test(index, sweeps))
            comparisons += self._with_second(index, rows)
        return comparisons

    def _with_second(self, index: int, rows: list[Comparison]) -> list[Comparison]:
        """The rows with what became of their losses under the second optimiser."""
        found = [(one.loss, one.key) for one in self.contenders if not one.rival]
        if second_optimizer(self.space) and not self.space.task[index].python:
            self.progress.phase("training the best losses under another kind of optimiser")
        results = under_second_optimizer(self.space, self.space.task[index], found, self.recorder, self.epochs)
        return [row if (second := results[row.rank - 1]) is None else with_second(row, second) for row in rows]

    def _tune(self, index: int) -> list[Sweep]:
        if self.space.task[index].python:  # it has a rate of its own, told as 1
            return [Sweep({1.0: 0.0}, 1.0, at_edge=False)] * len(self.contenders)

        def at(contender: Contender) -> Callable[[float], list[Training]]:
            return lambda rate: self._trainings(
                index, contender, rate, self.space.validation.tuning_seeds, Stage.TUNING, "validation"
            )

        named = {f"{place} {one.loss.formula}": at(one) for place, one in enumerate(self.contenders)}
        # A training of the user's own has its own rate.
        rates = [1.0] if self.space.task[index].python else self.space.validation.learning_rates
        sweeps = sweep_together(self.recorder, named, rates, Stage.TUNING)
        for one, sweep in zip(self.contenders, sweeps.values(), strict=True):
            if one.rival:
                require_trained(sweep, one.rival)
        return list(sweeps.values())

    def _test(self, index: int, sweeps: list[Sweep]) -> list[Scored]:
        """What every contender's trainings gave on the test part.

        Raises LossforgeError where a rival's was cut short: its zero would be every discovery's gain.
        """
        jobs = [
            self._trainings(index, one, sweep.best, self.seeds, Stage.VALIDATION, "test")
            for one, sweep in zip(self.contenders, sweeps, strict=True)
        ]
        rivals = {one.key for one in self.contenders if one.rival}
        all_wanted = [training for wanted in jobs for training in wanted]
        answers = iter(self.recorder.run(all_wanted, Stage.VALIDATION, again=rivals))
        tested = []
        for one, wanted in zip(self.contenders, jobs, strict=True):
            rows = list(islice(answers, len(wanted)))
            cut = next((row for row in rows if row.outcome in (Outcome.TIMED_OUT, Outcome.CRASHED)), None)
            if one.rival and cut is not None:
                task = self.space.task[index]
                helps = remedy(self.space, task, cut.outcome, cut.reason, self.folder.path, "validate")
                raise LossforgeError(
                    f"a training of the rival {one.rival} {cut.outcome.replace('_', ' ')} ({cut.reason}), so nothing "
                    f"can be compared with it: {helps}"
                )
            tested.append(Scored.of(rows))
        return tested

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

    def _compare(self, index: int, sweeps: list[Sweep], tested: list[Scored]) -> list[Comparison]:
        task = self.space.task[index]
        finest = 100 * (resolution(task) or finest_step(tested))
        trained_on, tested_on = validated_sizes(task)
        classes, unseen = class_count(task), scores_unseen(task)
        places = [
            (place, other)
            for other, rival in enumerate(self.contenders)
            if rival.rival
            for place, one in enumerate(self.contenders)
            if not one.rival
        ]
        by_seed = [tested[place].differences(tested[other]) for place, other in places]
        found = [paired_difference(differences, resolution=finest) for differences in by_seed]
        pairs = [
            Pair(str(place), self.contenders[other].rival, one)
            for (place, other), one in zip(places, found, strict=True)
        ]
        rows: list[Comparison] = []
        judged = judge_pairs(pairs, resolution=finest)
        for (place, other), differences, difference, verdict in zip(places, by_seed, found, judged, strict=True):
            one, rival = self.contenders[place], self.contenders[other]
            beside = other_tests(differences, resolution=finest)
            images = over_images(tested[place], tested[other], difference) if task.measure == "accuracy" else None
            rows.append(
                Comparison(
                    rank=place + 1,
                    formula=one.loss.formula,
                    size=one.size,
                    rival=rival.rival,
                    search_gain=one.search_gain,
                    gain=difference.mean,
                    low=difference.low,
                    high=difference.high,
                    p=difference.p,
                    p_adjusted=verdict.p_adjusted,
                    seeds=difference.count,
                    task=task.title,
                    accuracy=fmean(tested[place].scores),
                    rival_accuracy=fmean(tested[other].scores),
                    learning_rate=sweeps[place].best,
                    rival_learning_rate=sweeps[other].best,
                    failed=tested[place].failed,
                    rival_failed=tested[other].failed,
                    metric=task.measure,
                    searched=one.searched,
                    classes=classes,
                    trained_on=trained_on,
                    tested_on=tested_on,
                    unseen=unseen,
                    low_images=None if images is None else images.low,
                    high_images=None if images is None else images.high,
                    images_needed=None if images is None else images.images_to_settle,
                    seeds_needed=verdict.seeds_needed,
                    cosine=round(gradient_cosine(one.loss, rival.loss, self.space.head), 6),
                    p_equivalent=verdict.p_equivalent,
                    **asdict(beside),
                )
            )
        return rows
