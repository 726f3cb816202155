"""K losses in one call are the K modules, one by one."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.library import shares

from lossforge.errors import LossError
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY
from lossforge.losses.population import PopulationLoss

SPECS = [entry.spec() for entry in LIBRARY.values() if not entry.spec().is_term]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_network_has_its_own_loss(soft: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(len(SPECS), 12, 5, generator=generator, dtype=dtype) * 2
    target = torch.randint(5, (len(SPECS), 12), generator=generator)
    if soft:
        target = torch.softmax(torch.randn(len(SPECS), 12, 5, generator=generator, dtype=dtype), -1)
    z = logits.clone().requires_grad_()
    values = PopulationLoss(SPECS)(z, target, class_share=shares(5)[None])
    (values * torch.arange(1.0, len(SPECS) + 1)).sum().backward()
    for k, spec in enumerate(SPECS):
        alone = logits[k].clone().requires_grad_()
        value = spec.build(class_share=shares(5))(alone, target[k])
        (value * (k + 1)).backward()
        assert z.grad is not None
        assert alone.grad is not None
        tolerance = 1e-5 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(values[k].detach(), value.detach(), rtol=tolerance, atol=tolerance)
        size = float(alone.grad.abs().max())
        torch.testing.assert_close(z.grad[k], alone.grad, rtol=tolerance, atol=tolerance * size)


def test_targets_can_be_shared_and_halves_are_computed_in_float32() -> None:
    logits, target = torch.randn(2, 6, 4), torch.randint(4, (6,))
    population = PopulationLoss(SPECS[:2])
    half = population(logits.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, population(logits.bfloat16().float(), target.expand(2, 6)))


def test_a_second_derivative_is_refused() -> None:
    z = torch.randn(1, 3, 4, requires_grad=True)
    value = PopulationLoss(SPECS[:1])(z, torch.arange(3)).sum()
    with pytest.raises(LossError, match="cannot be differentiated again"):
        torch.autograd.grad(value, z, create_graph=True)


@pytest.mark.parametrize("wrong", [4, -1, -100])
def test_a_class_that_does_not_exist_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 4\), but one is"):
        PopulationLoss(SPECS[:1])(torch.randn(1, 3, 4), torch.tensor([0, wrong, 1]))


def test_a_term_is_refused() -> None:
    with pytest.raises(LossError, match=r"'dice\(e=1.0\)' is no formula"):
        PopulationLoss([LossSpec("dice(e=1.0)")])
