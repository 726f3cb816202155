"""Optimisers on stacked parameters: each replica is stepped and clipped as it would be alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from lossforge.spaces.schema import RecipeSection
from lossforge.training.lanes import LaneState, gathered
from lossforge.training.muon import is_matrix, orthogonalised
from lossforge.training.optimizers import clip_gradient, make_optimizer, momenta_of
from lossforge.training.schedules import StepValues, schedule_values
from lossforge.training.stacked import Flat, Layout, flatten

K = 3
SHAPES = [torch.Size([4, 5]), torch.Size([4]), torch.Size([2, 3, 3, 3])]
LAYOUT = Layout(SHAPES, K)
RATES = (0.1, 0.003, 0.02)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(K, *shape, generator=torch.Generator().manual_seed(seed))


def vector(seed: int = 0) -> Tensor:
    return flatten([draws(*shape, seed=seed + 100 * place) for place, shape in enumerate(SHAPES)])


class Stepped:
    """Lanes and their optimiser, and how many steps are done."""

    def __init__(self, name: str, lanes: LaneState, decay: float = 0.01) -> None:
        recipe = RecipeSection(optimizer=name, weight_decay=decay)  # type: ignore[arg-type]
        self.lanes, self.steps = lanes, 0
        self.optimizer = make_optimizer(recipe, lanes.rates.tolist())

    @property
    def parts(self) -> list[Tensor]:
        return self.lanes.weights.parts

    def step(self, gradient: Tensor, values: StepValues, kept: Tensor | None = None) -> None:
        self.steps += 1
        self.optimizer.apply(self.lanes, gradient, self.optimizer.numbers(values, self.steps), kept)


def lanes_of(name: str, weights: Sequence[Tensor], rates: tuple[float, ...] = RATES) -> LaneState:
    momenta = momenta_of(RecipeSection(optimizer=name))  # type: ignore[arg-type]
    return LaneState.begin(Flat.of(weights), torch.tensor(rates), momenta)


def stepped(name: str, rates: tuple[float, ...] = RATES) -> Stepped:
    return Stepped(name, lanes_of(name, LAYOUT.views(vector()), rates))


TORCHS: dict[str, Callable[[list[Tensor], float], optim.Optimizer]] = {
    "sgd": lambda params, rate: optim.SGD(params, lr=rate, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda params, rate: optim.Adam(params, lr=rate, weight_decay=0.01),
    "adamw": lambda params, rate: optim.AdamW(params, lr=rate, weight_decay=0.01),
}


@pytest.mark.parametrize("rates", [RATES, (0.02, 0.02, 0.02)])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("name", TORCHS)
def test_each_replica_steps_as_torchs_own_does_alone(name: str, schedule: str, rates: tuple[float, ...]) -> None:
    mine = stepped(name, rates)
    alone = [[part[k].clone().requires_grad_() for part in LAYOUT.views(vector())] for k in range(K)]
    torchs = [TORCHS[name](params, rate) for params, rate in zip(alone, rates, strict=True)]
    kinds: dict[str, Callable[[optim.Optimizer, float], Any]] = {
        "one_cycle": lambda one, rate: optim.lr_scheduler.OneCycleLR(one, rate, total_steps=7),
        "cosine": lambda one, rate: optim.lr_scheduler.CosineAnnealingLR(one, T_max=6),
        "constant": lambda one, rate: optim.lr_scheduler.ConstantLR(one, factor=1.0),
    }
    followers = [kinds[schedule](one, rate) for one, rate in zip(torchs, rates, strict=True)]
    for step, values in enumerate(schedule_values(schedule, 6)):
        gradient = vector(seed=step + 1)
        mine.step(gradient, values)
        for k, optimizer in enumerate(torchs):
            for param, part in zip(alone[k], LAYOUT.views(gradient), strict=True):
                param.grad = part[k].clone()
            optimizer.step()
            followers[k].step()
    for place, stacked in enumerate(mine.parts):
        torch.testing.assert_close(stacked, torch.stack([params[place].detach() for params in alone]))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 3, 3, 3), (6, 6)])
def test_muon_steps_each_matrix_as_torchs_does_alone(shape: tuple[int, ...]) -> None:
    mine = Stepped("muon", lanes_of("muon", [draws(*shape)], (0.1,) * K))
    alone = [part.clone().flatten(1).requires_grad_() for part in draws(*shape)]
    torchs = optim.Muon(alone, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = draws(*shape, seed=step + 1) * torch.tensor([1.0, 1e3, 1e-3]).view(-1, *[1] * len(shape))
        mine.step(gradient.reshape(-1), StepValues(1.0, None))
        for k, matrix in enumerate(alone):
            matrix.grad = gradient[k].flatten(1).clone()
        torchs.step()
    for k, matrix in enumerate(alone):
        # torch iterates in bfloat16.
        torch.testing.assert_close(mine.parts[0][k].flatten(1), matrix, atol=0.02, rtol=0)


def test_muon_steps_the_rest_as_adamw() -> None:
    flats = []
    for name in ("muon", "adamw"):
        mine = Stepped(name, lanes_of(name, [draws(7)]))
        for step in range(4):
            mine.step(draws(7, seed=step).reshape(-1), StepValues(1.0, None))
        flats.append(mine.parts[0])
    torch.testing.assert_close(*flats)


def test_singular_values_become_nearly_one() -> None:
    for shape in ((5, 9), (9, 5)):
        values = torch.linalg.svdvals(orthogonalised(draws(*shape)))
        assert values.min() > 0.6
        assert values.max() < 1.3
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("name", [*TORCHS, "muon"])
def test_a_replica_that_is_not_finite_touches_no_neighbour(name: str) -> None:
    runs = []
    for poison in (1.0, float("nan")):
        optimizer = stepped(name)
        for step in range(2):
            gradient = vector(seed=step + 1) * LAYOUT.spread(torch.tensor([1.0, poison, 1.0]))
            optimizer.step(clip_gradient(LAYOUT, gradient, 0.5), StepValues(1.0, None))
        runs.append(optimizer.parts)
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
        assert other[1].isnan().all()


@pytest.mark.parametrize("name", [*TORCHS, "muon"])
def test_a_replica_that_is_kept_stays_as_it_was(name: str) -> None:
    one, other = stepped(name), stepped(name)
    for optimizer, kept in ((one, torch.tensor([False, True, False])), (other, None)):
        optimizer.step(vector(seed=1), StepValues(1.0, None), kept)
    for start, kept_view, view in zip(LAYOUT.views(vector()), one.parts, other.parts, strict=True):
        assert torch.equal(kept_view[1], start[1])
        assert torch.equal(kept_view[[0, 2]], view[[0, 2]])
    assert all(not part[1].any() for momentum in one.lanes.momenta for part in momentum.parts)


@pytest.mark.parametrize("name", [*TORCHS, "muon"])
def test_lanes_taken_from_other_optimizers_go_on_as_there(name: str) -> None:
    first, second = stepped(name), stepped(name, (0.02, 0.1, 0.003))
    for step in range(2):
        first.step(vector(seed=step), StepValues(0.5, None))
        second.step(vector(seed=step + 10), StepValues(0.5, None))
    lanes = [(0, 2), (1, 0)]
    taken = Stepped(name, gathered([first.lanes, second.lanes], lanes))
    taken.steps = first.steps
    gradients = [vector(seed=5), vector(seed=6)]
    views = [LAYOUT.views(gradient) for gradient in gradients]
    joint = [torch.stack([views[source][place][lane] for source, lane in lanes]) for place in range(len(SHAPES))]
    taken.step(flatten(joint), StepValues(1.0, None))
    for one, gradient in zip((first, second), gradients, strict=True):
        one.step(gradient, StepValues(1.0, None))
    for place, view in enumerate(taken.parts):
        expected = [(first, second)[source].parts[place][lane] for source, lane in lanes]
        torch.testing.assert_close(view, torch.stack(expected))


def test_matrices_are_linear_layers_and_convolutions() -> None:
    shapes = {(4, 5): True, (8, 1, 3, 3): True, (8, 3, 1, 1): True, (4,): False, (): False}
    shapes |= {(1, 1, 24): False, (6, 1, 1): False, (1, 9): False}
    assert {shape: is_matrix(torch.empty(K, *shape)) for shape in shapes} == shapes


def test_clipping_is_each_replicas_own() -> None:
    gradient = vector(seed=2) * LAYOUT.spread(torch.tensor([1e-3, 1.0, 1e3]))
    clipped = LAYOUT.views(clip_gradient(LAYOUT, gradient, 2.0))
    for k in range(K):
        alone = [torch.zeros(shape, requires_grad=True) for shape in SHAPES]
        for param, part in zip(alone, LAYOUT.views(gradient), strict=True):
            param.grad = part[k].clone()
        torch.nn.utils.clip_grad_norm_(alone, 2.0)
        torch.testing.assert_close([part[k] for part in clipped], [param.grad for param in alone])


@pytest.mark.parametrize("rates", [RATES, (0.02, 0.02, 0.02)])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_layer_can_have_a_rate_of_its_own(name: str, rates: tuple[float, ...]) -> None:
    """The same as torch's groups of parameters; ``epsilon`` is torch's too, where it has one."""
    factors, epsilon = [1.0, 1.0, 0.25], 1e-3
    recipe = RecipeSection(optimizer=name, weight_decay=0.01, epsilon=epsilon)  # type: ignore[arg-type]
    lanes = lanes_of(name, LAYOUT.views(vector()), rates)
    optimizer = make_optimizer(recipe, rates, LAYOUT.filled(factors, lanes.weights.vector))
    alone = [[part[k].clone().requires_grad_() for part in LAYOUT.views(vector())] for k in range(K)]
    torchs = []
    for params, rate in zip(alone, rates, strict=True):
        torchs.append(TORCHS[name](params, rate))
        group = torchs[-1].param_groups[0]
        torchs[-1].param_groups = [
            {**group, "params": [part], "lr": rate * factor} | ({"eps": epsilon} if "eps" in group else {})
            for part, factor in zip(params, factors, strict=True)
        ]
    for step, values in enumerate(schedule_values("constant", 5)):
        gradient = vector(seed=step + 1)
        optimizer.apply(lanes, gradient, optimizer.numbers(values, step + 1))
        for k, (params, one) in enumerate(zip(alone, torchs, strict=True)):
            for part, own in zip(params, LAYOUT.views(gradient), strict=True):
                part.grad = own[k]
            one.step()
    for k, params in enumerate(alone):
        for part, own in zip(params, lanes.weights.parts, strict=True):
            torch.testing.assert_close(own[k], part.detach(), rtol=1e-5, atol=1e-6)
