"""Whether a loss trains under another kind of optimiser than its search's.

An adaptive optimiser divides a gradient by its own size, and so hides a loss whose gradient is far too large or small.
Each loss is trained under the other kind too, tuned like cross-entropy is there, and the two are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean

from lossforge.evaluation.records import Training
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.search.recorder import Recorder
from lossforge.search.scores import as_score
from lossforge.search.tuning import sweep_together
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.store.stages import Stage
from lossforge.validation.comparison import Comparison

ENOUGH = 0.95
"""Share of cross-entropy's score from which on a loss works under an optimiser."""
_KIND = {"sgd": "SGD with momentum", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
_ADAPTIVE_RATES = [0.0003, 0.001, 0.003, 0.01, 0.03]
_RATES = {"sgd": [0.003, 0.01, 0.03, 0.1, 0.3]}


@dataclass(frozen=True, slots=True)
class SecondResult:
    """A loss under another optimiser: its mean score (0: failed) and cross-entropy's there, each at its best rate."""

    optimizer: str
    score: float
    control: float
    learning_rate: float
    seeds: int

    @property
    def works(self) -> bool:
        """Whether it reaches ``ENOUGH`` of cross-entropy's score there."""
        return self.score >= ENOUGH * self.control


def optimizer_title(name: str) -> str:
    """How people call an optimiser of `lossforge.spaces.recipe_section`.

    >>> optimizer_title("sgd")
    'SGD with momentum'
    """
    return _KIND.get(name, name)


def second_optimizer(space: SearchSpace) -> str:
    """The optimiser that the space's losses are tried under besides its own; "" for none."""
    asked = space.validation.second_optimizer
    if asked != "auto":
        return "" if asked in ("none", space.recipe.optimizer) else asked
    return "adam" if space.recipe.optimizer == "sgd" else "sgd"


def under_second_optimizer(
    space: SearchSpace, task: TaskSection, losses: Sequence[tuple[LossSpec, str]], recorder: Recorder, epochs: int
) -> list[SecondResult | None]:
    """Train the losses, each with its key, and cross-entropy under the second optimiser; None where there is none.

    Rates are tuned on validation data; scores are of the test part. A failed training counts as 0.
    """
    name = second_optimizer(space)
    if not name or task.python:
        return [None] * len(losses)
    settings = space.validation
    recipe = space.recipe.model_copy(update={"optimizer": name, "precision": "float32"})
    other = space.model_copy(update={"recipe": recipe})
    control = baseline(task.head)
    wanted = [*losses, (control, key_in(other, control))]

    def of(place: int, rate: float, seeds: int, stage: str, part: str) -> list[Training]:
        loss, key = wanted[place]
        return trainings(other, task, loss, key, rate, range(seeds), stage=stage, part=part, epochs=epochs)

    sweeps = sweep_together(
        recorder,
        {
            str(place): lambda rate, place=place: of(
                place, rate, settings.second_tuning_seeds, Stage.TUNING, "validation"
            )  # type: ignore[misc]
            for place in range(len(wanted))
        },
        settings.second_learning_rates or _RATES.get(name, _ADAPTIVE_RATES),
        Stage.SECOND_TUNING,
    )
    rates = [sweep.best for sweep in sweeps.values()]
    jobs = [of(place, rate, settings.second_seeds, Stage.VALIDATION, "test") for place, rate in enumerate(rates)]
    rows = iter(recorder.run([training for job in jobs for training in job], Stage.SECOND))
    scores = [fmean(as_score(row.accuracy) for row in islice(rows, len(job))) for job in jobs]
    return [
        SecondResult(name, score, scores[-1], rate, settings.second_seeds)
        for score, rate in zip(scores[:-1], rates[:-1], strict=True)
    ]


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
    who = f"rank {named} stays" if len(failing) == 1 else f"ranks {named} stay"
    return (
        f"under {name}, each at its own best rate there, {who} below {ENOUGH:.0%} of cross-entropy's score: "
        "use the search's optimiser with it"
    )
