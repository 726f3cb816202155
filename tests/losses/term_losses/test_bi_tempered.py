"""The tempered softmax: probabilities that sum to one however heavy the tail, and derivatives of any order."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.published_losses import tempered_softmax
from torch import Tensor

from lossforge.losses.library import loss
from lossforge.losses.term_losses.bi_tempered import tempered_log_softmax


def logits_of(classes: int, spread: float, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(classes)
    return torch.randn(40, classes, generator=generator, dtype=torch.float64).mul(spread).to(dtype)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 3.0, 10.0, 50.0, 1e4, 1e30])
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("t", [1.0001, 1.05, 1.2, 2.0, 4.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_sum_to_one(spread: float, classes: int, t: float, dtype: torch.dtype) -> None:
    q = tempered_log_softmax(logits_of(classes, spread, dtype), t, 1).exp()
    torch.testing.assert_close(q.sum(1), torch.ones(40, dtype=dtype), rtol=0, atol=100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("t", [1.05, 1.2, 2.0, 4.0])
def test_they_are_those_that_bisection_finds(t: float) -> None:
    for spread in (1.0, 10.0, 50.0):
        logits = logits_of(10, spread, torch.float64)
        torch.testing.assert_close(tempered_log_softmax(logits, t, 1).exp(), tempered_softmax(logits, t))


def test_near_t_of_one_it_is_softmax() -> None:
    logits = logits_of(10, 3.0, torch.float64)
    torch.testing.assert_close(tempered_log_softmax(logits, 1 + 1e-9, 1), torch.log_softmax(logits, 1))


def test_equal_shifts_of_all_logits_change_nothing() -> None:
    logits = logits_of(10, 3.0, torch.float64)
    torch.testing.assert_close(tempered_log_softmax(logits + 1000, 1.3, 1), tempered_log_softmax(logits, 1.3, 1))


@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.2), (0.5, 4.0), (0.0, 1.0), (0.999, 1.0001)])
def test_value_gradient_and_second_derivative_are_finite_at_the_ends(t1: float, t2: float) -> None:
    for size in (50.0, 1e4, 1e30):
        logits = torch.tensor([[size, -size, 0], [-size, size, 0], [0, 0, 0], [-torch.inf, size, -size]])
        z = logits.requires_grad_()
        value = loss("bi_tempered", t1=t1, t2=t2)(z, torch.tensor([0, 0, 1, 2]))
        (gradient,) = torch.autograd.grad(value, z, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), z)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert second.isfinite().all()


def test_the_loss_of_a_wrong_label_is_bounded() -> None:
    far = torch.tensor([[-1e30, 1e30]], dtype=torch.float64)
    # log_t1(0) is -1 / (1 - t1), and q^(2 - t1) / (2 - t1) is 0 and 1 / (2 - t1) for the two classes.
    expected = 1 / (1 - 0.8) - 1 / (2 - 0.8) + 1 / (2 - 0.8)
    assert float(loss("bi_tempered", t1=0.8, t2=1.0)(far, torch.tensor([0]))) == pytest.approx(expected)


def test_the_right_label_costs_nothing() -> None:
    sure = torch.tensor([[1e30, -1e30, -1e30]], dtype=torch.float64)
    assert abs(float(loss("bi_tempered")(sure, torch.tensor([0])))) < 1e-5
