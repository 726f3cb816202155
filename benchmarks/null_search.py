"""What a search announces where there is nothing to find, and what it finds where there is something.

Simulated searches: the strategy, generations, races, promotions, reference losses, fresh replicates and verdict are the
real ones; the screens let everything pass, and a training's score is drawn: a level, what its seed adds for all losses,
noise of its own, and the candidate's true gain. The noise is that of a run's ledger where one is given:

    python benchmarks/null_search.py --searches 200 [--ledger RUN]
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

from lossforge.evaluation.records import Training
from lossforge.evaluation.space_trainings import trainings
from lossforge.evolution.choice import make_strategy
from lossforge.losses.behind_heads import baseline
from lossforge.screening.candidates import Judgement
from lossforge.search.control import control_key
from lossforge.search.fresh import FreshTrainings, announces
from lossforge.search.generation import Generation
from lossforge.search.reference import CONTROL, explore
from lossforge.search.scores import Scores
from lossforge.seeding import derive_seed
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace
from lossforge.spaces.shipped import find_space
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.stages import Stage

LEVEL, COMMON = 0.9, 0.01
REFERENCES = ["generalized_ce", "mean_absolute_error", "focal", "symmetric_ce", "label_smoothing", "ngl"]


def gaussian_noise(points: float = 1.0) -> list[float]:
    """Differences between two losses on one seed, with this standard deviation, in [0, 1]."""
    draw = random.Random(0)
    return [draw.gauss(0, points / 100) for _ in range(4096)]


def ledger_noise(run: Path) -> list[float]:
    """The differences to cross-entropy in a run's ledger, each without its loss's mean; losses with 4 seeds or more."""
    ledger = Ledger(run / "ledger.sqlite", read_only=True)
    control = {(row.task, row.seed): row.accuracy for row in ledger.trainings(Stage.CONTROL)}
    gains: dict[str, list[float]] = {}
    for row in ledger.trainings(Stage.SEARCH):
        theirs = control.get((row.task, row.seed))
        if row.accuracy is not None and theirs is not None:
            gains.setdefault(row.key, []).append(row.accuracy - theirs)
    ledger.close()
    # Losses far below cross-entropy have another noise, and are not those that a search chooses between.
    some = [own for own in gains.values() if len(own) >= 4 and fmean(own) > -0.03]
    return [(one - fmean(own)) * math.sqrt(len(own) / (len(own) - 1)) for own in some for one in own]


class DrawnScores:
    """Answers as a recorder does, at once; see the module."""

    def __init__(self, seed: int, noise: Sequence[float], gain_of: Callable[[str], float]) -> None:
        self.seed, self.noise, self.gain_of = seed, noise, gain_of
        self.trainings = 0

    def stop(self) -> bool:
        """Nobody stops it."""
        return False

    def run(self, wanted: Iterable[Training], stage: str, generation: int = 0) -> list[TrainingRow]:
        """A row for each training."""
        return [self._row(one, stage, generation) for one in wanted]

    def run_all(self, wanted: Iterable[tuple[str, Iterable[Training]]], generation: int = 0) -> list[list[TrainingRow]]:
        """The same for several stages."""
        return [self.run(chosen, stage, generation) for stage, chosen in wanted]

    def _row(self, one: Training, stage: str, generation: int) -> TrainingRow:
        self.trainings += 1
        title = one.setup.task.title
        common = random.Random(derive_seed(self.seed, "common", one.seed)).gauss(0, COMMON)
        own = self.noise[derive_seed(self.seed, "own", one.key, one.seed) % len(self.noise)] / math.sqrt(2)
        score = min(1.0, max(0.0, LEVEL + common + own + self.gain_of(one.key)))
        where = (title, "validation", one.learning_rate, 1, "trained")
        return TrainingRow(
            one.key, one.seed, one.replicate, stage, generation, one.key, one.loss.formula, *where, score, "", 1.0
        )


class _NoScreens:
    ahead = 0

    def __init__(self, space: SearchSpace) -> None:
        self._known = {str(baseline(space.head).formula): control_key(space)}

    def begin(self, candidates: Sequence[Any]) -> Any:
        return list(candidates)

    def drop(self, lot: Any) -> None:
        pass

    def finish(self, lot: Any, trained: object) -> list[Judgement]:
        return [Judgement(one, self._known.get(str(one), f"own {one}"), None, "") for one in lot]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a simulated search ended. Gains in points; ``true`` is that of its first loss."""

    announced: bool
    gain: float
    low: float
    high: float
    true: float
    search_gain: float
    above_known: bool
    trainings: int


def simulated_search(
    space: SearchSpace, seed: int, noise: Sequence[float], gain_of: Callable[[str], float] = lambda key: 0.0
) -> Ended:
    """One search with drawn scores; ``gain_of`` says a candidate's true gain, in [0, 1], by its key."""
    space = space.model_copy(update={"seed": seed})
    drawn = DrawnScores(seed, noise, gain_of)
    recorder: Any = drawn
    rates = {task.title: 0.01 for task in space.task}
    scores = Scores(space.fitness)
    wanted = [
        training
        for task in space.task
        for training in trainings(
            space,
            task,
            baseline(space.head),
            control_key(space),
            rates[task.title],
            range(space.fitness.finalist_seeds),
            stage=Stage.SEARCH,
        )
    ]
    scores.add_control(drawn.run(wanted, Stage.CONTROL))
    ground = explore(space, recorder, rates)
    known = None if ground is None else ground.known
    screener: Any = _NoScreens(space)
    generation = Generation(space, make_strategy(space), screener, scores, recorder, rates)
    for number in range(space.budget.generations):
        generation.run(number)
    generation.finish(space.budget.generations)
    fresh = FreshTrainings(space, rates, scores, known)
    found = fresh.measured(drawn.run(fresh.wanted, Stage.FRESH))
    first = next(iter(found))
    over, gain = found[first].over_known, found[first].gain
    above = over is not None and over.low > 0 and announces(found[first])
    above = above or (announces(found[first]) and known is not None and known.name == CONTROL)
    return Ended(
        announces(found[first]),
        gain.mean,
        gain.low,
        gain.high,
        100 * (gain_of(first) - gain_of(control_key(space))),
        100 * scores.gain(first),
        above,
        drawn.trainings,
    )


def few_are_better(seed: int, share: float = 0.02, gain: float = 0.01) -> Callable[[str], float]:
    """True gains: a share of the candidates has one, the others none."""
    return lambda key: gain if key.startswith("own ") and _uniform(seed, key) < share else 0.0


def _uniform(seed: int, key: str) -> float:
    return derive_seed(seed, "better", key) % 2**32 / 2**32


def default_space() -> SearchSpace:
    """The default space with a few reference losses: what they cost is not what is asked here."""
    space = load_space(find_space("digits"), [])
    reference = space.reference.model_copy(update={"losses": REFERENCES})
    return space.model_copy(update={"reference": reference})


def table(ended: Sequence[Ended]) -> str:
    """Figures of many searches, in words."""
    bias = [one.gain - one.true for one in ended]
    luck = fmean(one.search_gain - one.true for one in ended)
    covered = sum(one.low <= one.true <= one.high for one in ended)
    found = sum(one.announced and one.true > 0 for one in ended)
    return (
        f"{len(ended)} searches of {fmean(one.trainings for one in ended):.0f} trainings: "
        f"{sum(one.announced for one in ended)} announce something ({found} of them a loss with a true gain), "
        f"{sum(one.above_known for one in ended)} call it better than every known loss; the first has a true gain in "
        f"{sum(one.true > 0 for one in ended)}; reported minus true gain {fmean(bias):+.3f} ± "
        f"{1.96 * stdev(bias) / math.sqrt(len(bias)):.3f} points, of the search's own gain {luck:+.2f}; "
        f"{covered} intervals hold the true gain"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument(
        "--points", type=float, default=1.0, help="standard deviation of a difference, without --ledger"
    )
    given = parser.parse_args(namespace=SimpleNamespace())
    noise = ledger_noise(given.ledger) if given.ledger else gaussian_noise(given.points)
    print(f"{len(noise)} differences, standard deviation {100 * stdev(noise):.2f} points")
    space = default_space()
    nothing = [simulated_search(space, seed, noise) for seed in range(given.searches)]
    print(f"no effect: {table(nothing)}")
    some = [simulated_search(space, seed, noise, few_are_better(seed)) for seed in range(given.searches)]
    print(f"1 point in 2 %: {table(some)}")


if __name__ == "__main__":
    main()
