"""Heads against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import format_formula
from lossforge.losses.heads import HEADS, LEAST_LOG
from lossforge.losses.targets import one_hot

EXTREME = torch.tensor([-9e4, -50.0, -1.0, -1e-9, 0.0, 0.3, 20.0, 50.0, 9e4], dtype=torch.float64)
GRID = torch.cartesian_prod(EXTREME, EXTREME)


def logits_of(head: str) -> torch.Tensor:
    return GRID[:, :1] if head == "binary" else GRID


@pytest.mark.parametrize("head", HEADS)
def test_probabilities_and_their_logarithms_are_one(head: str) -> None:
    z = logits_of(head)
    p, log = HEADS[head].probabilities(z, 1), HEADS[head].log_probabilities(z, 1)
    assert p.shape == log.shape == (len(z), HEADS[head].classes(z.shape[1]))
    assert torch.allclose(p, log.exp(), rtol=1e-12, atol=0)
    assert (log <= 0).all()
    assert log.isfinite().all()
    if head != "sigmoid":
        assert torch.allclose(p.sum(1), torch.ones(len(z), dtype=torch.float64))


def test_a_binary_head_is_a_softmax_of_zero_and_the_logit() -> None:
    z = logits_of("binary")
    both = torch.cat([torch.zeros_like(z), z], 1)
    binary, softmax = HEADS["binary"], HEADS["softmax"]
    assert torch.allclose(binary.probabilities(z, 1), softmax.probabilities(both, 1), rtol=1e-12, atol=0)
    assert torch.allclose(binary.log_probabilities(z, 1), softmax.log_probabilities(both, 1), rtol=1e-12, atol=1e-15)
    assert binary.scores(z, 1).equal(both)
    target = torch.arange(len(z)) % 2
    for smoothing in (0.0, 0.1):
        found, wanted = (
            head.cross_entropy(logits, target, smoothing) for head, logits in ((binary, z), (softmax, both))
        )
        assert torch.allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_cross_entropy_behind_sigmoids_is_binary_for_each_label(reduction: str) -> None:
    z, target = GRID, torch.arange(len(GRID)) % 2
    head, rows = HEADS["sigmoid"], functional.one_hot(target, 2).double()
    wanted = functional.binary_cross_entropy_with_logits(z, rows, reduction="none").sum(1)
    wanted = wanted.mean() if reduction == "mean" else wanted
    assert torch.allclose(head.cross_entropy(z, rows, reduction=reduction), wanted)
    assert torch.allclose(head.cross_entropy(z, target, reduction=reduction), wanted)
    soft = head.cross_entropy(z, target, 0.2, reduction)
    wanted = functional.binary_cross_entropy_with_logits(z, rows * 0.8 + 0.1, reduction="none").sum(1)
    assert torch.allclose(soft, wanted.mean() if reduction == "mean" else wanted)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(HEADS)), st.integers(1, 4), st.integers(0, 1000))
def test_the_likeliest_class_is_the_one_with_the_largest_probability(head: str, dims: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = [5, 1 if head == "binary" else 3, 2, 4][:dims] if dims > 1 else [1 if head == "binary" else 3]
    dim = 1 if dims > 1 else 0
    z = torch.randn(shape, generator=generator).round()
    predicted = HEADS[head].predicted(z, dim)
    assert predicted.equal(HEADS[head].probabilities(z, dim).argmax(dim))
    assert predicted.shape == z.select(dim, 0).shape


def test_networks_give_as_many_outputs_as_the_head_asks_for() -> None:
    assert {name: head.outputs(2) for name, head in HEADS.items()} == {"softmax": 2, "sigmoid": 2, "binary": 1}
    assert (HEADS["softmax"].outputs(7), HEADS["sigmoid"].outputs(7)) == (7, 7)
    with pytest.raises(ValueError, match="head 'binary' is for two classes, not 7"):
        HEADS["binary"].outputs(7)


@pytest.mark.parametrize("head", HEADS)
def test_cross_entropys_formula_is_written_as_a_tree_prints_it(head: str) -> None:
    formula = HEADS[head].cross_entropy_formula
    assert format_formula(parse_formula(formula)) == formula


@pytest.mark.parametrize("shape", [(3,), (4, 3), (4, 3, 2)])
def test_indices_become_ones(shape: tuple[int, ...]) -> None:
    dim = min(1, len(shape) - 1)
    z = torch.randn(shape)
    indices = torch.arange(z.select(dim, 0).numel()).view(z.select(dim, 0).shape) % 3
    assert one_hot(indices, z, dim).argmax(dim).equal(indices)
    assert one_hot(indices, z, dim).sum(dim).eq(1).all()


@pytest.mark.parametrize("head", HEADS)
def test_logarithms_are_held_where_a_logit_is_infinite(head: str) -> None:
    infinite = float("inf")
    z = (
        torch.tensor([[-infinite], [infinite]])
        if head == "binary"
        else torch.tensor([[0.0, -infinite], [-infinite, 1.0]])
    )
    log = HEADS[head].log_probabilities(z, 1)
    assert log.min() == LEAST_LOG
    assert log.isfinite().all()
    assert HEADS[head].logit(z).isfinite().all() or head != "sigmoid"
