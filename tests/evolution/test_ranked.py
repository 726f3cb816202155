from __future__ import annotations

import json
from typing import Any

import numpy
import pytest

from lossforge.evolution.choice import make_strategy
from lossforge.evolution.credit import RANKED
from lossforge.evolution.genetic import GeneticStrategy, RandomStrategy
from lossforge.evolution.probed import Probed
from lossforge.evolution.ranked import RankedStrategy
from lossforge.evolution.strategy import Known, Proposal, Told
from lossforge.expression.likeness import cosines
from lossforge.spaces.load import validate_frozen
from lossforge.spaces.schema import EvolutionSection, RecipeSection, SearchSpace, TaskSection

CE = "-y_true * log(y_pred)"


def make_space(
    seed: int = 0, recipe: RecipeSection | None = None, evolution: dict[str, Any] | None = None, **surrogate: Any
) -> SearchSpace:
    chosen = {"least_judged": 8, "proposals": 80, "trees": 60, "plain": 0.25, **surrogate}
    return SearchSpace(
        name="t",
        seed=seed,
        task=[TaskSection(data="digits")],
        recipe=recipe or RecipeSection(),
        evolution=EvolutionSection.model_validate(
            {"population": 16, "elites": 3, "surrogate": chosen, **(evolution or {})}
        ),
    )


class Run:
    """A search without trainings: a loss gains what its likeness to a mixture of three losses says."""

    def __init__(self, strategy: RankedStrategy) -> None:
        self.strategy = strategy
        self.probed = Probed(make_space())
        goals = ("abs(y_true - y_pred)", "-y_true * sqrt(y_pred)", "exp(-3 * y_pred * y_true)")
        self.goal = self.probed.of([_parse(goal) for goal in goals]).mean(axis=0, keepdims=True)
        self.known: dict[str, Known] = {}

    def fitness(self, proposal: Proposal) -> float:
        point = self.probed.of([proposal.expression])
        return 0.2 * (float(cosines(point, self.goal)[0, 0]) - 0.8) if point.any() else -1.0

    def generation(self, count: int = 16) -> list[Proposal]:
        self.strategy.prepare(list(self.known.values()))
        count = count if self.known else 48  # of the first, half see no target
        asked = [self.strategy.ask() for _ in range(count)]
        self.tell(asked)
        return asked

    def tell(self, asked: list[Proposal]) -> None:
        told = [Told(str(one.expression), one.expression, self.fitness(one)) for one in asked]
        for one in told:
            self.known.setdefault(one.key, Known(one.key, str(one.expression), one.fitness, 1))
        self.strategy.tell(told)


def _parse(text: str) -> Any:
    from lossforge.expression.formula import parse_formula

    return parse_formula(text)


def test_what_it_chooses_gains_more_than_what_evolution_draws() -> None:
    run = Run(RankedStrategy(make_space()))
    assert not [one for one in run.generation() if one.origin.startswith(RANKED)]
    gained: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(4):
        before = set(run.known)
        asked = run.generation()
        assert 12 <= sum(one.origin.startswith(RANKED) for one in asked) < 16
        for one in asked:
            if str(one.expression) not in before:
                gained[one.origin.startswith(RANKED)].append(run.fitness(one))
    assert numpy.mean(gained[True]) > numpy.mean(gained[False]) + 0.01
    assert "surrogate: rank correlation +0." in run.strategy.remark()


def test_no_two_of_its_choices_are_alike_nor_like_what_is_known() -> None:
    run = Run(RankedStrategy(make_space(distance=0.001)))
    for _ in range(3):
        run.generation()
    run.strategy.prepare(list(run.known.values()))
    chosen = [one for _ in range(20) if (one := run.strategy.ask()).origin.startswith(RANKED)]
    points = run.probed.of([one.expression for one in chosen])
    known = run.probed.of_known(list(run.known.values()))
    alike = cosines(points, points) - numpy.eye(len(points))
    assert alike.max() <= 1 - 0.001
    assert cosines(points, known).max() <= 1 - 0.001


def test_asking_ahead_stopping_and_loading_change_nothing() -> None:
    whole = Run(RankedStrategy(make_space(seed=4)))
    asked = [[str(one.expression) for one in whole.generation()] for _ in range(4)]
    cut = Run(RankedStrategy(make_space(seed=4)))
    for wanted in asked:
        saved = json.loads(json.dumps(cut.strategy.save()))
        cut.strategy = RankedStrategy(make_space(seed=4))
        cut.strategy.load(saved)
        cut.strategy.prepare(list(cut.known.values()))
        first = [cut.strategy.ask() for _ in range(10)]
        mark = cut.strategy.mark()
        for _ in range(40):
            cut.strategy.ask()
        cut.strategy.rewind(mark)
        rest = [cut.strategy.ask() for _ in range(len(wanted) - 10)]
        assert [str(one.expression) for one in first + rest] == wanted
        cut.tell(first + rest)
    assert cut.strategy.remark() == whole.strategy.remark() != ""


def test_where_it_predicts_nothing_evolution_is_plain() -> None:
    space = make_space(least_correlation=0.999)
    ranked, plain = RankedStrategy(space), GeneticStrategy(space)
    runs = Run(ranked), Run(plain)  # type: ignore[arg-type]
    for _ in range(3):
        asked = [[str(one.expression) for one in run.generation()] for run in runs]
        assert asked[0] == asked[1]
    assert ranked.remark().endswith("(it had no say)")


@pytest.mark.parametrize(("correlation", "chosen", "says"), [(0.1, -0.1, False), (0.1, 0.1, True), (0.3, -0.1, True)])
def test_its_say_ends_where_it_neither_ranked_nor_chose_well(correlation: float, chosen: float, says: bool) -> None:
    run = Run(RankedStrategy(make_space()))
    for _ in range(2):
        run.generation()
    run.strategy._history = [{"correlation": correlation, "chosen": [chosen] * 8, "plain": [0.0] * 8}]
    assert says == any(one.origin.startswith(RANKED) for one in run.generation())


def test_it_learns_from_the_best_and_the_latest_where_there_are_many() -> None:
    strategy = RankedStrategy(make_space(most_judged=4))
    strategy.prepare([Known(str(place), CE, 0.1 if place in (2, 5) else 0.0, 1) for place in range(20)])
    assert [one.key for one in strategy._learned()] == ["2", "5", "18", "19"]


def test_where_scale_counts_two_scales_are_two_losses() -> None:
    for match in (True, False):
        probed = Probed(make_space(recipe=RecipeSection(match_gradient=match)))
        points = probed.of([_parse("y_true * y_pred"), _parse("3 * y_true * y_pred")])
        assert bool(probed.near(points[:1], points[1:], 1e-6)[0, 0]) == match


def test_a_space_has_it_unless_it_says_otherwise_and_an_older_run_has_not() -> None:
    assert isinstance(make_strategy(make_space()), RankedStrategy)
    assert not isinstance(make_strategy(make_space(enabled=False)), RankedStrategy)
    assert type(make_strategy(make_space(evolution={"strategy": "random"}))) is RandomStrategy
    frozen = {"name": "old", "task": [{"data": "digits"}], "evolution": {"population": 8}}
    assert not validate_frozen(frozen, "space.toml").evolution.surrogate.enabled


@pytest.mark.parametrize("formula", ["y_true + 1", "y_pred * y_pred", "sign(y_true - y_pred)"])
def test_what_sees_no_target_or_no_prediction_is_not_proposed(formula: str) -> None:
    probed = Probed(make_space())
    assert not probed.able(probed.of([_parse(formula)]))[0]


def test_what_other_runs_learned_ranks_from_the_first_generation_and_is_forgotten_where_it_misleads() -> None:
    first = Run(RankedStrategy(make_space()))
    for _ in range(3):
        first.generation()
    for factor, kept in ((0.5, True), (-0.5, False)):
        learned = [(one.formula, factor * one.fitness) for one in first.known.values() if one.fitness > -1]
        run = Run(RankedStrategy(make_space(seed=9, learned=learned, least_correlation=0.1)))
        asked = run.generation()
        assert sum(one.origin.startswith(RANKED) for one in asked) > len(asked) / 2
        assert f"{len(learned)} of other runs behind it" in run.strategy.remark()
        assert ("forgotten" not in run.strategy.remark()) == kept
        again = RankedStrategy(make_space(seed=9, learned=learned))
        again.load(json.loads(json.dumps(run.strategy.save())))
        assert bool(again._foreign) == kept
