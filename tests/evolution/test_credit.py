from __future__ import annotations

import pytest

from lossforge.evolution.credit import credits_of, idle
from lossforge.evolution.strategy import Known


def known(*found: tuple[str, int, float]) -> list[Known]:
    return [
        Known(str(place), "y_pred", fitness, 1, number, origin) for place, (origin, number, fitness) in enumerate(found)
    ]


def test_what_finds_more_than_the_median_of_its_generation_is_drawn_more_often() -> None:
    good = [("ranked insert", number, 0.3) for number in range(5)]
    bad = [("shrink", number, -0.3) for number in range(5)]
    even = [("point", number, 0.1) for number in range(5)]
    found = credits_of(known(*good, *bad, *even))
    assert found["insert"] > found["point"] == found["shrink"]
    assert 1 / 3 <= min(found.values()) < 1 < max(found.values()) <= 3


def test_a_generation_is_measured_by_its_own_median() -> None:
    found = credits_of(known(("a", 0, -0.5), ("b", 0, -0.6), ("a", 1, 0.5), ("b", 1, 0.4)))
    assert found["a"] > found["b"]
    assert credits_of([]) == {}


@pytest.mark.parametrize(
    ("fitness", "generations"), [([0.1, 0.2, 0.3], 0), ([0.3, 0.2, 0.1], 2), ([0.1, 0.3, 0.3], 1), ([], 0)]
)
def test_generations_without_a_better_loss_are_counted(fitness: list[float], generations: int) -> None:
    assert idle(known(*[("x", number, value) for number, value in enumerate(fitness)])) == generations
