"""Genetic programming: half-and-half start, double tournament, elites."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from deap import tools

from lossforge.errors import DuplicateTellError
from lossforge.evolution.credit import credits_of, idle
from lossforge.evolution.deap_trees import Individual
from lossforge.evolution.fusion_variation import FusionVariation
from lossforge.evolution.pair_variation import PairVariation
from lossforge.evolution.probed import Probed
from lossforge.evolution.random_state import RandomState
from lossforge.evolution.strategy import Known, Proposal, Told, safe_fitness
from lossforge.evolution.variation import Variation
from lossforge.losses.candidates import Candidate, parse_candidate
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace

_NICHED = 1000
"""Members of a population, the best, that niches are looked for in."""


class GeneticStrategy:
    """A generational GP. The population holds each key once; the elites survive, offspring fill the rest."""

    exhausted = False
    """Evolution never is."""

    def __init__(self, space: SearchSpace, classes: Sequence[int] = ()) -> None:
        self.settings = space.evolution
        fuses = bool(space.fusion.losses)
        self.variation = _variation(space, classes)
        self.random = RandomState(derive_seed(space.seed, "evolution"))
        self.population: list[Individual] = []
        self.seeds = self.variation.seeds
        self.seeds_asked = 0
        self.asked = 0
        self._niches = None if fuses or not space.evolution.niche else Probed(space)
        self._parted: list[Individual] = []
        self._credits: dict[str, float] = {}
        self._fresh_only = False

    def prepare(self, known: Sequence[Known]) -> None:
        """What operators have found changes their chances; where nothing better comes, all but the elites go."""
        if self.settings.adaptive:
            self._credits = credits_of(known)
        if self.settings.restart and (without := idle(known)) and without % self.settings.restart == 0:
            self.population = sorted(self.population, key=_rank)[: self.settings.elites]
            self._parted, self._fresh_only = [], True
        else:
            self._fresh_only = False

    def remark(self) -> str:
        """Nothing is said."""
        return ""

    def figures(self) -> dict[str, float]:
        """Nothing is measured."""
        return {}

    def ask(self) -> Proposal:
        """The space's seeds first, then random trees; once there is a population, its offspring."""
        self.asked += 1
        if self.seeds_asked < len(self.seeds):
            self.seeds_asked += 1
            return Proposal(self.seeds[self.seeds_asked - 1], "seed")
        with self.random.active():
            tree, origin = self._offspring() if self.population else self.variation.fresh()
            return Proposal(self.variation.vocabulary.to_expression(tree), origin)

    def _offspring(self) -> tuple[Individual, str]:
        if self._fresh_only:
            return self.variation.fresh()
        settings, factors = self.settings, self._credits
        kinds = self.variation.mutations
        of_kinds = [weight * factors.get(kind, 1.0) for kind, weight in kinds.items()]
        mutation = settings.mutation * sum(of_kinds) / (sum(kinds.values()) or 1)
        crossover = settings.crossover * factors.get("crossover", 1.0)
        new = max(0.0, 1 - settings.crossover - settings.mutation) * factors.get("random", 1.0)
        draw = random.random() * (crossover + mutation + new)
        if draw < crossover:
            return self.variation.crossover(*self._parents(2))
        if draw < crossover + mutation:
            (parent,) = self._parents(1)
            return self.variation.mutation(parent, of_kinds)
        return self.variation.fresh()

    def _parents(self, count: int) -> list[Individual]:
        chosen: list[Individual] = tools.selDoubleTournament(
            self._breeding(), count, self.settings.tournament, self.settings.parsimony, fitness_first=True
        )
        return chosen

    def _breeding(self) -> list[Individual]:
        """The best of each niche: a loss that was found ten times is a parent once."""
        if not self._parted:
            self._parted = self._one_a_niche(sorted(self.population, key=_rank))
        return self._parted

    def _one_a_niche(self, ranked: list[Individual]) -> list[Individual]:
        """Those of the ranked that are not like a better one; of a very large population the best are looked at."""
        if self._niches is None:
            return ranked
        some = ranked[:_NICHED]
        points = self._niches.kept([(one.key, self._expression(one)) for one in some])
        kept = self._niches.spread(points, range(len(some)), self.settings.niche, len(some))
        return [*(some[place] for place in kept), *ranked[_NICHED:]]

    def mark(self) -> tuple[Any, ...]:
        """State of the generator, and how many seeds and proposals were asked."""
        return self.random.state, self.seeds_asked, self.asked

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """Go back to a mark."""
        self.random.state, self.seeds_asked, self.asked = mark

    def tell(self, judged: Sequence[Told]) -> None:
        """Elites of all, then the best offspring, until the population is full."""
        if not self.asked:
            raise DuplicateTellError("tell was called without an ask since the last tell; ask first")
        self.asked = 0
        fitness = {told.key: told.fitness for told in judged}
        old = {individual.key for individual in self.population}
        for individual in self.population:
            if individual.key in fitness:
                individual.fitness.values = (safe_fitness(fitness[individual.key]),)
        offspring: dict[str, Individual] = {}
        for told in judged:
            if told.key not in old and told.key not in offspring:
                individual = self.variation.vocabulary.to_individual(told.expression, told.key)
                individual.fitness.values = (safe_fitness(told.fitness),)
                offspring[told.key] = individual
        ranked = sorted([*self.population, *offspring.values()], key=_rank)
        elites = self._one_a_niche(ranked)[: self.settings.elites]
        kept = {individual.key for individual in elites}
        rest = [individual for individual in sorted(offspring.values(), key=_rank) if individual.key not in kept]
        passed_over = old - kept
        spare = [individual for individual in ranked if individual.key in passed_over]
        self.population = [*elites, *rest, *spare][: self.settings.population]
        self._parted = []

    def members(self) -> list[Told]:
        """The population, best first."""
        return [
            Told(individual.key, self._expression(individual), individual.fitness.values[0])
            for individual in sorted(self.population, key=_rank)
        ]

    def _expression(self, individual: Individual) -> Candidate:
        known = individual.expression
        return self.variation.vocabulary.to_expression(individual) if known is None else known

    def save(self) -> dict[str, Any]:
        """Population in its order, generator state, and how many seeds were asked."""
        return {
            "population": [
                {"key": item.key, "formula": str(self._expression(item)), "fitness": item.fitness.values[0]}
                for item in self.population
            ],
            "random": self.random.save(),
            "seeds_asked": self.seeds_asked,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        self.population, self._parted = [], []
        for item in saved["population"]:
            individual = self.variation.vocabulary.to_individual(parse_candidate(item["formula"]), item["key"])
            individual.fitness.values = (safe_fitness(item["fitness"]),)
            self.population.append(individual)
        self.random.load(saved["random"])
        self.seeds_asked = saved["seeds_asked"]
        self.asked = 0


def _rank(individual: Individual) -> tuple[float, int, str]:
    """Best fitness first; among equals the smaller, then the key: an order that no memory layout decides."""
    return -individual.fitness.values[0], len(individual), individual.key


class RandomStrategy(GeneticStrategy):
    """Fresh random trees for ever: the honest question whether evolution beats sampling."""

    def _offspring(self) -> tuple[Individual, str]:
        return self.variation.fresh()


def _variation(space: SearchSpace, classes: Sequence[int]) -> FusionVariation | Variation:
    """What draws and varies candidates of the form that the space has."""
    if space.fusion.losses:
        return FusionVariation(space, classes)
    return PairVariation(space) if space.expression.form == "pair" else Variation(space)
