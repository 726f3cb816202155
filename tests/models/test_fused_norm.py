"""BatchNorm, pooling and ReLU as one operation: what torch's three give one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lossforge.models.fused_norm import norm_pool_relu


def separately(h: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    normal = functional.batch_norm(h, mean, variance, weight, bias, True, 0.1)
    return functional.relu(functional.max_pool2d(normal, 2))


@pytest.mark.parametrize("shape", [(64, 24, 8, 8), (5, 7, 9, 11), (2, 1, 2, 3)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_value_gradient_and_running_statistics_are_torchs(shape: tuple[int, ...], offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator) * 3 + offset
    weight, bias = torch.randn(2, shape[1], generator=generator).unbind(0)  # negative weights too
    found = []
    for function in (separately, norm_pool_relu):
        h = start.contiguous(memory_format=torch.channels_last).requires_grad_()
        parameters = [tensor.clone().requires_grad_() for tensor in (weight, bias)]
        running = [torch.zeros(shape[1]), torch.ones(shape[1])]
        y = function(h, *running, *parameters)
        given = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        found.append([y.detach(), *running, *torch.autograd.grad(y, [h, *parameters], given)])
    for mine, torchs in zip(*reversed(found), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-3, atol=2e-4 if offset else 2e-5)


def test_a_channel_that_is_not_finite_touches_no_other() -> None:
    start = torch.randn(8, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for poison in (1.0, float("nan")):
        h = start.clone()
        h[3, 1, 2, 2] *= poison
        h = h.contiguous(memory_format=torch.channels_last).requires_grad_()
        mean, variance = torch.zeros(4), torch.ones(4)
        y = norm_pool_relu(h, mean, variance, torch.ones(4), torch.zeros(4))
        (gradient,) = torch.autograd.grad(y.sum(), h)
        outcomes.append((y.detach(), gradient, mean[:, None], variance[:, None]))
    for whole, poisoned in zip(*outcomes, strict=True):
        axis = 1 if whole.ndim == 4 else 0
        others = torch.tensor([0, 2, 3])
        assert torch.equal(whole.index_select(axis, others), poisoned.index_select(axis, others))
    assert outcomes[1][0][:, 1].isnan().any()
