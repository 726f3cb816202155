"""DEAP's `eaSimple` as a strategy: what a user gets from the textbook loop, with our screens, keys and trainings.

A generation is ``toolbox.select`` of a whole population by tournaments, then ``varAnd`` (crossover of pairs, then
mutation of each, with the probabilities of DEAP's symbolic regression example), and what comes out replaces the
population. There are no elites, no parsimony but the limits, no niches, one kind of mutation. A candidate that was
judged before keeps its fitness, as `eaSimple` does not evaluate what did not change.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from deap import algorithms, base, gp, tools

from lossforge.evolution.deap_trees import Individual
from lossforge.evolution.genetic import GeneticStrategy
from lossforge.evolution.strategy import Told, safe_fitness
from lossforge.spaces.schema import SearchSpace

CROSSOVER, MUTATION, TOURNAMENT = 0.5, 0.1, 3


class EaSimpleStrategy(GeneticStrategy):
    """`deap.algorithms.eaSimple`, asked one at a time."""

    def __init__(self, space: SearchSpace, classes: Sequence[int] = ()) -> None:
        super().__init__(space, classes)
        variation = self.variation
        pset = variation.vocabulary.pset
        self.toolbox = base.Toolbox()
        self.toolbox.register("clone", lambda tree: Individual(tree))
        self.toolbox.register("select", tools.selTournament, tournsize=TOURNAMENT)
        self.toolbox.register("mate", gp.cxOnePoint)
        self.toolbox.register("expr_mut", gp.genFull, min_=0, max_=2)
        self.toolbox.register("mutate", gp.mutUniform, expr=self.toolbox.expr_mut, pset=pset)
        fits = gp.staticLimit(key=lambda tree: 0 if variation.fits(tree) else 1, max_value=0)
        self.toolbox.decorate("mate", fits)
        self.toolbox.decorate("mutate", fits)

    def _offspring(self) -> tuple[Individual, str]:
        pair = self.toolbox.select(self.population, 2)
        children = algorithms.varAnd(pair, self.toolbox, CROSSOVER, MUTATION)
        return random.choice(children), "varAnd"

    def tell(self, judged: Sequence[Told]) -> None:
        """What was asked and judged replaces the population; old members stay where too little came."""
        fitness = {told.key: safe_fitness(told.fitness) for told in judged}
        old = [one for one in self.population if one.key in fitness]
        for one in old:
            one.fitness.values = (fitness[one.key],)
        known = {one.key for one in old}
        fresh = [told for told in judged if told.key not in known]
        new = [self.variation.vocabulary.to_individual(told.expression, told.key) for told in fresh]
        for one in new:
            one.fitness.values = (fitness[one.key],)
        old.sort(key=lambda one: (-one.fitness.values[0], one.key))
        self.population = [*new, *old][: self.settings.population]
        self.asked = 0
