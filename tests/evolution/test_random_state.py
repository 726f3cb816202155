from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.evolution.random_state import RandomState

SEEDS = st.integers(0, 2**63 - 1)


def draws(state: RandomState, count: int) -> list[float]:
    # An odd number of Gaussian draws leaves one half of a pair in the state.
    with state.active():
        return [value for _ in range(count) for value in (random.random(), random.gauss(0, 1))]


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, before=st.integers(0, 5), after=st.integers(1, 5))
def test_a_state_goes_on_where_it_was_saved(seed: int, before: int, after: int) -> None:
    state = RandomState(seed)
    draws(state, before)
    saved = json.loads(json.dumps(state.save()))
    other = RandomState(0)
    other.load(saved)
    assert draws(other, after) == draws(state, after)


@settings(deadline=None, max_examples=20)
@given(first=SEEDS, second=SEEDS)
def test_the_seed_decides(first: int, second: int) -> None:
    assert (draws(RandomState(first), 2) == draws(RandomState(second), 2)) == (first == second)


def divide_after_a_draw() -> None:
    random.random()
    raise ZeroDivisionError


def test_draws_outside_neither_change_nor_feel_it() -> None:
    random.seed(1)
    expected = [random.random() for _ in range(4)]
    alone = draws(RandomState(5), 2)
    random.seed(1)
    state = RandomState(5)
    outside, inside = [], []
    for _ in range(2):
        outside.append(random.random())
        inside += draws(state, 1)
        outside.append(random.random())
    assert outside == expected
    assert inside == alone


def test_an_error_inside_gives_the_outside_state_back() -> None:
    random.seed(2)
    before = random.getstate()
    state = RandomState(5)
    with pytest.raises(ZeroDivisionError), state.active():
        divide_after_a_draw()
    assert random.getstate() == before
    # And the draw that was made counts.
    with state.active():
        second = random.random()
    same = random.Random(5)
    assert second == [same.random() for _ in range(2)][1]


def test_reseeding_inside_stays_inside() -> None:
    before = random.getstate()
    with RandomState(5).active():
        random.seed(0)
    assert random.getstate() == before


def test_two_states_do_not_mix() -> None:
    first, second = RandomState(1), RandomState(2)
    mixed = [value for _ in range(3) for value in (*draws(first, 1), *draws(second, 1))]
    alone = [draws(RandomState(1), 3), draws(RandomState(2), 3)]
    assert mixed == [value for turn in range(3) for one in alone for value in one[2 * turn : 2 * turn + 2]]
