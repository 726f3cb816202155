"""What the leaders of a search are worth, on fresh replicates.

The best of many looks better than it is on whatever chose it (the winner's luck; "The optimizer's curse", Smith and
Winkler 2006, Management Science 52:311). So the leaders are trained once more, with seeds of their own that no choice
has seen, beside cross-entropy and the best known loss on the same seeds: gains and intervals come from those alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from lossforge.evaluation.space_trainings import trainings
from lossforge.losses.behind_heads import baseline
from lossforge.losses.candidates import candidate_spec
from lossforge.search.control import control_key
from lossforge.search.hall_of_fame import Measured
from lossforge.search.likeness import families
from lossforge.search.reference import CONTROL, Known
from lossforge.search.scores import as_score, is_score
from lossforge.search.statistics import PairedDifference, paired_difference
from lossforge.store.stages import Stage

if TYPE_CHECKING:
    from lossforge.evaluation.records import Training
    from lossforge.losses.compiled import LossSpec
    from lossforge.search.scores import Scores
    from lossforge.spaces.schema import SearchSpace
    from lossforge.store.ledger import TrainingRow

RESOLUTION = 0.01
"""Points of a gain that are told apart."""
_CONTROL, _KNOWN = "", "known"


class FreshTrainings:
    """The trainings on fresh replicates of the leaders of ``scores``, cross-entropy's and the best ``known`` loss's."""

    def __init__(self, space: SearchSpace, rates: Mapping[str, float], scores: Scores, known: Known | None) -> None:
        self._space = space
        settings = space.fitness
        keys = [family.key for family in families(scores, space, control_key(space), settings.measured)]
        self._wanted: dict[str, list[Training]] = {}
        if not settings.fresh_seeds or not keys:
            return
        self._wanted[_CONTROL] = self._of(baseline(space.head), control_key(space), rates)
        if known is not None:
            self._wanted[_KNOWN] = self._of(known.loss, known.key, known.rates)
        for key in keys:
            self._wanted[key] = self._of(candidate_spec(scores.judged[key].formula, space.head), key, rates)

    def _of(self, loss: LossSpec, key: str, rates: Mapping[str, float]) -> list[Training]:
        return [
            training
            for task in self._space.task
            for training in trainings(
                self._space,
                task,
                loss,
                key,
                rates[task.title],
                range(self._space.fitness.fresh_seeds),
                stage=Stage.FRESH,
            )
        ]

    @property
    def wanted(self) -> list[Training]:
        """All of them."""
        return [training for some in self._wanted.values() for training in some]

    def measured(self, rows: Iterable[TrainingRow]) -> dict[str, Measured]:
        """What the ``rows`` of `wanted`, in its order, say of each leader, by its key.

        A leader's failed training counts as in `as_score`. Where cross-entropy, or the known loss, failed, there is
        nothing to compare with, and the replicate is left out; nothing is measured where fewer than two are left.
        """
        answers = iter(rows)
        seeds = self._space.fitness.fresh_seeds
        found = {name: list(islice(answers, len(some))) for name, some in self._wanted.items()}
        control = _by_seed(found.pop(_CONTROL, []), seeds, failing=True)
        known = _by_seed(found.pop(_KNOWN, []), seeds, failing=True)
        measured = {}
        for key, own in found.items():
            scores = _by_seed(own, seeds)
            gain, over = _difference(scores, control), _difference(scores, known)
            if gain is not None:
                kept = [(a, b) for a, b in zip(scores, control, strict=True) if a is not None and b is not None]
                mine, theirs = zip(*kept, strict=True)
                measured[key] = Measured(gain, over, fmean(mine), fmean(theirs))
        return measured


def _by_seed(rows: Sequence[TrainingRow], seeds: int, *, failing: bool = False) -> list[float | None]:
    """The score of each replicate, averaged over tasks; None for one with a failed training, where those are told."""
    found: list[float | None] = []
    for seed in range(seeds):
        scores = [row.accuracy for row in rows[seed::seeds]]
        failed = failing and not all(map(is_score, scores))
        found.append(fmean(map(as_score, scores)) if scores and not failed else None)
    return found


def _difference(own: Sequence[float | None], other: Sequence[float | None]) -> PairedDifference | None:
    pairs = zip(own, other, strict=True)
    gains = [100 * (mine - theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
    return paired_difference(gains, resolution=RESOLUTION) if len(gains) > 1 else None


def verdict(formula: str, measured: Measured, known: Known | None, seeds: int) -> str:
    """What a search found, in a sentence: whether its first is above cross-entropy, and above all that is known."""
    gain = measured.gain
    told = f"{formula}: {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] points over cross-entropy"
    if not announces(measured):
        return (
            f"nothing found: on {seeds} fresh replicates the search's first is not above cross-entropy by more than "
            f"the noise ({told})"
        )
    if known is None or measured.over_known is None:
        return f"found {told}, on {seeds} fresh replicates"
    over = measured.over_known
    if known.name == CONTROL:
        return f"found {told}, on {seeds} fresh replicates: better than every known loss, of which none is above that"
    beside = f"{over.mean:+.2f} [{over.low:+.2f}, {over.high:+.2f}] over {known.name}, the best known loss here"
    if over.low > 0:
        return f"found {told}, and {beside}, on {seeds} fresh replicates: better than every known loss"
    word = "worse than" if over.high < 0 else "not separable from"
    return f"known: {word} {known.name} on {seeds} fresh replicates ({told}; {beside})"


def announces(measured: Measured) -> bool:
    """Whether the interval of the gain over cross-entropy lies above 0."""
    return measured.gain.low > 0
