"""What `throughput.py` times on lossforge's side, and the stream of candidates that both sides meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lossforge.evaluation.records import Training, pack
from lossforge.evaluation.space_trainings import trainings
from lossforge.evolution.genetic import GeneticStrategy
from lossforge.evolution.strategy import Proposal
from lossforge.executors.protocol import Executor
from lossforge.expression.tree import CONSTANT, Expression, format_formula, format_number
from lossforge.losses.compiled import LossSpec
from lossforge.screening.screener import Screener
from lossforge.search.loop import screen_settings
from lossforge.spaces.schema import SearchSpace
from lossforge.store.stages import Stage

WARM_UP = ("square(y_true - y_pred)", "exp(y_pred) - y_true * log(y_pred)")
Accuracies = list[float | None]


def prefix(tree: Expression) -> str:
    """The tree as DEAP writes it."""
    if tree.op == CONSTANT:
        return format_number(tree.value)
    return f"{tree.op}({', '.join(map(prefix, tree.args))})" if tree.args else tree.op


def trainings_of(space: SearchSpace, formulas: Sequence[str], seeds: int, rate: float) -> list[Training]:
    """lossforge's trainings of the formulas, on ``seeds`` seeds each."""
    (task,) = space.task
    return [
        training
        for formula in formulas
        for training in trainings(space, task, LossSpec(formula), formula, rate, range(seeds), stage=Stage.SEARCH)
    ]


def lossforge_trains(
    executor: Executor, space: SearchSpace, formulas: Sequence[str], seeds: int, rate: float
) -> Accuracies:
    """lossforge's accuracies: of the first formula on every seed, then of the second."""
    requests = pack(trainings_of(space, formulas, seeds, rate))
    results = dict(executor.run(requests, lambda: False))
    return [accuracy for index in range(len(requests)) for accuracy in results[index].accuracies]


class Recorded(GeneticStrategy):
    """A strategy that remembers what it proposed."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self.proposed: list[Expression] = []

    def ask(self) -> Proposal:
        proposal = super().ask()
        self.proposed.append(proposal.expression)
        return proposal


def uses_both(tree: Expression) -> bool:
    return tree.uses("y_pred") and tree.uses("y_true")


def screened(space: SearchSpace, count: int) -> list[str]:
    """The first candidates of the space's strategy that pass its screens, each loss once."""
    strategy, screener = GeneticStrategy(space), Screener(screen_settings(space))
    found: dict[str, str] = {}
    while len(found) < count:
        for answer in screener.screen([strategy.ask().expression for _ in range(32)]):
            if answer.rejected_by is None and answer.signature is not None:
                found.setdefault(answer.signature, format_formula(answer.expression))
    return list(found.values())[:count]


def with_cohort(space: SearchSpace, cohort: int) -> SearchSpace:
    return space.model_copy(update={"recipe": space.recipe.model_copy(update={"cohort": cohort})})


def lanes_memory(space: SearchSpace, lanes: int, rate: float, device: str) -> float:
    """MiB that a training of ``lanes`` networks adds to this process's peak, with all that one network needs there."""
    from lossforge.evaluation.evaluate import evaluate

    torch.set_num_threads(1)
    alone, together = (
        pack(trainings_of(with_cohort(space, number), [WARM_UP[1]], number, rate))[0] for number in (1, lanes)
    )
    evaluate(alone, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        evaluate(together, device)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # getrusage's peak is inherited from the parent, and remembers the imports: Linux lets this one begin anew.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_resident()
    evaluate(together, device)
    return peak_resident() - before


def peak_resident() -> float:
    """Largest resident set of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
