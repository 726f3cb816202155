from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import DuplicateTellError
from lossforge.evolution.choice import make_strategy
from lossforge.evolution.genetic import GeneticStrategy, RandomStrategy
from lossforge.evolution.strategy import WORST_FITNESS, Known, Proposal, Told, safe_fitness
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import format_formula
from lossforge.spaces.schema import EvolutionSection, ExpressionSection, SearchSpace, TaskSection

SEEDS = st.integers(0, 2**63 - 1)
CE = "-y_true * log(y_pred)"
WANTED_WORST = [math.nan, math.inf, -math.inf, -1.5, 1.0000001, -1e300]

SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:2]
from test_genetic import evolve, make_space
from lossforge.evolution.choice import make_strategy
strategy = make_strategy(make_space(seed=11))
for proposal in evolve(strategy, generations=4):
    sys.stdout.write(f"{proposal.origin} {proposal.expression}\\n")
for told in strategy.members():
    sys.stdout.write(f"{told.fitness!r} {told.key}\\n")
"""


def make_space(seed: int = 0, seeds: tuple[str, ...] = (CE,), **evolution: Any) -> SearchSpace:
    return SearchSpace(
        name="t",
        seed=seed,
        task=[TaskSection(data="digits")],
        expression=ExpressionSection(seeds=list(seeds)),
        evolution=EvolutionSection.model_validate({"population": 12, "elites": 3, "niche": 0, **evolution}),
    )


def luck(text: str) -> float:
    """A fitness in [-1, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**47 - 1


def told(formula: str, fitness: float, key: str | None = None) -> Told:
    return Told(formula if key is None else key, parse_formula(formula), fitness)


def test_a_loss_that_was_found_often_is_a_parent_once() -> None:
    alike = ["abs(y_true - y_pred)", "abs(y_pred - y_true)", "2 * abs(y_true - y_pred)", "-abs(y_true - y_pred)"]
    other = ["-y_true * log(y_pred)", "square(y_true - y_pred)"]
    judged = [told(formula, 0.1 - 0.01 * place) for place, formula in enumerate([*alike, *other])]
    for niche, parents in ((0.0, 6), (0.001, 3)):
        strategy = seeded(*judged, niche=niche, elites=2)
        assert len(strategy._breeding()) == parents
        assert len(strategy.population) == 6
    assert [one.key for one in strategy.population[:2]] == [alike[0], other[0]]


def test_after_generations_without_a_better_loss_one_is_of_new_trees() -> None:
    strategy = seeded(*[told(f"y_pred * {place}", 0.01 * place) for place in range(1, 8)], restart=2, elites=2)
    for age, origins in ((1, {"crossover"}), (2, {"random"}), (3, {"crossover"})):
        known = [Known("best", CE, 0.5, 1, 0), Known("last", CE, 0.1, 1, age)]
        strategy.prepare(known)
        asked = [strategy.ask() for _ in range(30)]
        assert origins <= {one.origin for one in asked}
        assert ({one.origin for one in asked} == {"random"}) == (age == 2)
    assert len(strategy.population) == 2


def test_operators_that_found_something_are_drawn_more_often() -> None:
    counts = []
    for origin in ("insert", "shrink"):
        strategy = seeded(*[told(f"sin(y_pred) * y_true * {place}", 0.01 * place) for place in range(1, 8)])
        strategy.prepare(
            [Known(str(n), CE, 0.5 if n % 2 else 0.0, 1, 0, origin if n % 2 else "point") for n in range(40)]
        )
        counts.append(Counter(strategy.ask().origin for _ in range(600)))
    assert counts[0]["insert"] > 1.5 * counts[1]["insert"]
    assert counts[1]["shrink"] > 1.5 * counts[0]["shrink"]


def generation(
    strategy: GeneticStrategy, count: int = 12, fitness: Callable[[str], float] = luck
) -> tuple[list[Proposal], list[Told]]:
    proposals = [strategy.ask() for _ in range(count)]
    judged = [told(format_formula(one.expression), fitness(format_formula(one.expression))) for one in proposals]
    return proposals, judged


def evolve(strategy: GeneticStrategy, generations: int, count: int = 12) -> list[Proposal]:
    asked = []
    for _ in range(generations):
        proposals, judged = generation(strategy, count)
        strategy.tell(judged)
        asked += proposals
    return asked


def seeded(*population: Told, **settings: Any) -> GeneticStrategy:
    strategy = GeneticStrategy(make_space(**settings))
    strategy.ask()
    strategy.tell(population)
    return strategy


def members(strategy: GeneticStrategy) -> dict[str, float]:
    return {one.key: one.fitness for one in strategy.members()}


def test_the_seeds_come_first_then_random_trees() -> None:
    strategy = GeneticStrategy(make_space(seeds=("y_pred", CE)))
    proposals = [strategy.ask() for _ in range(6)]
    assert [one.origin for one in proposals] == ["seed", "seed", *["random"] * 4]
    assert [format_formula(one.expression) for one in proposals[:2]] == ["y_pred", CE]


def test_a_population_has_offspring_of_every_origin() -> None:
    strategy = GeneticStrategy(make_space(crossover=0.5, mutation=0.3))
    evolve(strategy, 1)
    origins = Counter(strategy.ask().origin for _ in range(600))
    assert set(origins) == {"crossover", "subtree", "point", "insert", "shrink", "constant", "random"}
    assert 240 < origins["crossover"] < 360
    assert 80 < origins["random"] < 180


def test_the_strategy_is_the_one_that_the_space_names() -> None:
    assert type(make_strategy(make_space(surrogate={"enabled": False}))) is GeneticStrategy
    assert type(make_strategy(make_space(strategy="random"))) is RandomStrategy


def test_random_search_never_looks_at_its_population() -> None:
    asked = evolve(make_strategy(make_space(strategy="random")), 3)
    assert {one.origin for one in asked} == {"seed", "random"}
    blind = evolve(make_strategy(make_space(strategy="random")), 1, count=36)
    assert [one.expression for one in asked] == [one.expression for one in blind]


@settings(deadline=None, max_examples=15)
@given(first=SEEDS, second=SEEDS)
def test_the_spaces_seed_decides_what_is_proposed(first: int, second: int) -> None:
    runs = [[str(one.expression) for one in evolve(make_strategy(make_space(seed)), 2)] for seed in (first, second)]
    assert (runs[0] == runs[1]) == (first == second)


def test_the_population_does_not_depend_on_the_hash_seed() -> None:
    folder = str(Path(__file__).parent)
    outputs = []
    for hash_seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SCRIPT, folder]
        outputs.append(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert outputs[0].count("\n") == 60
    assert outputs[0] == outputs[1] == outputs[2]


def numpy_state() -> list[int]:
    state: Any = numpy.random.get_state()
    words: list[int] = state[1].tolist()
    return words


def test_the_callers_random_state_is_left_alone() -> None:
    random.seed(3)
    before, before_numpy = random.getstate(), numpy_state()
    strategy = GeneticStrategy(make_space(seeds=("y_pred", CE)))
    proposals, judged = generation(strategy)
    assert random.getstate() == before
    strategy.tell(judged)
    strategy.members()
    saved = strategy.save()
    assert random.getstate() == before
    GeneticStrategy(make_space()).load(saved)
    assert random.getstate() == before
    assert numpy_state() == before_numpy
    assert any("constant" in {node.op for node in one.expression.walk()} for one in proposals)


def test_the_callers_random_state_changes_nothing() -> None:
    runs = []
    for seed in (1, 2):
        random.seed(seed)
        numpy.random.seed(seed)
        strategy = GeneticStrategy(make_space(seed=5))
        asked = []
        for _ in range(4):
            random.random()
            numpy.random.random()
            asked += evolve(strategy, 1)
        runs.append([(one.origin, str(one.expression)) for one in asked])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("fitness", WANTED_WORST)
def test_a_fitness_that_cannot_be_becomes_the_worst(fitness: float) -> None:
    assert safe_fitness(fitness) == WORST_FITNESS
    assert members(seeded(told("y_pred", fitness), told(CE, -0.5))) == {CE: -0.5, "y_pred": WORST_FITNESS}


@settings(deadline=None)
@given(fitness=st.floats(-1, 1))
def test_a_possible_fitness_is_kept(fitness: float) -> None:
    assert safe_fitness(fitness) == fitness


@pytest.mark.parametrize("fitness", WANTED_WORST)
def test_not_a_number_never_wins_a_tournament(fitness: float) -> None:
    # Ten candidates; by chance alone the failed one would be one of ten parents, and with DEAP's
    # comparison of NaN most of them.
    formulas = [f"y_pred + {number}.5" for number in range(9)]
    population = [told(formula, 0.01 * number) for number, formula in enumerate(formulas)]
    strategy = seeded(told("y_true", fitness, key="failed"), *population, tournament=4)
    with strategy.random.active():
        parents = Counter(parent.key for _ in range(2_000) for parent in strategy._parents(1))
    assert parents["failed"] <= 4
    assert parents[formulas[-1]] == max(parents.values())


def test_a_failed_candidate_and_not_a_number_breed_alike() -> None:
    runs = []
    for fitness in (WORST_FITNESS, math.nan, math.inf):
        strategy = GeneticStrategy(make_space(seed=9))
        for _ in range(3):
            _, judged = generation(strategy, fitness=lambda text: luck(text) if luck(text) < 0.5 else fitness)  # noqa: B023
            strategy.tell(judged)
        runs.append([str(strategy.ask().expression) for _ in range(30)])
    assert runs[0] == runs[1] == runs[2]


def test_the_saved_state_holds_finite_numbers_only() -> None:
    strategy = seeded(told("y_pred", math.nan), told(CE, math.inf))
    assert '"fitness": -1.0' in json.dumps(strategy.save(), allow_nan=False)


def test_tell_needs_an_ask() -> None:
    strategy = GeneticStrategy(make_space())
    with pytest.raises(DuplicateTellError, match="ask first"):
        strategy.tell([told("y_pred", 0.1)])
    strategy.ask()
    strategy.tell([told("y_pred", 0.1)])
    with pytest.raises(DuplicateTellError):
        strategy.tell([told("y_true", 0.1)])
    assert members(strategy) == {"y_pred": 0.1}


def test_tell_needs_an_ask_after_loading_too() -> None:
    strategy = GeneticStrategy(make_space())
    strategy.ask()
    other = GeneticStrategy(make_space())
    other.ask()
    other.load(strategy.save())
    with pytest.raises(DuplicateTellError):
        other.tell([told("y_pred", 0.1)])


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, before=st.integers(0, 4), within=st.integers(0, 15), fresh=st.booleans())
def test_a_state_saved_as_json_proposes_the_very_same(seed: int, before: int, within: int, fresh: bool) -> None:
    space = make_space(seed, seeds=(CE, "y_pred", "y_true - y_pred * 0.123456789012345"))
    strategy = make_strategy(space)
    evolve(strategy, before)
    for _ in range(within):
        strategy.ask()
    saved = json.loads(json.dumps(strategy.save(), allow_nan=False))
    other = make_strategy(space)
    if not fresh:
        evolve(other, 2)
    other.load(saved)
    assert other.save() == strategy.save()
    assert [(one.origin, str(one.expression)) for one in evolve(other, 3)] == [
        (one.origin, str(one.expression)) for one in evolve(strategy, 3)
    ]
    assert other.members() == strategy.members()
    assert other.save() == strategy.save()


def test_a_sign_repaired_member_is_loaded_and_bred_though_neg_is_not_listed() -> None:
    space = SearchSpace(
        name="t",
        task=[TaskSection(data="digits")],
        expression=ExpressionSection(primitives=["mul", "log"], seeds=[]),
        evolution=EvolutionSection(population=4, elites=1),
    )
    strategy = GeneticStrategy(space)
    strategy.ask()
    strategy.tell([told("-(y_true * log(y_pred))", 0.3), told("y_true * 1.5", 0.1)])
    other = GeneticStrategy(space)
    other.load(json.loads(json.dumps(strategy.save())))
    asked = [[str(one.ask().expression) for _ in range(200)] for one in (strategy, other)]
    assert asked[0] == asked[1]


def test_constants_are_still_mutated_after_loading() -> None:
    weights: dict[str, Any] = {f"{kind}_mutation": 0.0 for kind in ("subtree", "point", "insert", "shrink")}
    space = make_space(crossover=0.0, mutation=1.0, **weights)
    strategy = GeneticStrategy(space)
    strategy.ask()
    strategy.tell([told("y_pred * 1.234", 0.5)])
    other = GeneticStrategy(space)
    other.load(json.loads(json.dumps(strategy.save())))
    proposals = [other.ask() for _ in range(40)]
    assert {one.origin for one in proposals} == {"constant"}
    values = {one.expression.args[1].value for one in proposals}
    assert len(values) > 30
    assert all(one.expression.args[0].op == "y_pred" for one in proposals)


def test_asking_does_not_change_the_population() -> None:
    strategy = GeneticStrategy(make_space())
    evolve(strategy, 2)
    before = strategy.members()
    for _ in range(500):
        strategy.ask()
    assert strategy.members() == before


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, elites=st.integers(0, 11))
def test_elites_survive(seed: int, elites: int) -> None:
    strategy = make_strategy(make_space(seed, elites=elites))
    best: dict[str, float] = {}
    for _ in range(5):
        _, judged = generation(strategy)
        candidates = {**best, **{one.key: one.fitness for one in judged}}
        strategy.tell(judged)
        best = members(strategy)
        leaders = sorted(candidates, key=lambda key: -candidates[key])[:elites]
        assert set(leaders) <= set(best)
        assert all(best[key] == candidates[key] for key in leaders)


def test_offspring_replace_all_but_the_elites() -> None:
    old = [told(f"y_pred * {number}", 0.5 + number / 100) for number in range(4)]
    strategy = seeded(*old, population=4, elites=1)
    strategy.ask()
    strategy.tell([*old, *(told(f"y_true * {number}", -0.5) for number in range(3))])
    assert set(members(strategy)) == {"y_pred * 3", "y_true * 0", "y_true * 1", "y_true * 2"}


def test_the_old_fill_a_population_with_too_few_offspring() -> None:
    old = [told(f"y_pred * {number}", number / 10) for number in range(4)]
    strategy = seeded(*old, population=4, elites=1)
    strategy.ask()
    strategy.tell([*old, told("y_true", -0.5)])
    assert set(members(strategy)) == {"y_pred * 3", "y_pred * 2", "y_pred * 1", "y_true"}


@settings(deadline=None, max_examples=30)
@given(
    turns=st.lists(
        st.lists(st.tuples(st.sampled_from("abcdefghij"), st.floats(-1, 1)), max_size=14), min_size=1, max_size=5
    ),
    elites=st.integers(0, 3),
)
def test_no_key_is_twice_in_the_population(turns: list[list[tuple[str, float]]], elites: int) -> None:
    strategy = GeneticStrategy(make_space(population=6, elites=elites))
    for turn in turns:
        strategy.ask()
        strategy.tell([told("y_pred", fitness, key) for key, fitness in turn])
        keys = [one.key for one in strategy.members()]
        assert len(set(keys)) == len(keys) <= 6
        assert set(keys) <= {key for turn in turns for key, _ in turn}


def test_members_come_best_first_and_among_equals_the_smaller() -> None:
    strategy = seeded(told("exp(y_pred)", 0.2), told("y_true", 0.2), told("y_pred", 0.2), told("sin(y_pred)", 0.3))
    assert [one.key for one in strategy.members()] == ["sin(y_pred)", "y_pred", "y_true", "exp(y_pred)"]


def test_a_member_may_get_a_new_fitness() -> None:
    strategy = seeded(told("y_pred", 0.1), told("y_true", 0.2))
    strategy.ask()
    strategy.tell([told("y_pred", 0.3), told("y_true", 0.2)])
    assert [(one.key, one.fitness) for one in strategy.members()] == [("y_pred", 0.3), ("y_true", 0.2)]


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(8)))
def test_the_order_of_telling_does_not_decide_who_stays(order: list[int]) -> None:
    judged = [told(f"y_pred + {number}", (number // 2) / 10) for number in range(8)]
    straight = seeded(*judged, population=5, elites=2)
    shuffled = seeded(*(judged[index] for index in order), population=5, elites=2)
    assert shuffled.members() == straight.members()
    assert [str(shuffled.ask().expression) for _ in range(20)] == [str(straight.ask().expression) for _ in range(20)]


def test_nothing_told_leaves_a_strategy_that_can_go_on() -> None:
    strategy = seeded()
    assert strategy.members() == []
    assert strategy.ask().origin == "random"


def test_better_candidates_become_parents_more_often() -> None:
    population = [told(f"y_pred + {number}.5", number / 20) for number in range(10)]
    strategy = seeded(*population, tournament=4)
    with strategy.random.active():
        chosen = Counter(parent.key for _ in range(1_000) for parent in strategy._parents(1))
    counts = [chosen[one.key] for one in population]
    assert sum(counts[7:]) > 0.6 * 1_000
    assert sum(counts[:3]) < 0.1 * 1_000


def test_parsimony_prefers_the_smaller_of_two_winners() -> None:
    small, large = told("y_pred", 0.5), told("exp(sin(y_pred + y_true))", 0.5)
    shares = []
    for parsimony in (1.0, 2.0):
        strategy = seeded(small, large, parsimony=parsimony)
        with strategy.random.active():
            chosen = Counter(parent.key for _ in range(1_000) for parent in strategy._parents(1))
        shares.append(chosen["y_pred"] / 1_000)
    assert shares[0] < 0.65 < shares[1]
