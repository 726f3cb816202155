"""One sigmoid neuron and two softmax neurons, matched: the same training, step by step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lossforge.data.splits import Part, TaskData
from lossforge.evaluation.evaluate import network
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import _Run

SEEDS = (3, 4, 5)
STEPS = 100


def data_of(samples: int = 160) -> Part:
    """A table whose features differ in size, as raw ones do."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.tensor([3.0, 100.0, 70.0, 20.0, 80.0, 30.0, 0.5, 30.0], dtype=torch.float64)
    x = torch.rand(samples, 8, generator=generator, dtype=torch.float64)
    y = (x.sum(1) + torch.randn(samples, generator=generator, dtype=torch.float64) > 4).long()
    return Part((x * sizes)[:, :, None, None], y)


def run_of(head: str, optimizer: str, *, matched: bool = True, **recipe: Any) -> _Run:
    part = data_of()
    init: Any = "matched" if matched else "own"
    task = TaskSection(data="csv:table.csv", model="mlp_12_8", head=head, output_init=init)  # type: ignore[arg-type]
    data = TaskData(part, part, part, 2)
    plan = Plan(
        train=part,
        score=part,
        classes=2,
        recipe=RecipeSection(
            optimizer=optimizer,  # type: ignore[arg-type]
            schedule="constant",
            batch_size=32,
            match_gradient=False,
            output_rate=0.5 if matched and head == "softmax" else 1.0,
            **recipe,
        ),
        epochs=STEPS // (len(part) // 32),
        label_noise=0.0,
        build=lambda seed: network(task, data, seed).double(),
        head=HEADS[head],
    )
    formula = HEADS[head].cross_entropy_formula
    rate = 1e-3 if optimizer != "sgd" else 1e-4
    replicas = [Replica(LossSpec(formula), seed, rate * (1 + lane)) for lane, seed in enumerate(SEEDS)]
    return _Run.begin(plan, replicas, 0, range(len(SEEDS)))


def logit_of(run: _Run) -> Tensor:
    """By how much the second class is ahead, ``(K, N)``."""
    x = run.plan.train.x
    with torch.no_grad():
        logits = run.cohort.logits(x[None], training=False)
    assert logits.dtype == torch.float64
    return logits[..., 0] if logits.shape[-1] == 1 else logits[..., 1] - logits[..., 0]


@pytest.mark.parametrize(
    ("optimizer", "recipe"),
    [("sgd", {}), ("adam", {}), ("adam", {"epsilon": 1e-7}), ("adam", {"backend": "loop"})],
    ids=["sgd", "adam", "keras", "loop"],
)
def test_matched_heads_are_one_training(optimizer: str, recipe: dict[str, Any]) -> None:
    one, two = run_of("binary", optimizer, **recipe), run_of("softmax", optimizer, **recipe)
    moved = []
    for step in range(0, STEPS + 1, 10):
        for run in (one, two):
            run.advance(step)
        moved.append(logit_of(one))
        assert float((moved[-1] - logit_of(two)).abs().max()) < 1e-9
        hidden = zip(one.cohort.params[:-2], two.cohort.params[:-2], strict=True)
        assert all(float((a - b).detach().abs().max()) < 1e-9 for a, b in hidden)
        weight = two.cohort.params[-2]
        assert float((weight[:, 1] - weight[:, 0] - one.cohort.params[-2][:, 0]).detach().abs().max()) < 1e-9
    assert one.step == two.step == STEPS
    # Both did learn something all the while.
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in pairwise(moved))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_unmatched_heads_are_two_trainings(optimizer: str) -> None:
    """Without the half rate the steps are longer, and without the common start the functions are others."""
    one = run_of("binary", optimizer)
    two = run_of("softmax", optimizer)
    faster = run_of("softmax", optimizer)
    faster.optimizer.factors = None
    fresh = run_of("softmax", optimizer, matched=False)
    assert float((logit_of(one) - logit_of(fresh)).abs().max()) > 0.1
    for run in (one, two, faster):
        run.advance(10)
    assert float((logit_of(one) - logit_of(faster)).abs().max()) > 1e-2
    assert float((logit_of(one) - logit_of(two)).abs().max()) < 1e-9


def test_the_last_layers_rate_goes_with_its_lanes() -> None:
    """Gathered lanes keep it: a run that is regrouped goes on as it would have."""
    run = run_of("softmax", "adam")
    run.advance(5)
    alone = _Run.gathered([run], [(0, 1)])
    assert alone.optimizer.factors is not None
    for one in (run, alone):
        one.advance(STEPS)
    assert torch.equal(logit_of(run)[1], logit_of(alone)[0])


def test_a_factor_of_one_costs_nothing() -> None:
    run = run_of("binary", "adam")
    assert run.optimizer.factors is None
