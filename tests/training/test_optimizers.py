"""Optimisers on stacked parameters: each replica is stepped and clipped as it would be alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossforge.training.muon import StackedMuon, is_matrix, orthogonalised
from lossforge.training.optimizers import clip_gradients

K = 3


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(K, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 3, 3, 3), (6, 6)])
def test_muon_steps_each_matrix_as_torchs_does_alone(shape: tuple[int, ...]) -> None:
    stacked = draws(*shape).requires_grad_()
    alone = [part.detach().clone().flatten(1).requires_grad_() for part in stacked]
    mine = StackedMuon([stacked], lr=0.1, weight_decay=0.01)
    torchs = torch.optim.Muon(alone, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        stacked.grad = draws(*shape, seed=step + 1) * torch.tensor([1.0, 1e3, 1e-3]).view(-1, *[1] * len(shape))
        for k, matrix in enumerate(alone):
            matrix.grad = stacked.grad[k].flatten(1).clone()
        mine.step()
        torchs.step()
    for k, matrix in enumerate(alone):
        # torch iterates in bfloat16.
        torch.testing.assert_close(stacked[k].flatten(1), matrix, atol=0.02, rtol=0)


def test_the_rest_is_stepped_as_by_adamw() -> None:
    mine_bias, torchs_bias = (draws(7).requires_grad_() for _ in range(2))
    mine = StackedMuon([mine_bias], lr=0.1, weight_decay=0.01)
    torchs = torch.optim.AdamW([torchs_bias], lr=0.1, weight_decay=0.01)
    for step in range(4):
        mine_bias.grad, torchs_bias.grad = draws(7, seed=step), draws(7, seed=step)
        mine.step()
        torchs.step()
    torch.testing.assert_close(mine_bias, torchs_bias)


def test_singular_values_become_nearly_one() -> None:
    for shape in ((5, 9), (9, 5)):
        values = torch.linalg.svdvals(orthogonalised(draws(*shape)))
        assert values.min() > 0.6
        assert values.max() < 1.3
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def test_a_replica_that_is_not_finite_touches_no_neighbour() -> None:
    runs = []
    for poison in (1.0, float("nan")):
        weight, bias = draws(4, 5).requires_grad_(), draws(4, seed=1).requires_grad_()
        optimizer = StackedMuon([weight, bias], lr=0.1, weight_decay=0.0)
        factor = torch.tensor([1.0, poison, 1.0])
        weight.grad, bias.grad = draws(4, 5, seed=2) * factor[:, None, None], draws(4, seed=3) * factor[:, None]
        clip_gradients([weight, bias], 0.5)
        optimizer.step()
        runs.append((weight.detach(), bias.detach()))
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
        assert other[1].isnan().all()


def test_matrices_are_linear_layers_and_convolutions() -> None:
    shapes = {(4, 5): True, (8, 1, 3, 3): True, (8, 3, 1, 1): True, (4,): False, (): False}
    shapes |= {(1, 1, 24): False, (6, 1, 1): False, (1, 9): False}
    assert {shape: is_matrix(torch.empty(K, *shape)) for shape in shapes} == shapes


def test_clipping_is_each_replicas_own() -> None:
    weight, bias, frozen = draws(4, 5).requires_grad_(), draws(4).requires_grad_(), draws(2)
    factor = torch.tensor([1e-3, 1.0, 1e3])
    weight.grad, bias.grad = draws(4, 5, seed=2) * factor[:, None, None], draws(4, seed=3) * factor[:, None]
    expected = []
    for k in range(K):
        alone = [weight.detach()[k].clone().requires_grad_(), bias.detach()[k].clone().requires_grad_()]
        alone[0].grad, alone[1].grad = weight.grad[k].clone(), bias.grad[k].clone()
        torch.nn.utils.clip_grad_norm_(alone, 2.0)
        expected.append([part.grad for part in alone])
    clip_gradients([weight, bias, frozen], 2.0)
    for k in range(K):
        torch.testing.assert_close([weight.grad[k], bias.grad[k]], expected[k])
