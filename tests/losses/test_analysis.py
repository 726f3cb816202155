"""What is told of a loss agrees with what is known of it."""

from __future__ import annotations

import pytest

from lossforge.losses.analysis import gradient_ratio, minimiser, nearest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import loss_spec


@pytest.mark.parametrize(("classes", "p_true"), [(2, 0.566), (10, 0.391), (100, 0.362)])
def test_the_minimiser_of_ngl_is_not_one_hot(classes: int, p_true: float) -> None:
    assert minimiser(loss_spec("ngl"), classes) == pytest.approx(p_true, abs=6e-4)


@pytest.mark.parametrize("name", ["cross_entropy", "brier", "generalized_ce", "mean_absolute_error"])
def test_the_minimiser_of_a_proper_loss_is_one_hot(name: str) -> None:
    assert minimiser(loss_spec(name), 10) == pytest.approx(1.0, abs=1e-5)


def test_label_smoothing_is_least_at_the_smoothed_target() -> None:
    assert minimiser(loss_spec("label_smoothing", e=0.2), 10) == pytest.approx(0.82, abs=1e-4)


@pytest.mark.parametrize(("classes", "times"), [(2, 2.8), (10, 12.0), (100, 926.0)])
def test_the_gradient_of_ngl_is_far_below_cross_entropys(classes: int, times: float) -> None:
    assert 1 / gradient_ratio(loss_spec("ngl"), classes) == pytest.approx(times, rel=0.05)


def test_a_multiple_of_a_loss_has_a_multiple_of_its_gradient_and_is_its_own_relative() -> None:
    tripled = LossSpec("3 * (y_true - y_pred)**2 + 1")
    assert gradient_ratio(tripled, 10) == pytest.approx(3 * gradient_ratio(loss_spec("brier"), 10))
    name, similarity = nearest(tripled)
    assert name == "brier"
    assert similarity == pytest.approx(1.0)


def test_a_loss_without_a_gradient_has_ratio_zero() -> None:
    assert gradient_ratio(LossSpec("sign(y_pred - y_true)"), 10) == 0.0
    assert gradient_ratio(LossSpec("1.5"), 10) == 0.0
