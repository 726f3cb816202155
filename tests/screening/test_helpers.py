"""Helpers that screen ahead: they change when a verdict is known, never the verdict."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from tests.conftest import SMOKE

from lossforge.evolution.choice import make_strategy
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression
from lossforge.screening import helpers as module
from lossforge.screening import screener as screener_module
from lossforge.screening.helpers import Helpers, helper_count
from lossforge.screening.screener import Screened, Screener
from lossforge.screening.settings import ScreenSettings
from lossforge.spaces.load import load_space

SETTINGS = ScreenSettings(classes=(3, 10))


@pytest.fixture(scope="module")
def helpers() -> Iterator[Helpers]:
    made = Helpers(1, SETTINGS)
    yield made
    made.close()


def lots() -> list[list[Expression]]:
    """Proposals, some of which repeat others of their own lot or of an earlier one."""
    known = [
        "-y_true * log(y_pred)",
        "(y_true - y_pred)**2",
        "y_true * log(y_pred)",
        "y_pred",
        "sin(max(y_pred, y_true))",
    ]
    strategy = make_strategy(load_space(SMOKE, ["seed=5"]))
    trees = [*map(parse_formula, known), *(strategy.ask().expression for _ in range(60))]
    return [trees[:25], [*trees[20:50], *trees[:5]], trees[50:]]


def in_turn(screener: Screener) -> list[list[Screened]]:
    """Each lot begun before the one before it is finished."""
    begun = [screener.begin(lot) for lot in lots()]
    return [screener.finish(one, {}) for one in begun]


def test_they_say_what_this_process_says(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = in_turn(Screener(SETTINGS))
    helped = Screener(SETTINGS, helpers=helpers)
    for name in ("findings_of", "descended"):  # nothing is left for this process
        inner = getattr(screener_module, name)
        monkeypatch.setattr(
            screener_module, name, lambda given, settings, inner=inner: inner(given, settings) if not given else 1 / 0
        )
    assert in_turn(helped) == alone
    assert {answer.rejected_by for lot in alone for answer in lot} >= {None, "static", "descent"}


def test_without_them_this_process_goes_on() -> None:
    made = Helpers(1, SETTINGS)
    helped = Screener(SETTINGS, helpers=made)
    first, second, third = lots()
    begun = helped.begin(first)
    pids = list(made._pool._processes)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    answers = [
        helped.finish(begun, {}),
        helped.finish(helped.begin(second), {}),
        helped.finish(helped.begin(third), {}),
    ]
    assert answers == in_turn(Screener(SETTINGS))
    assert helped.ahead == 0
    made.close()


def test_what_was_dropped_may_be_asked_again(helpers: Helpers) -> None:
    helped = Screener(SETTINGS, helpers=helpers)
    first = lots()[0]
    helped.drop(helped.begin(first))
    assert helped.screen(first) == Screener(SETTINGS).screen(first)


def test_a_few_workers_need_none_and_a_core_is_left_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [helper_count(workers) for workers in (1, 16, 99, 100, 350, 5000)] == [0, 0, 0, 1, 3, 7]
