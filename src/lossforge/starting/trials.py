"""Short trainings of cross-entropy on this machine: which network and rate, what one costs, and how noisy it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from lossforge.errors import LossforgeError, ModelError
from lossforge.evaluation.calibrate import training_seconds, with_gainful_cohorts
from lossforge.evaluation.records import Training, pack
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.executors.protocol import Executor
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import loss_spec
from lossforge.search.reference import visible_gain
from lossforge.search.tuning import MAX_EXTENSIONS
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import SearchSpace

_STAGE = "start"
"""Names the seeds of these trainings, which are nobody else's."""
RATES = (0.001, 0.003, 0.01)
_TRIED_SEEDS = 2
_NOISE_SEEDS = 8
_OTHER = {"softmax": "gce", "binary": "gce", "sigmoid": "brier"}
"""A second loss on the same seeds: what a gain would be measured on is a difference of pairs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A network, its width and an image size to try, with how long a training is. ``resize`` None: as the data are."""

    model: str
    width: int
    train: int
    validation: int
    epochs: int
    resize: int | None = None

    @property
    def told(self) -> str:
        """What tables call it."""
        size = f", images of {self.resize}" if self.resize else ""
        return f"{self.model} of width {self.width}{size}"

    def keys(self) -> dict[str, Any]:
        """Its keys of the task."""
        own: dict[str, Any] = {
            "model": self.model,
            "width": self.width,
            "train": self.train,
            "validation": self.validation,
        }
        return own | ({} if self.resize is None else {"resize": self.resize})


@dataclass(frozen=True, slots=True)
class Trial:
    """What a setting gave: mean score (0 to 1) by learning rate, and seconds of one worker for one training."""

    setting: Setting
    scores: Mapping[float, float]
    seconds: float

    @property
    def rate(self) -> float:
        """The best rate; the lower one among equals."""
        return min(self.scores, key=lambda rate: (-self.scores[rate], rate))

    @property
    def score(self) -> float:
        """Mean score at the best rate."""
        return self.scores[self.rate]


@dataclass(frozen=True, slots=True)
class Noise:
    """Over seeds, in percentage points: deviation of one training, and of a paired difference of two losses.

    ``seconds`` are those of the clock that a training takes one worker while all are busy; ``load`` is how many times
    as many they are as the processor's own, for what else the machine does.
    """

    score: float
    spread: float
    paired: float
    seeds: int
    seconds: float
    load: float = 1.0

    def smallest_gain(self, seeds: int) -> float:
        """The gain in points that so many paired seeds show four times in five, by a two-sided test at 5 %."""
        return visible_gain(self.paired, seeds)


def space_with(base: Mapping[str, Any], setting: Setting) -> SearchSpace:
    """The space of a setting on the tables in ``base``, with cohorts that gain something here."""
    recipe = {**base.get("recipe", {}), "epochs": setting.epochs}
    tables = {**base, "task": {**base["task"], **setting.keys()}, "recipe": recipe}
    return validate_space(tables, "the new space").decided()


def step_cost(base: Mapping[str, Any], setting: Setting, device: str) -> float | None:
    """Seconds of one worker for one training of a setting, from a few steps; None where the network does not fit."""
    try:
        space = with_gainful_cohorts(space_with(base, setting), device)
        return training_seconds(space.task[0], space.recipe.of(space.task[0]), setting.epochs, device)
    except ModelError:
        return None


def try_settings(base: Mapping[str, Any], settings: Sequence[Setting], executor: Executor) -> list[Trial]:
    """Train each at three rates on two seeds, and at rates beyond where the best is at an end."""
    return [_tried(with_gainful_cohorts(space_with(base, one), executor.device), one, executor) for one in settings]


def _tried(space: SearchSpace, setting: Setting, executor: Executor) -> Trial:
    found: dict[float, float] = {}
    rates = list(RATES)
    seconds = []
    for _ in range(MAX_EXTENSIONS):
        wanted = [training for rate in rates for training in _cross_entropy(space, rate, range(_TRIED_SEEDS))]
        scores, each, _ = _run(wanted, executor)
        seconds.append(each)
        for place, rate in enumerate(rates):
            found[rate] = fmean(scores[place * _TRIED_SEEDS : (place + 1) * _TRIED_SEEDS])
        trial = Trial(setting, found, min(seconds))
        factor = RATES[1] / RATES[0]
        if trial.rate == min(found):
            rates = [float(f"{trial.rate / factor:.2g}")]
        elif trial.rate == max(found):
            rates = [float(f"{trial.rate * factor:.2g}")]
        else:
            break
    return trial


def measure_noise(space: SearchSpace, rate: float, executor: Executor) -> Noise:
    """Train cross-entropy and another loss on the same seeds, on all workers. Raises LossforgeError where it fails."""
    lanes = space.recipe.of(space.task[0]).lanes
    seeds = range(max(_NOISE_SEEDS, lanes * executor.workers // 2))
    other = loss_spec(_OTHER[space.head], head=space.head)
    wanted = [*_cross_entropy(space, rate, seeds), *_of(space, other, rate, seeds)]
    scores, each, wall = _run(wanted, executor)
    first, second = scores[: len(seeds)], scores[len(seeds) :]
    gains = [100 * (b - a) for a, b in zip(first, second, strict=True)]
    return Noise(fmean(first), 100 * stdev(first), stdev(gains), len(seeds), wall, max(1.0, wall / max(each, 1e-9)))


def _cross_entropy(space: SearchSpace, rate: float, seeds: Sequence[int]) -> list[Training]:
    return _of(space, baseline(space.head), rate, seeds)


def _of(space: SearchSpace, loss: LossSpec, rate: float, seeds: Sequence[int]) -> list[Training]:
    return trainings(space, space.task[0], loss, key_in(space, loss), rate, seeds, stage=_STAGE)


def _run(wanted: Sequence[Training], executor: Executor) -> tuple[list[float], float, float]:
    """Scores, 0 for a failed one, as asked; and a worker's seconds for one training, by its own clock and by ours."""
    requests = pack(wanted)
    answers: dict[int, tuple[float | None, ...]] = {}
    work = 0.0
    started = time.monotonic()
    for place, result in executor.run(requests, lambda: False):
        answers[place] = result.accuracies
        work += result.seconds
        if result.failed_whole:
            raise LossforgeError(
                f"cross-entropy could not be trained here: {result.reasons[0]}; see 'lossforge doctor', or give a "
                "smaller network with --network"
            )
    wall = (time.monotonic() - started) * min(executor.workers, len(requests))
    found = {}
    for place, request in enumerate(requests):
        for training, score in zip(request.trainings, answers[place], strict=True):
            found[training.key, training.learning_rate, training.replicate] = score or 0.0
    scores = [found[one.key, one.learning_rate, one.replicate] for one in wanted]
    return scores, work / len(wanted), wall / len(wanted)
