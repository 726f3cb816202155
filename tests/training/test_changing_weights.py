"""Weights of sums that change: cohorts against the published rules, written out in plain torch; and neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tests.training.test_train import plan as plan_of
from torch import Tensor, nn
from torch.nn import functional

from lossforge.errors import ModelError
from lossforge.losses.library import loss_spec
from lossforge.losses.weighting_rules import MOST_TERMS
from lossforge.seeding import derive_seed
from lossforge.training.cohort import Cohort
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import _Run, train_cohort

EPOCHS, RATE = 4, 0.01
SUM = "cross_entropy + 2 * mse + dice"
RULES = {
    "uncertainty": f"uncertainty({SUM})",
    "dwa": f"dwa({SUM}, temperature=0.5)",
    "gradnorm": f"gradnorm({SUM}, alpha=0.7)",
}
Batches = list[tuple[Tensor, Tensor]]


def plan(**recipe: object) -> Plan:
    given = {"schedule": "constant", "match_gradient": False, "stop_at": 0.0, "batch_size": 100, **recipe}
    return replace(plan_of(EPOCHS, **given), shares=True)  # type: ignore[arg-type]


def replica(text: str, seed: int = 3) -> Replica:
    return Replica(loss_spec(text, head="softmax"), seed, RATE)


def epochs_of(plan: Plan, one: Replica) -> Iterator[Batches]:
    """The batches that a network of this seed sees, epoch by epoch."""
    cohort = Cohort(plan, [one])
    for _ in range(EPOCHS):
        cohort.samples.new_epoch()
        yield [(x[0], y[0]) for x, y in cohort.batches(0, plan.batches)]


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy, twice the squared error summed over classes, and Dice with 1 added above and below."""
    p, t = logits.softmax(1), functional.one_hot(y, logits.shape[1]).float()
    dice = 1 - (2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)
    return torch.stack([functional.cross_entropy(logits, y), 2 * (p - t).square().sum(1).mean(), dice.mean()])


def published(method: str, plan: Plan, one: Replica) -> list[list[float]]:
    """The factors at the end of each epoch, as the paper's algorithm gives them with torch's own Adam."""
    model = plan.build(derive_seed(one.seed, "weights")).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    s, w = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    own = torch.optim.Adam([s if method == "uncertainty" else w], lr=RATE)
    (shared,) = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    first: Tensor | None = None
    means: list[Tensor] = []
    found = []
    for batches in epochs_of(plan, one):
        seen = []
        for x, y in batches:
            values = losses(model(x), y)
            seen.append(values.detach())
            first = values.detach() if first is None else first
            optimizer.zero_grad()
            own.zero_grad()
            if method == "uncertainty":
                (s.neg().exp() * values + s / 2).sum().backward()
            elif method == "dwa":
                (w.detach() * values).sum().backward()
            else:
                lengths = torch.stack(
                    [
                        torch.autograd.grad(weight * value, shared, create_graph=True)[0].norm()
                        for weight, value in zip(w, values, strict=True)
                    ]
                )
                ratio = values.detach() / first
                target = lengths.mean().detach() * (ratio / ratio.mean()) ** 0.7
                (given,) = torch.autograd.grad((lengths - target).abs().sum(), w, retain_graph=True)
                (w.detach() * values).sum().backward()
                w.grad = given
            optimizer.step()
            if method != "dwa":
                own.step()
            if method == "gradnorm":
                with torch.no_grad():
                    w.mul_(3 / w.sum())
        means.append(torch.stack(seen).mean(0))
        found.append((s.neg().exp() if method == "uncertainty" else w).tolist())
        if method == "dwa" and len(means) > 1:
            with torch.no_grad():
                w.copy_(3 * torch.softmax(means[-1] / means[-2] / 0.5, 0))
    return found


@pytest.mark.parametrize("method", RULES)
def test_a_cohort_weighs_as_the_paper_says(method: str) -> None:
    recipe, one = plan(), replica(RULES[method])
    (score,) = train_cohort(recipe, [one])
    factors = torch.tensor(score.metrics["term_factors"])
    assert torch.allclose(factors, torch.tensor(published(method, recipe, one)), atol=2e-3)
    assert float((factors[-1] - 1).abs().max()) > 0.02
    assert score.metrics["terms"] == ["cross_entropy", "2 * mse", "dice"]


@pytest.mark.parametrize("backend", ["vmap", "loop", "grouped", "layers"])
def test_every_back_end_gives_the_norms_of_gradients(backend: str) -> None:
    recipe, one = plan(backend=backend), replica(RULES["gradnorm"])
    (score,) = train_cohort(recipe, [one])
    wanted = torch.tensor(published("gradnorm", recipe, one))
    assert torch.allclose(torch.tensor(score.metrics["term_factors"]), wanted, atol=2e-3)


def test_neighbours_change_nothing() -> None:
    both = [*RULES.values(), "focal + dice", "cross_entropy"]
    together = train_cohort(plan(), [replica(text) for text in both])
    turned = train_cohort(plan(), [replica(text) for text in reversed(both)])[::-1]
    for one, other in zip(together, turned, strict=True):
        assert one.accuracy == other.accuracy
        assert one.metrics == other.metrics


def test_rules_go_on_behind_an_early_stop() -> None:
    """Heats are put together again: the state of the weights goes with its lane."""
    three = [replica(text) for text in RULES.values()]
    stopped = replace(replica("cross_entropy + dice"), floor=1.0)
    alone = train_cohort(plan(stop_at=0.5), [*three, stopped], lanes=4)
    gathered = train_cohort(plan(stop_at=0.5), [three[0], stopped, *three[1:], stopped, stopped, stopped], lanes=4)
    assert [one.metrics.get("term_factors") for one in alone[:3]] == [
        gathered[place].metrics.get("term_factors") for place in (0, 2, 3)
    ]
    assert alone[3].stopped
    assert "term_factors" not in alone[3].metrics


def test_half_precision_weighs_alike() -> None:
    (half,) = train_cohort(plan(precision="bfloat16"), [replica(RULES["gradnorm"])])
    (full,) = train_cohort(plan(), [replica(RULES["gradnorm"])])
    off = torch.tensor(half.metrics["term_factors"]) - torch.tensor(full.metrics["term_factors"])
    assert float(off.abs().max()) < 0.1


def test_shares_are_those_of_the_gradient_on_the_logits() -> None:
    one, other = replica("cross_entropy + 2 * mse"), replica("cross_entropy")
    scores = train_cohort(plan(), [one, other])
    shares = torch.tensor(scores[0].metrics["gradient_shares"])
    assert shares.shape == (EPOCHS, 2)
    assert torch.allclose(shares.sum(1), torch.ones(EPOCHS), atol=1e-3)
    assert "gradient_shares" not in scores[1].metrics
    cohort = Cohort(replace(plan(), shares=True), [one])
    logits, y = torch.randn(1, 20, 10), torch.arange(20)[None] % 10
    cohort.note_shares(logits, y)
    z = logits[0].requires_grad_()
    lengths = torch.stack([torch.autograd.grad(value, z, retain_graph=True)[0].norm() for value in losses(z, y[0])[:2]])
    assert torch.allclose(cohort.lanes.shares[0][0, :2], lengths / lengths.sum(), atol=1e-5)
    assert cohort.lanes.shares[0].shape == (1, MOST_TERMS)


def test_shares_change_no_result() -> None:
    with_shares = train_cohort(plan(), [replica("focal + dice"), replica(RULES["dwa"])])
    without = train_cohort(replace(plan(), shares=False), [replica("focal + dice"), replica(RULES["dwa"])])
    assert [one.metrics["curve"] for one in with_shares] == [one.metrics["curve"] for one in without]
    assert all("gradient_shares" not in one.metrics for one in without)


def test_gradnorm_asks_for_a_layer_that_gives_the_logits() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.inner(x.flatten(1))

    odd = replace(plan(), build=lambda seed: Doubled())
    with pytest.raises(ModelError, match="linear layer"):
        train_cohort(odd, [replica(RULES["gradnorm"])])
    assert _Run.begin(odd, [replica(RULES["dwa"])], 0, [0]).step == 0
