"""The grid: 63 sums with stable names and order, each asked once, and a state that goes on where it stood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT

from lossforge.errors import DuplicateTellError, SpaceError
from lossforge.evolution.choice import make_strategy
from lossforge.evolution.grid import GridStrategy
from lossforge.evolution.strategy import Told
from lossforge.losses.fusions import Fusion
from lossforge.losses.shares import shares_of
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace

SPACE = ROOT / "search_spaces" / "fusion_digits.toml"


def space(*overrides: str) -> SearchSpace:
    return load_space(Path(SPACE), list(overrides))


def asked(strategy: Any) -> list[tuple[str, str]]:
    found = []
    while (proposal := strategy.ask()) is not None:
        found.append((proposal.origin, str(proposal.expression)))
    return found


def test_all_sums_of_one_to_three_of_seven_losses_are_asked_in_order() -> None:
    first = asked(make_strategy(space(), (10,)))
    assert len(first) == len({name for name, _ in first}) == len({text for _, text in first}) == 63
    assert first == asked(make_strategy(space(), (10,)))
    names = [name for name, _ in first]
    assert [name.count("+") for name in names] == [0] * 7 + [1] * 21 + [2] * 35
    assert names[:2] == ["tversky", "smooth_l1"]
    assert names[7:9] == ["tversky + smooth_l1", "tversky + focal"]
    assert names[-1] == "brier + dice + binary_cross_entropy"


def test_matched_losses_weigh_alike_at_the_start_and_raw_ones_are_as_they_are() -> None:
    matched = dict(asked(make_strategy(space("fusion.orders=[2]"), (10,))))
    for text in matched.values():
        assert [part.share for part in shares_of(text, 10)] == pytest.approx([0.5, 0.5], rel=1e-4)
    raw = dict(asked(make_strategy(space("fusion.match=false"), (10,))))
    assert raw["focal + dice"] == "focal + dice"
    assert raw["focal"] == "focal"


def test_weights_are_given_or_tuned() -> None:
    given = dict(asked(make_strategy(space("fusion.match=false", "fusion.weights={dice = 0.5}"), (10,))))
    assert given["focal + dice"] == "focal + 0.5 * dice"
    tuned = asked(make_strategy(space("fusion.match=false", "fusion.weights=tuned"), (10,)))
    assert len(tuned) == len({name for name, _ in tuned}) == 7 + 21 * 3 + 35 * 7
    assert ("focal + dice 1:3", "focal + 3 * dice") in tuned


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("fusion.losses=[]", "fusion.losses: say which losses a grid adds"),
        ('fusion.losses=["focal", "focal"]', "has a value twice"),
        ("fusion.orders=[8]", "8 losses cannot be added, for there are 7"),
        ("fusion.weights={fokal = 2.0}", "'fokal' is not one of fusion.losses"),
        ("fusion.levels=[0.0]", "fusion.levels"),
        ("fusion.weight_range=[1.0, 1.0]", "the first number must be below the second"),
    ],
)
def test_what_makes_no_grid_is_told(override: str, told: str) -> None:
    with pytest.raises(SpaceError, match=told.replace("[", r"\[")):
        space(override)


def test_a_grid_goes_on_where_it_stood() -> None:
    strategy = GridStrategy(space("fusion.orders=[1]"), (10,))
    with pytest.raises(DuplicateTellError):
        strategy.tell([])
    first = strategy.ask()
    mark = strategy.mark()
    second = strategy.ask()
    assert first is not None
    assert second is not None
    strategy.rewind(mark)
    assert strategy.ask() == second
    strategy.tell([Told("a", first.expression, float("nan")), Told("b", second.expression, 0.1)])
    again = GridStrategy(space("fusion.orders=[1]"), (10,))
    again.load(strategy.save())
    assert again.members() == strategy.members()
    assert [told.key for told in again.members()] == ["b", "a"]
    assert asked(again) == asked(strategy)
    assert again.exhausted
    assert strategy.ask() is None


def test_sums_evolve_from_the_losses_of_the_space_and_come_back_from_text() -> None:
    fused = space("evolution.strategy=genetic", "expression.max_size=15")
    strategy = make_strategy(fused, (10,))
    proposals = [strategy.ask() for _ in range(200)]
    texts = [str(proposal.expression) for proposal in proposals if proposal is not None]
    assert [text.split(" * ")[-1] for text in texts[:7]] == fused.fusion.losses
    assert len(set(texts)) > 100
    strategy.tell([Told(str(n), one.expression, n / 1000) for n, one in enumerate(proposals) if one is not None])
    state = strategy.save()
    later = [one for one in (strategy.ask() for _ in range(200)) if one is not None]
    again = make_strategy(fused, (10,))
    again.load(state)
    repeated = [one for one in (again.ask() for _ in range(200)) if one is not None]
    assert [str(one.expression) for one in repeated] == [str(one.expression) for one in later]
    assert {one.origin for one in repeated} >= {"crossover", "constant", "shrink"}
    assert all(isinstance(told.expression, Fusion) for told in again.members())
