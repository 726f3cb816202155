from __future__ import annotations

import numpy

from lossforge.evolution.surrogate import Surrogate, rank_correlation, thompson


def losses(count: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    generator = numpy.random.default_rng(3)
    inputs = generator.normal(size=(count, 30))
    return inputs, 0.05 * inputs[:, 0] - 0.03 * numpy.abs(inputs[:, 1])


def fitted(inputs: numpy.ndarray, gains: numpy.ndarray) -> Surrogate:
    return Surrogate(inputs, gains, numpy.ones(len(gains)), trees=60, seed=1)


def test_it_ranks_what_it_has_not_seen_and_knows_how_well() -> None:
    inputs, gains = losses(300)
    model = fitted(inputs[:200], gains[:200])
    later = rank_correlation(model.mean(inputs[200:]), gains[200:])
    assert later > 0.6
    assert abs(model.correlation - later) < 0.2


def test_where_gains_are_luck_it_says_that_it_knows_nothing() -> None:
    inputs, _ = losses(120)
    assert abs(fitted(inputs, numpy.random.default_rng(0).normal(size=120)).correlation) < 0.25


def test_it_depends_on_its_losses_and_its_seed_alone() -> None:
    inputs, gains = losses(60)
    first = fitted(inputs, gains).of_trees(inputs)
    assert (first == fitted(inputs.copy(), gains.copy()).of_trees(inputs)).all()
    assert (first != Surrogate(inputs, gains, numpy.ones(60), trees=60, seed=2).of_trees(inputs)).any()


def test_a_failure_is_no_worse_than_a_very_bad_loss() -> None:
    inputs, gains = losses(60)
    gains[:5] = -1.0
    assert fitted(inputs, gains).mean(inputs).min() >= -0.2


def test_thompson_draws_take_each_once_and_the_undisputed_first() -> None:
    said = numpy.random.default_rng(1).normal(size=(50, 12))
    said[:, 4] += 100
    said[:, 7] -= 100
    order = thompson(said, seed=5)
    assert sorted(order) == list(range(12))
    assert order[0] == 4
    assert order[-1] == 7
    assert order != thompson(said, seed=6)
