"""The ground of a search: the best known loss on its tasks, the noise between seeds, and what is left to gain.

Known losses are trained before the first generation, outside of the population: all at cross-entropy's learning rate in
a coarse pass, the best of them at rates of their own, and the best of those on seeds that chose neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from lossforge.errors import LossforgeError
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY, loss_spec
from lossforge.search.control import control_key
from lossforge.search.scores import as_score
from lossforge.search.statistics import PairedDifference, paired_difference, t_quantile
from lossforge.search.tuning import TrainingsAt, sweep_together
from lossforge.store.stages import Stage

if TYPE_CHECKING:
    from lossforge.evaluation.records import Training
    from lossforge.search.recorder import Recorder
    from lossforge.spaces.schema import SearchSpace, TaskSection

_FACTORS = (1 / 3, 1.0, 3.0)
"""Rates that a known loss is tuned at, in cross-entropy's best; it goes on beyond an end where the best is there."""
CONTROL = "cross_entropy"
_MEASURED = 2
"""Tuned losses that are measured on further seeds."""
_POWER = 0.8
_MOST_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """A known loss, with its best learning rate on each task."""

    name: str
    loss: LossSpec
    key: str
    rates: dict[str, float]

    def to_keep(self) -> dict[str, object]:
        """Plain data, for a checkpoint."""
        return {"name": self.name, "loss": list(self.loss.fields), "key": self.key, "rates": self.rates}

    @classmethod
    def kept(cls, data: object) -> Known | None:
        """What `to_keep` gave; None where a checkpoint has none."""
        if not isinstance(data, Mapping):
            return None
        return cls(data["name"], LossSpec(*data["loss"]), data["key"], dict(data["rates"]))


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known of a space's tasks before anything is searched, in points of their metric, averaged over tasks.

    ``best`` is the best known loss but cross-entropy, ``gain`` its gain over that; ``known`` the better of the two.
    ``spread`` is the standard deviation of such a difference on one seed, ``missing`` what ``known`` leaves to a
    perfect score.
    """

    best: Known
    known: Known
    gain: PairedDifference
    spread: float
    missing: float


def known_losses(space: SearchSpace) -> list[tuple[str, LossSpec, str]]:
    """Name, loss and key of each of ``reference.losses`` that fits the tasks, each loss once; without cross-entropy."""
    names = [name for one in space.reference.losses for name in (LIBRARY if one == "library" else [one])]
    table = not any(task.masks for task in space.task)
    found: dict[tuple[str, float], tuple[str, LossSpec, str]] = {}
    for name in names:
        try:
            loss = loss_spec(name, head=space.head, table=table)
            key = key_in(space, loss)
        except LossforgeError:
            continue
        if (key, loss.label_smoothing) != (control_key(space), 0.0):
            found.setdefault((key, loss.label_smoothing), (name, loss, key))
    return list(found.values())


def explore(space: SearchSpace, recorder: Recorder, rates: Mapping[str, float]) -> Ground | None:
    """Train the known losses; None where ``reference.losses`` has none that fits."""
    settings = space.reference
    losses = known_losses(space)
    if not losses:
        return None
    coarse = _scores(space, recorder, [Known(*one, dict(rates)) for one in losses], range(settings.coarse_seeds))
    order = sorted(range(len(losses)), key=lambda place: (-fmean(coarse[place]), place))
    tuned = _tuned(space, recorder, [losses[place] for place in order[: settings.tuned]], rates)[:_MEASURED]
    control = Known(CONTROL, baseline(space.head), control_key(space), dict(rates))
    first = max(settings.coarse_seeds, settings.tuning_seeds)
    theirs, *own = _scores(space, recorder, [control, *tuned], range(first, first + settings.seeds))
    gains = [_difference(scores, theirs) for scores in own]
    best = max(range(len(tuned)), key=lambda place: (gains[place].mean, -place))
    spread = math.sqrt(fmean(one.spread**2 for one in gains))
    known = tuned[best] if gains[best].mean > 0 else control
    return Ground(tuned[best], known, gains[best], spread, 100 * (1 - max(fmean(own[best]), fmean(theirs))))


def _tuned(
    space: SearchSpace, recorder: Recorder, known: Sequence[tuple[str, LossSpec, str]], rates: Mapping[str, float]
) -> list[Known]:
    """The losses at their best rates, best first."""
    found: dict[str, dict[str, float]] = {name: {} for name, _, _ in known}
    scores: dict[str, list[float]] = {name: [] for name, _, _ in known}
    for task in space.task:
        rate = rates[task.title]
        tried = [rate] if task.python else [float(f"{rate * factor:.3g}") for factor in _FACTORS]
        at: dict[str, TrainingsAt] = {name: partial(_at, space, task, loss, key) for name, loss, key in known}
        for name, sweep in sweep_together(recorder, at, tried, Stage.REFERENCE).items():
            found[name][task.title] = sweep.best
            scores[name].append(sweep.accuracies[sweep.best])
    ready = [Known(name, loss, key, found[name]) for name, loss, key in known]
    return sorted(ready, key=lambda one: -fmean(scores[one.name]))


def _at(space: SearchSpace, task: TaskSection, loss: LossSpec, key: str, rate: float) -> list[Training]:
    seeds = range(space.reference.tuning_seeds)
    return trainings(space, task, loss, key, rate, seeds, stage=Stage.REFERENCE)


def _scores(space: SearchSpace, recorder: Recorder, losses: Iterable[Known], seeds: range) -> list[list[float]]:
    """The score of each loss on each seed, averaged over tasks; see `as_score`."""
    wanted = [
        trainings(space, task, one.loss, one.key, one.rates[task.title], seeds, stage=Stage.REFERENCE)
        for one in losses
        for task in space.task
    ]
    answers = iter(recorder.run([training for some in wanted for training in some], Stage.REFERENCE))
    tasks = len(space.task)
    found = [[as_score(row.accuracy) for row in islice(answers, len(some))] for some in wanted]
    whole = [found[start : start + tasks] for start in range(0, len(found), tasks)]
    return [[fmean(by_task) for by_task in zip(*own, strict=True)] for own in whole]


def _difference(own: Sequence[float], other: Sequence[float]) -> PairedDifference:
    return paired_difference([100 * (a - b) for a, b in zip(own, other, strict=True)], resolution=0.01)


def visible_gain(spread: float, seeds: int) -> float:
    """The gain in points that a two-sided paired test on ``seeds`` finds with probability 0.8, at a level of 5 %.

    By the usual sum of quantiles (Cohen 1988, Statistical Power Analysis), of Student's t.
    """
    return spread / math.sqrt(seeds) * (t_quantile(0.975, seeds - 1) + t_quantile(_POWER, seeds - 1))


def seeds_to_see(gain: float, spread: float) -> int | None:
    """The least number of seeds that makes a gain in points visible; None: more than anybody trains."""
    if gain <= 0:
        return None
    # Never fewer than with a spread that is known.
    count = max(2, math.floor((2.8 * spread / gain) ** 2))
    while count <= _MOST_SEEDS and visible_gain(spread, count) > gain:
        count += 1
    return count if count <= _MOST_SEEDS else None


def told(ground: Ground, space: SearchSpace) -> list[str]:
    """What a search says of its ground before it begins."""
    gain, name, seeds = ground.gain, ground.best.name, space.fitness.fresh_seeds
    measured = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] points over cross-entropy on {gain.count} seeds"
    lines = [f"best known loss: {name}, {measured}; {ground.missing:.1f} points are left to a perfect score"]
    if gain.low <= 0:
        lines[0] = (
            f"nothing known beats cross-entropy here by more than the noise (best: {name}, {measured}); "
            f"{ground.missing:.1f} points are left to a perfect score"
        )
    if seeds:
        seen = visible_gain(ground.spread, seeds)
        half = seeds_to_see(seen / 2, ground.spread)
        takes = "more than anybody trains" if half is None else f"{half:,} seeds"
        lines.append(
            f"a gain below {seen:.2f} points cannot be seen with this budget ({seeds} fresh seeds, whose differences "
            f"have a standard deviation of {ground.spread:.2f} points); half of it takes {takes} (fitness.fresh_seeds)"
        )
        if ground.missing < 2 * seen or gain.low <= 0:
            lines.append(_change(ground, seen))
    return lines


def _change(ground: Ground, seen: float) -> str:
    why = "there is little left to gain" if ground.missing < 2 * seen else "no known loss finds anything"
    return (
        f"{why}: what would change that is a task on which cross-entropy errs more or overfits (wrong labels, fewer or "
        "rarer samples, longer training), more validation samples, or more fresh seeds"
    )
