"""Evolution whose proposals a surrogate ranks: hundreds are drawn for each dozen that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from lossforge.evolution.constants import constants_of, tuned
from lossforge.evolution.credit import RANKED
from lossforge.evolution.genetic import GeneticStrategy
from lossforge.evolution.probed import Probed
from lossforge.evolution.strategy import WORST_FITNESS, Known, Proposal, Told
from lossforge.evolution.surrogate import Surrogate, rank_correlation, thompson
from lossforge.expression.tree import Expression
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_REMEMBERED = 3
"""Generations that say whether the surrogate is of use."""
_FEW = 4
"""Losses below which nothing is said of a median."""
_SERVED = 8
"""Of so many proposals that are drawn one is asked for."""
_ROUNDED = 1e-4
"""Distance below which constants are given in fewer digits."""
_SAME = 1e-6
"""Distance below which two losses are one."""


class RankedStrategy(GeneticStrategy):
    """A genetic strategy whose proposals are ranked by a model of what losses of their gradient gained so far.

    The model is refitted in every generation from what is known then, and each proposal drawn from a seed that the
    space, the generation and the number of the draw give: nothing else decides what is asked.
    """

    def __init__(self, space: SearchSpace, classes: Sequence[int] = ()) -> None:
        super().__init__(space, classes)
        self.section = space.evolution.surrogate
        self._seed = derive_seed(space.seed, "surrogate")
        self._probed = Probed(space)
        self._generation = 0
        self._history: list[dict[str, Any]] = []
        learned = enumerate(self.section.learned)
        self._foreign = [Known(f"learned {place}", text, gain, 1) for place, (text, gain) in learned]
        self._remark = ""
        self._figures: dict[str, float] = {}
        self._begin(())

    def _begin(self, known: Sequence[Known]) -> None:
        """Forget the generation before."""
        self._known = list(known)
        self._model: Surrogate | None = None
        self._fitted = False
        self._judged: NDArray[numpy.float64] | None = None
        self._queue: tuple[Proposal, ...] = ()
        self._next = self._pools = 0
        self._offered: list[tuple[NDArray[numpy.float64], bool]] = []

    def prepare(self, known: Sequence[Known]) -> None:
        """Keep what is known; the model is fitted to it once it is asked, for workers are waiting for trainings."""
        super().prepare(known)
        self._begin(known)

    def remark(self) -> str:
        """How well the surrogate ranked what came next."""
        return self._remark

    def figures(self) -> dict[str, float]:
        """The same in figures: rank correlations with what came next, and with what trees had left out."""
        return dict(self._figures)

    def ask(self) -> Proposal:
        """What the surrogate ranks next; where it has no say, what evolution draws."""
        nothing = not self.population and not self._foreign
        if self.seeds_asked < len(self.seeds) or nothing or not self._has_a_say():
            return super().ask()
        if self._next >= len(self._queue):
            self._refill()
        if self._next >= len(self._queue):
            return super().ask()
        self.asked += 1
        self._next += 1
        return self._queue[self._next - 1]

    def mark(self) -> tuple[Any, ...]:
        """Evolution's mark, the queue, and how far it is."""
        return super().mark(), self._queue, self._next, self._pools, len(self._offered)

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """Go back to a mark."""
        plain, self._queue, self._next, self._pools, offered = mark
        del self._offered[offered:]
        super().rewind(plain)

    def _fit(self) -> None:
        if self._fitted:
            return
        self._fitted = True
        learned = [*self._foreign, *self._learned()]
        if len(learned) < self.section.least_judged:
            return
        import numpy

        inputs = self._probed.of_known(learned)
        able = numpy.flatnonzero(self._probed.able(inputs))
        if len(able) < self.section.least_judged:
            return
        gains = numpy.array([learned[place].fitness for place in able])
        replicates = numpy.array([max(1, learned[place].replicates) for place in able], dtype=float)
        foreign = int((able < len(self._foreign)).sum())
        self._judged = inputs[able[foreign:]]
        seed = derive_seed(self._seed, "fit", self._generation)
        self._model = Surrogate(inputs[able], gains, replicates, self.section.trees, seed, foreign)

    def _learned(self) -> list[Known]:
        """The best, and the latest of the others, as many as the model learns from."""
        most = self.section.most_judged
        if len(self._known) <= most:
            return self._known
        ranked = sorted(range(len(self._known)), key=lambda place: (-self._known[place].fitness, place))
        chosen = set(ranked[: most // 2])
        others = [place for place in range(len(self._known)) if place not in chosen][len(chosen) - most :]
        return [self._known[place] for place in sorted(chosen | set(others))]

    def _has_a_say(self) -> bool:
        """Whether there is a model, and it predicts: what its trees left out, and what came next."""
        self._fit()
        if self._model is None or self._model.correlation < self.section.least_correlation:
            return False
        return not self._history or self._ranked_well() or self._chose_well()

    def _ranked_well(self) -> bool:
        """Whether it ranked what came next, in the generations that are remembered."""
        correlations = [record["correlation"] for record in self._history]
        return fmean(correlations) >= self.section.least_correlation

    def _chose_well(self) -> bool:
        """Whether its choices, among which there may be nothing to rank, were better than what was left to chance."""
        chosen = [fitness for record in self._history for fitness in record["chosen"]]
        plain = [fitness for record in self._history for fitness in record["plain"] if record["chosen"]]
        return min(len(chosen), len(plain)) >= _FEW and median(chosen) > median(plain)

    def _refill(self) -> None:
        """Draw proposals, leave out what is known, and queue the best of the rest, spread out, with some at random."""
        import numpy

        assert self._model is not None
        self._pools += 1
        drawn = [*self._draw(), *self._tuned(self._model)]
        self._queue, self._next = (), 0
        inputs = self._probed.of([one.expression for one in drawn])
        able = self._probed.able(inputs)
        offered = numpy.array([point for point, _ in self._offered])
        for others in (self._judged, offered):
            if others is not None and len(others):
                able &= ~self._probed.near(inputs, others, self._closer).any(axis=1)
        places = numpy.flatnonzero(able)
        seed = derive_seed(self._seed, "draws", self._generation, self._pools)
        ranked = places[thompson(self._model.of_trees(inputs[places]), seed)] if len(places) else places
        plain = numpy.random.Generator(numpy.random.PCG64(seed)).permutation(places)
        most = max(1, self.section.proposals // _SERVED)
        mixed = _mixed(ranked.tolist(), plain.tolist(), self.section.plain)
        chosen = dict(mixed)
        kept = self._probed.spread(inputs, chosen, self._closer, most)
        self._offered += [(inputs[place], chosen[place]) for place in kept]
        self._queue = tuple(
            replace(drawn[place], origin=RANKED + drawn[place].origin) if chosen[place] else drawn[place]
            for place in kept
        )

    @property
    def _closer(self) -> float:
        """Distance below which one of two is not asked for."""
        return max(self.section.distance, _SAME)

    def _draw(self) -> list[Proposal]:
        """Proposals by the genetic operators, fresh trees, and the best with other constants, each text once."""
        section, variation = self.section, self.variation
        drawn: dict[str, Proposal] = {}
        with self.random.active():
            for place in range(section.proposals):
                if place < section.fresh * section.proposals:
                    tree, origin = variation.fresh()
                else:
                    tree, origin = self._offspring() if self.population else variation.fresh()
                expression = variation.vocabulary.to_expression(tree)
                drawn.setdefault(str(expression), Proposal(expression, origin))
        return list(drawn.values())

    def _tuned(self, model: Surrogate) -> list[Proposal]:
        """Some of the best parents, others with each draw, with the constants that the model likes best."""

        def worth(losses: Sequence[Expression]) -> NDArray[numpy.float64]:
            points = self._probed.of(losses)
            expected = model.mean(points)
            expected[~self._probed.able(points)] = WORST_FITNESS
            return expected

        def alike(one: Expression, other: Expression) -> bool:
            points = self._probed.of([one, other])
            return bool(self._probed.near(points[:1], points[1:], _ROUNDED)[0, 0])

        count = self.section.tuned
        trees = [self._expression(one) for one in self._breeding()]
        some = [tree for tree in trees if isinstance(tree, Expression) and constants_of(tree)]
        found = []
        for place, tree in enumerate(some[(self._pools - 1) * count : self._pools * count]):
            seed = derive_seed(self._seed, "constants", self._generation, self._pools, place)
            better = tuned(tree, worth, alike, seed)
            if better is not None:
                found.append(Proposal(better, "tuned"))
        return found

    def tell(self, judged: Sequence[Told]) -> None:
        """Note how well the model ranked what is new, then as evolution does."""
        self._fit()
        self._remark, self._figures = "", {}
        before = {one.key for one in self._known}
        new = [told for told in judged if told.key not in before and isinstance(told.expression, Expression)]
        if self._model is not None and new:
            self._note(self._model, new)
        super().tell(judged)
        self._generation += 1
        self._begin(())

    def _note(self, model: Surrogate, new: Sequence[Told]) -> None:
        import numpy

        inputs = self._probed.of([told.expression for told in new])
        fitness = [max(told.fitness, WORST_FITNESS) for told in new]
        correlation = rank_correlation(model.mean(inputs), fitness)
        ranked = [False] * len(new)
        if points := [point for point, mine in self._offered if mine]:
            ranked = numpy.asarray(self._probed.near(inputs, numpy.array(points), _SAME).any(axis=1)).tolist()
        chosen = [one for one, mine in zip(fitness, ranked, strict=True) if mine]
        plain = [one for one, mine in zip(fitness, ranked, strict=True) if not mine]
        record = {"correlation": correlation, "chosen": chosen, "plain": plain}
        self._figures = {"surrogate_correlation": correlation, "surrogate_out_of_bag": model.correlation}
        self._history = [*self._history, record][-_REMEMBERED:]
        told = f"surrogate: rank correlation {correlation:+.2f} on {len(new)} new, {model.correlation:+.2f} out of bag"
        for name, of in (("chosen", chosen), ("plain", plain)):
            if of:
                told += f", {len(of)} {name} {100 * median(of):+.1f}"
        if self._foreign:
            told += f", {len(self._foreign)} of other runs behind it"
            # Later on there are losses of one's own behind it, and those that it chose differ too little to be ranked.
            if correlation < self.section.least_correlation and len(self._known) < self.section.least_judged:
                told += ", which are forgotten"
                self._foreign = []
        self._remark = told if chosen else f"{told} (it had no say)"

    def save(self) -> dict[str, Any]:
        """Evolution's state, and how well the surrogate did of late."""
        return {
            **super().save(),
            "surrogate": {"generation": self._generation, "history": self._history, "foreign": bool(self._foreign)},
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        super().load(saved)
        self._generation = int(saved["surrogate"]["generation"])
        self._history = list(saved["surrogate"]["history"])
        if not saved["surrogate"]["foreign"]:
            self._foreign = []


def _mixed(ranked: list[int], plain: list[int], share: float) -> Iterator[tuple[int, bool]]:
    """Each of the places once: in the order ranked (True), but for a share of them, in the other order (False)."""
    left = dict.fromkeys(ranked)
    rest = iter(plain)
    for number in range(1, len(ranked) + 1):
        at_random = int(number * share) > int((number - 1) * share)
        place = next(one for one in rest if one in left) if at_random else next(iter(left))
        del left[place]
        yield place, not at_random
