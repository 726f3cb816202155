"""Cross-entropy of logits of one length: only their direction counts, and it is that of the logits as they are."""

from __future__ import annotations

import pytest
import torch

from lossforge.losses.library import loss


@pytest.mark.parametrize("size", [1e-3, 7.0, 1e18, 1e30])
def test_the_length_of_the_logits_does_not_count(size: float) -> None:
    logits, target = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)), torch.arange(6) % 4
    torch.testing.assert_close(loss("logit_norm")(logits * size, target), loss("logit_norm")(logits, target))


def test_what_is_added_to_all_logits_counts() -> None:
    logits, target = torch.tensor([[1.0, -1.0]]), torch.tensor([0])
    criterion = loss("logit_norm", tau=1)
    assert criterion(logits + 1, target) > criterion(logits, target) + 0.01


def test_logits_of_zero_are_a_uniform_prediction_with_a_finite_gradient() -> None:
    z = torch.zeros(2, 4, requires_grad=True)
    value = loss("logit_norm")(z, torch.tensor([0, 3]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(4.0).log())
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_the_norm_is_that_of_the_classes_that_can_be() -> None:
    logits, target = torch.tensor([[1.0, 2.0, -torch.inf]]), torch.tensor([0])
    torch.testing.assert_close(loss("logit_norm")(logits, target), loss("logit_norm")(logits[:, :2], target))
