"""One study: losses and rivals tuned alike, trained on fresh seeds, scored on the test part, and judged at looks.

1. The known losses that are best for the task are chosen by a coarse pass on validation data; see
   `lossforge.validation.coarse`.
2. Every loss, discovered or rival, gets its learning rate from one grid, by validation data.
3. Each is trained at its own best rate on training and validation data together, with seeds that nothing has used
   before, and scored on the test part. At 4, 8, 16 ... seeds every pair of a loss and a rival is judged, and what
   is decided gets no more; see `lossforge.validation.sequential`.
4. Differences are paired by seed. Nothing is picked by its test score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.evaluation.feasibility import occurring_classes, resolution
from lossforge.evaluation.records import Outcome, Training
from lossforge.evaluation.remedies import remedy
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.search.tuning import Sweep, require_trained, sweep_together
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.store.ledger import TrainingRow
from lossforge.store.stages import Stage
from lossforge.validation.coarse import Tried, best_known
from lossforge.validation.contenders import Contender
from lossforge.validation.scored import Scored, finest_step
from lossforge.validation.sequential import at_look
from lossforge.validation.settings import Settings
from lossforge.validation.statistics import PairedDifference
from lossforge.validation.verdicts import Pair, PairJudgement, judge_pairs, undecided


@dataclass(frozen=True, slots=True)
class Study:
    """What is compared, and how; ``title`` is the study's name in tables."""

    title: str
    space: SearchSpace
    losses: list[Contender]
    rivals: list[Contender]
    settings: Settings

    @property
    def task(self) -> TaskSection:
        """Its task."""
        return self.space.task[0]


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair of places in `Result`, its paired difference as it stood when it was decided, and what it shows."""

    loss: int
    rival: int
    difference: PairedDifference
    judgement: PairJudgement


@dataclass(slots=True)
class Result:
    """What a study gave. ``tested`` and ``sweeps`` are in the order of the losses and then of the rivals."""

    study: Study
    losses: list[Contender]
    rivals: list[Contender]
    sweeps: list[Sweep]
    tested: list[Scored]
    judged: list[Judged]
    finest: float
    tried: list[Tried] = field(default_factory=list)

    def pair(self, judged: Judged) -> tuple[Scored, Scored]:
        """Both sides' scores, on the seeds that the pair was judged on."""
        count = judged.difference.count
        return self.tested[judged.loss].first(count), self.tested[len(self.losses) + judged.rival].first(count)


class Runner:
    """Runs studies; ``again`` says how to go on where a rival cannot be trained: a verb and the folder."""

    def __init__(self, recorder: Recorder, progress: Progress, again: tuple[str, Path]) -> None:
        self.recorder = recorder
        self.progress = progress
        self.again = again

    def run(self, study: Study) -> Result:
        """Run a study, or what is left of it. Raises InterruptedSearchError once it is asked to stop."""
        chosen: list[Contender] = []
        tried: list[Tried] = []
        if study.settings.known and not study.task.python:
            self._phase(study, "trying the known losses on validation data")
            chosen, tried = best_known(study.space, study.settings, study.rivals, self.recorder)
        rivals = [*study.rivals, *chosen]
        contenders = [*study.losses, *rivals]
        sweeps = self._tune(study, contenders)
        tried += [
            Tried(one.name, "full", rate, study.settings.tuning_seeds, score)
            for one, sweep in zip(contenders, sweeps, strict=True)
            for rate, score in sorted(sweep.accuracies.items())
        ]
        tested, judged, finest = self._test(study, contenders, sweeps)
        return Result(study, study.losses, rivals, sweeps, tested, judged, finest, tried)

    def _phase(self, study: Study, text: str) -> None:
        self.progress.phase(f"{study.title}: {text}")

    def _tune(self, study: Study, contenders: list[Contender]) -> list[Sweep]:
        settings = study.settings
        sweeps: dict[str, Sweep] = {}
        wanted: dict[str, Callable[[float], list[Training]]] = {}
        for place, one in enumerate(contenders):
            if one.fixed_rate is not None:
                sweeps[str(place)] = Sweep({}, one.fixed_rate, at_edge=False)
            else:
                wanted[str(place)] = lambda rate, one=one: one.trainings(  # type: ignore[misc]
                    rate, range(settings.tuning_seeds), stage=Stage.TUNING, part="validation", epochs=settings.epochs
                )
        if wanted:
            self._phase(study, "tuning losses and rivals alike")
            sweeps |= sweep_together(self.recorder, wanted, list(settings.rates), Stage.TUNING)
        for place, one in enumerate(contenders):
            if one.is_rival and one.fixed_rate is None:
                require_trained(sweeps[str(place)], one.name)
        return [sweeps[str(place)] for place in range(len(contenders))]

    def _test(
        self, study: Study, contenders: list[Contender], sweeps: list[Sweep]
    ) -> tuple[list[Scored], list[Judged], float]:
        """Train on fresh seeds, look by look, until every pair is decided or has all its seeds."""
        losses, looks = len(study.losses), study.settings.planned
        rivals = len(contenders) - losses
        rows: list[list[TrainingRow]] = [[] for _ in contenders]
        decided: dict[tuple[int, int], Judged] = {}
        open_ = [(loss, rival) for rival in range(rivals) for loss in range(losses)]
        finest, done, classes = 0.0, 0, occurring_classes(study.task)
        tested: list[Scored] = []
        for look in looks:
            active = sorted({loss for loss, _ in open_} | {losses + rival for _, rival in open_})
            self._phase(study, f"training losses and rivals for the test, {look} of at most {looks[-1]} seeds")
            self._train(study, contenders, sweeps, active, range(done, look), rows)
            done = look
            tested = [Scored.of(own, classes) for own in rows]
            finest = 100 * (resolution(study.task) or finest_step(tested))
            open_ = self._judge(study, contenders, tested, open_, decided, look, finest)
            if not open_:
                break
        ordered = [decided[loss, rival] for rival in range(rivals) for loss in range(losses)]
        return tested, ordered, finest

    def _judge(
        self,
        study: Study,
        contenders: list[Contender],
        tested: list[Scored],
        open_: list[tuple[int, int]],
        decided: dict[tuple[int, int], Judged],
        look: int,
        finest: float,
    ) -> list[tuple[int, int]]:
        """Judge every pair, those that are decided as they stood then; returns those that are still open."""
        losses, looks = len(study.losses), study.settings.planned
        for loss, rival in open_:
            differences = tested[loss].differences(tested[losses + rival])
            found = at_look(differences, looks, resolution=finest)
            decided[loss, rival] = Judged(loss, rival, found, _UNJUDGED)
        places = sorted(decided, key=lambda pair: pair[::-1])
        pairs = [Pair(str(loss), str(rival), decided[loss, rival].difference) for loss, rival in places]
        judged = judge_pairs(pairs, margin=study.settings.margin, resolution=finest, looks=looks)
        for place, judgement in zip(places, judged, strict=True):
            decided[place] = replace(decided[place], judgement=judgement)
        still = {places[number] for number in undecided(judged)}
        return [pair for pair in open_ if pair in still]

    def _train(
        self,
        study: Study,
        contenders: list[Contender],
        sweeps: list[Sweep],
        active: Sequence[int],
        seeds: range,
        rows: list[list[TrainingRow]],
    ) -> None:
        """Train the active ones on the seeds, and add what came of it to their rows.

        Raises LossforgeError where a rival's was cut short: its zero would be every discovery's gain.
        """
        epochs = study.settings.epochs
        jobs = [
            contenders[place].trainings(sweeps[place].best, seeds, stage=Stage.VALIDATION, part="test", epochs=epochs)
            for place in active
        ]
        rivals = {one.key for one in contenders if one.is_rival}
        wanted = [training for job in jobs for training in job]
        answers = iter(self.recorder.run(wanted, Stage.VALIDATION, again=rivals))
        for place, job in zip(active, jobs, strict=True):
            found = list(islice(answers, len(job)))
            cut = next((row for row in found if row.outcome in (Outcome.TIMED_OUT, Outcome.CRASHED)), None)
            one = contenders[place]
            if one.is_rival and cut is not None:
                verb, folder = self.again
                helps = remedy(one.space, one.space.task[0], cut.outcome, cut.reason, folder, verb)
                raise LossforgeError(
                    f"a training of the rival {one.name} {cut.outcome.replace('_', ' ')} ({cut.reason}), so nothing "
                    f"can be compared with it: {helps}"
                )
            rows[place] += found


_UNJUDGED = PairJudgement.open()
