"""Running a plan: its studies one after the other, each result in a ledger, nothing ever trained twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from lossforge.errors import LossforgeError, SpaceError
from lossforge.evaluation.calibrate import training_seconds, with_gainful_cohorts
from lossforge.evaluation.feasibility import check_fit
from lossforge.evaluation.names import check_names
from lossforge.executors.choice import make_executor, needs_isolation
from lossforge.executors.devices import resolve_device
from lossforge.executors.protocol import Executor, Stop
from lossforge.losses.compiled import LossSpec
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.spaces.plan_schema import LIBRARY, Plan, StudySection, title_of
from lossforge.spaces.plans import study_space
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import Ledger
from lossforge.validation.coarse import Tried, coarse_scores
from lossforge.validation.comparison import Comparison
from lossforge.validation.contenders import Contender, contenders_of, distinct
from lossforge.validation.cost import Cost, cost_of, told
from lossforge.validation.measures import Measured, measured
from lossforge.validation.results import write_comparisons
from lossforge.validation.rows import comparisons
from lossforge.validation.settings import Settings
from lossforge.validation.study import Runner, Study
from lossforge.validation.verdicts import BASELINE

Discovered = tuple[LossSpec, int, float, str]
"""A discovery: the loss, its size, its gain in the search, and the formula there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison is kept: its results' folder, its ledger, and how a line gets into its log.

    ``verb`` and ``folder`` say in an error how to go on.
    """

    results: Path
    ledger: Path
    log: Callable[[str], None]
    verb: str
    folder: Path


def studies_of(plan: Plan, discovered: Sequence[Discovered] = (), origin: str = "") -> list[Study]:
    """The studies of a plan, with their losses and named rivals.

    Raises SpaceError that names the study and the key where a loss, a data set or a network does not exist, and
    LossforgeError where there is nothing to compare.
    """
    studies = []
    for section in plan.study:
        losses, rivals = _apart(*contenders_of(plan, section, discovered, origin))
        if not losses:
            raise SpaceError(
                f"{origin or plan.name}, study '{section.name}': there is no loss to compare with its rivals; give "
                "losses that are none of them"
            )
        space = study_space(plan, section, origin=origin)
        studies.append(Study(section.name, space, losses, rivals, _settings(plan, section, space)))
    return studies


def _apart(losses: list[Contender], rivals: list[Contender]) -> tuple[list[Contender], list[Contender]]:
    """Each loss once, and rivals that are none of them.

    Cross-entropy stays a rival, and so does the last one; a discovery that is a known loss meets it all the same.
    """
    losses, rivals = distinct(losses), distinct(rivals)
    asked = {one.as_trained for one in losses if not one.searched}
    kept = [one for one in rivals if one.name == BASELINE or one.as_trained not in asked] or rivals[:1]
    taken = {one.as_trained for one in kept}
    return [one for one in losses if one.searched or one.as_trained not in taken], kept


def said_twice(plan: Plan, studies: Sequence[Study]) -> list[str]:
    """A sentence for each loss of the plan that is another one written differently: it is compared once."""
    names = {one.name for study in studies for one in [*study.losses, *study.rivals]}
    missing = [title for title in map(title_of, plan.losses) if title not in names and title != LIBRARY]
    return [
        f"{title}: is one of the other losses, or a rival, written in another way; it is compared once"
        for title in missing
    ]


def _settings(plan: Plan, section: StudySection, space: SearchSpace) -> Settings:
    tuning = plan.tuning
    return Settings(
        seeds=plan.seeds_of(section),
        looks=plan.looks,
        margin=plan.margin_of(section),
        epochs=space.recipe.epochs,
        rates=tuple(tuning.learning_rates),
        tuning_seeds=tuning.seeds,
        coarse_rates=tuple(tuning.coarse_rates),
        coarse_seeds=tuning.coarse_seeds,
        known=plan.rivals.best,
        among=tuple(plan.rivals.among),
    )


def check_studies(studies: Sequence[Study], origin: str) -> dict[str, str]:
    """Refuse data that are absent, and networks that do not fit, before anything is trained.

    Returns the sha256 of each of the user's own data sets and files of labels. Raises LossforgeError that names study
    and key.
    """
    from lossforge.data.datasets import own_digest
    from lossforge.data.human_labels import label_file_digest

    digests: dict[str, str] = {}
    for study in studies:
        for space in {one.space.model_dump_json(): one.space for one in [*study.losses, *study.rivals]}.values():
            place = f"{origin}, study '{study.title}'"
            if space.recipe.cohort == "auto" or space.recipe.backend == "trial":
                raise SpaceError(
                    f"{place}: recipe.cohort = 'auto' and backend = 'trial' are found out by a search, for itself; in "
                    "a plan give the number and leave the back end out"
                )
            try:
                check_names(space, place)
                for task in space.task:
                    if task.data:
                        check_fit(task)
                        # Streamed images are too many to be read for that.
                        if digest := None if task.distributed else own_digest(task.data):
                            digests[task.data] = digest
                    if task.noise_file:
                        digests[task.noise_file] = label_file_digest(task.noise_file)
            except LossforgeError as error:
                told_by = str(error)
                raise type(error)(told_by if told_by.startswith(place) else f"{place}: {told_by}") from error
    return digests


def run_plan(plan: Plan, studies: Sequence[Study], place: Place, *, stop: Stop, progress: Progress) -> list[Comparison]:
    """Run the studies, or what is left of them; results are written after each. Finished trainings are not repeated.

    Raises InterruptedSearchError once ``stop()`` is true.
    """
    execution, distributed = plan.execution, _distributed(studies)
    keep = plan.tuning.keep
    progress.phase("estimating the cost")
    studies, costs = _estimated(plan, studies)
    ledger = Ledger(place.ledger)
    try:
        isolated = any(needs_isolation(study.space) for study in studies)
        executor = make_executor(execution, isolated=isolated, distributed=distributed)
        try:
            for line in told([(one.title, cost) for one, cost in zip(studies, costs, strict=True)], executor.workers):
                progress.line(line)
                place.log(line)
            progress.working(executor.meter)
            progress.expect(sum(cost.work for cost in costs))
            kept_by_name = {title_of(one) for one in plan.losses}
            return _Plan(studies, costs, place, progress, kept_by_name).run(ledger, executor, stop, keep)
        finally:
            executor.close()
    finally:
        ledger.close()


def costs_of(plan: Plan, studies: Sequence[Study]) -> list[tuple[str, Cost]]:
    """Of each study its title and its cost, from a few steps of a training here and now."""
    studies, costs = _estimated(plan, studies)
    return [(study.title, cost) for study, cost in zip(studies, costs, strict=True)]


def _estimated(plan: Plan, studies: Sequence[Study]) -> tuple[list[Study], list[Cost]]:
    """The studies with cohorts that gain something here, and their costs."""
    here = plan.execution.executor == "local" and not _distributed(studies)
    device = resolve_device(plan.execution.device) if here else "cpu"
    cut = [_with_cohorts(study, device) for study in studies]
    return cut, [_cost(study, device, plan.tuning.keep or None, measured=here) for study in cut]


def _distributed(studies: Sequence[Study]) -> int:
    """The most workers that train one network together; 0 where each is trained by one. Raises SpaceError for both."""
    counts = {one.space.task[0].distributed: study.title for study in studies for one in [*study.losses, *study.rivals]}
    if 0 in counts and len(counts) > 1:
        raise SpaceError(
            f"study '{counts[0]}': task.distributed is for all studies of a plan, or for none; make two plans of it"
        )
    return max(counts)


def _with_cohorts(study: Study, device: str) -> Study:
    """The study with no more networks at once than gain from it on this kind of device."""

    def cut(one: Contender) -> Contender:
        return replace(one, space=with_gainful_cohorts(one.space, device))

    space = with_gainful_cohorts(study.space, device)
    return replace(
        study, space=space, losses=[cut(one) for one in study.losses], rivals=[cut(one) for one in study.rivals]
    )


def _cost(study: Study, device: str, keep: int | None, *, measured: bool) -> Cost:
    space, epochs = study.space, study.settings.epochs
    seconds = training_seconds(study.task, space.recipe, epochs, device) if measured else 0.0
    return cost_of(study, seconds, kept=keep)


@dataclass(slots=True)
class _Plan:
    studies: Sequence[Study]
    costs: list[Cost]
    place: Place
    progress: Progress
    named: set[str]

    def run(self, ledger: Ledger, executor: Executor, stop: Stop, keep: int) -> list[Comparison]:
        recorder = Recorder(ledger, executor, stop, self.progress.trained, self.place.log, self.progress.recalled)
        runner = Runner(recorder, self.progress, (self.place.verb, self.place.folder))
        tried: list[tuple[str, Tried]] = []
        if keep:
            self.studies, tried = self._kept(recorder, keep)
        rows: list[Comparison] = []
        further: list[Measured] = []
        done = 0.0
        for study, cost in zip(self.studies, self.costs, strict=True):
            self.progress.unit = cost.seconds
            result = runner.run(study)
            tried += [(study.title, one) for one in result.tried]
            rows += comparisons(result)
            further += measured(result)
            done += cost.work
            self.progress.reached(done)
            write_comparisons(self.place.results, rows, tried, further)
        return rows

    def _kept(self, recorder: Recorder, keep: int) -> tuple[list[Study], list[tuple[str, Tried]]]:
        """The studies with the ``keep`` losses that a coarse pass over all of them ranks best, by mean rank.

        All studies keep the same losses, so that they can be ranked over all. A loss that one of them cannot train is
        left out; what the plan names, and a run's best, stay.
        """
        common = set.intersection(*({one.name for one in study.losses} for study in self.studies))
        ranks: dict[str, list[float]] = {}
        tried: list[tuple[str, Tried]] = []
        for study, cost in zip(self.studies, self.costs, strict=True):
            self.progress.unit = cost.seconds
            self.progress.phase(f"{study.title}: a coarse pass over {len(study.losses)} losses")
            losses = [one for one in study.losses if one.name in common]
            scores, own = coarse_scores(losses, study.settings, recorder)
            tried += [(study.title, one) for one in own]
            for one, score in zip(losses, scores, strict=True):
                better = sum(other > score for other in scores)
                equal = sum(other == score for other in scores)
                ranks.setdefault(one.name, []).append(better + (equal + 1) / 2)
        names = list(ranks)
        found = {one.name for study in self.studies for one in study.losses if one.searched}
        best = sorted(names, key=lambda name: (fmean(ranks[name]), names.index(name)))[:keep]
        best += [name for name in names if name in self.named | found and name not in best]
        self.place.log(f"the coarse pass leaves {', '.join(best)}")
        self.progress.line(f"the coarse pass leaves {', '.join(best)}")
        kept = [replace(one, losses=[loss for loss in one.losses if loss.name in best]) for one in self.studies]
        return kept, tried
