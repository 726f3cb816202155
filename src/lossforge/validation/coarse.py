"""The known losses that are best for a task, by a coarse pass over all of them on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean

from lossforge.losses.library import LIBRARY
from lossforge.search.recorder import Recorder
from lossforge.search.scores import as_score
from lossforge.spaces.schema import SearchSpace
from lossforge.store.stages import Stage
from lossforge.validation.contenders import Contender, fitting
from lossforge.validation.settings import Settings


@dataclass(frozen=True, slots=True)
class Tried:
    """A rate that was tried on validation data, in the "coarse" pass or the "full" one; mean ``score`` in [0, 1]."""

    loss: str
    stage: str
    learning_rate: float
    seeds: int
    score: float


def candidates(space: SearchSpace, settings: Settings, others: Sequence[Contender]) -> list[Contender]:
    """The losses that a coarse pass tries: those of the library, or named, that fit; without the ``others``."""
    known = {(one.key, one.loss.label_smoothing) for one in others}
    found = fitting(settings.among or LIBRARY, space)
    return [one for one in found if (one.key, one.loss.label_smoothing) not in known]


def coarse_scores(
    contenders: Sequence[Contender], settings: Settings, recorder: Recorder
) -> tuple[list[float], list[Tried]]:
    """The best mean validation score of each at the coarse rates, in [0, 1], and all that was tried.

    A failed training counts as 0. Nobody's grid is extended: all have the same trials.
    """
    seeds = range(settings.coarse_seeds)
    jobs = [
        (place, rate, one.trainings(rate, seeds, stage=Stage.COARSE, part="validation", epochs=settings.epochs))
        for place, one in enumerate(contenders)
        for rate in (settings.coarse_rates if one.fixed_rate is None else [one.fixed_rate])
    ]
    answers = iter(recorder.run([training for _, _, job in jobs for training in job], Stage.COARSE))
    tried, best = [], [0.0] * len(contenders)
    for place, rate, job in jobs:
        score = fmean(as_score(row.accuracy) for row in islice(answers, len(job)))
        tried.append(Tried(contenders[place].name, "coarse", rate, len(job), score))
        best[place] = max(best[place], score)
    return best, tried


def best_known(
    space: SearchSpace, settings: Settings, others: Sequence[Contender], recorder: Recorder
) -> tuple[list[Contender], list[Tried]]:
    """The ``settings.known`` best of the known losses that are not among the ``others``, best first, as rivals."""
    found = candidates(space, settings, others)
    scores, tried = coarse_scores(found, settings, recorder)
    order = sorted(range(len(found)), key=lambda place: (-scores[place], place))
    return [replace(found[place], is_rival=True) for place in order[: settings.known]], tried
