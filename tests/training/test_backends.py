"""Back ends: each computes what the replicas compute alone, and a fixed rule chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.registry import MODELS, build_model
from lossforge.training.backends import (
    HEAVY,
    Backend,
    GroupedBackend,
    LoopBackend,
    State,
    VmapBackend,
    choose_backend,
)

K, BATCH, CLASSES = 3, 6, 4
Shape = tuple[int, int, int]


def stack(build: Callable[[int], nn.Module]) -> tuple[list[nn.Module], nn.Module, State, State]:
    """K networks, one on the meta device, their stacked parameters and buffers."""
    models = [build(seed) for seed in range(K)]
    params, buffers = torch.func.stack_module_state(models)
    return models, build(0).to("meta"), params, buffers


def named(name: str, shape: tuple[int, int, int]) -> Callable[[int], nn.Module]:
    return lambda seed: build_model(name, shape, CLASSES, 2, seed, dense=MODELS[name].dense)


def gradients(loss: Tensor, params: State) -> State:
    return dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


SHAPES = {
    "small_cnn": (1, 8, 8),
    "resnet8": (3, 9, 7),
    "inception_small": (1, 8, 8),
    "vit_small": (1, 8, 8),
    "mlp": (5, 1, 1),
    "unet": (1, 18, 17),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in SHAPES for kind in (VmapBackend, LoopBackend)] + [("small_cnn", GroupedBackend)],
)
def test_a_replica_trains_as_the_network_alone(name: str, kind: Callable[[Any], Backend]) -> None:
    shape = SHAPES[name]
    models, meta, params, buffers = stack(named(name, shape))
    backend = kind(meta.grouped if kind is GroupedBackend else meta)
    x = torch.rand(K, BATCH, *shape, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        stacked = backend.logits(params, buffers, x, training=True)
        found = gradients(stacked.square().mean((1, 2)).sum(), params)
        for k, model in enumerate(models):
            logits = model.train()(x[k])
            torch.testing.assert_close(stacked[k], logits, rtol=1e-3, atol=1e-5)
            alone = gradients(logits.square().mean((0, 1)).sum(), dict(model.named_parameters()))
            for key, gradient in alone.items():
                torch.testing.assert_close(found[key][k], gradient, rtol=1e-2, atol=1e-5)
            for key, buffer in model.named_buffers():
                if "running" in key or kind is not GroupedBackend:
                    torch.testing.assert_close(buffers[key][k], buffer, rtol=1e-4, atol=1e-6)
    before = {key: buffer.clone() for key, buffer in buffers.items()}
    stacked = backend.logits(params, buffers, x, training=False)
    for k, model in enumerate(models):
        torch.testing.assert_close(stacked[k], model.eval()(x[k]), rtol=1e-3, atol=1e-5)
    assert all(torch.equal(before[key], buffer) for key, buffer in buffers.items())


@pytest.mark.parametrize("kind", [VmapBackend, LoopBackend])
def test_running_statistics_are_what_counts_in_evaluation(kind: Callable[[nn.Module], Backend]) -> None:
    _, meta, params, buffers = stack(named("resnet8", (1, 8, 8)))
    x = torch.rand(K, BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    backend = kind(meta)
    whole = backend.logits(params, buffers, x, training=False)
    torch.testing.assert_close(backend.logits(params, buffers, x[:, :2], training=False), whole[:, :2])
    for key in buffers:
        if key.endswith("running_mean"):
            buffers[key][1] += 1.0
    moved = backend.logits(params, buffers, x, training=False)
    assert torch.equal(moved[0], whole[0])
    assert torch.equal(moved[2], whole[2])
    assert not torch.allclose(moved[1], whole[1])


class Random(nn.Module):
    """Dropout and stochastic depth on what would be the same in all replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        from lossforge.models.adapted import StochasticDepth

        depth = StochasticDepth(0.5).train(self.training)
        return depth(functional.dropout(x.flatten(1).expand(-1, CLASSES) * self.weight, 0.5, self.training))


@pytest.mark.parametrize("kind", [VmapBackend, LoopBackend])
def test_random_layers_draw_for_each_replica_apart_and_by_the_seed(kind: Callable[[nn.Module], Backend]) -> None:
    _, meta, params, buffers = stack(lambda seed: Random())
    x = torch.ones(K, 200, 1, 1, 1)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(kind(meta).logits(params, buffers, x, training=True))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert draws[0].mean().item() == pytest.approx(1, abs=0.2)
    assert set(draws[0].unique().tolist()) == {0.0, 4.0}
    assert torch.equal(kind(meta).logits(params, buffers, x, training=False), torch.ones(K, 200, CLASSES))


class Branching(nn.Module):
    """What vmap cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, momentum=None)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x.flatten(1))
        return self.head(h if h.sum() > 0 else -h)


def test_a_network_that_vmap_cannot_run_is_looped() -> None:
    models, meta, params, buffers = stack(lambda seed: Branching())
    backend = choose_backend(meta, K, "cuda", (3, 1, 1))
    assert backend.name == "loop"
    x = torch.rand(K, BATCH, 3, 1, 1)
    stacked = backend.logits(params, buffers, x, training=True)
    for k, model in enumerate(models):
        torch.testing.assert_close(stacked[k], model(x[k]))
        torch.testing.assert_close(buffers["norm.running_mean"][k], dict(model.named_buffers())["norm.running_mean"])
    assert buffers["norm.num_batches_tracked"].tolist() == [1] * K


def test_the_rule_is_fixed() -> None:
    def chosen(name: str, replicas: int, device: str, shape: Shape, width: int = 16, batch: int = 64) -> str:
        model = build_model(name, shape, 10, width, 0).to("meta")
        return choose_backend(model, replicas, device, shape, batch).name

    assert {chosen("small_cnn", k, "cuda", (1, 8, 8)) for k in (1, 2, 8)} == {"grouped"}
    assert {chosen(name, k, "cpu", (1, 8, 8)) for name in ("small_cnn", "resnet8") for k in (1, 2, 8)} == {"layers"}
    # Vectors of 16 samples, of which most would be none.
    assert chosen("resnet8", 4, "cpu", (1, 8, 8), 4, batch=7) == "vmap"
    assert chosen("resnet8", 4, "cpu", (1, 8, 8), 4, batch=8) == "layers"
    assert chosen("resnet8", 1, "cuda", (3, 32, 32)) == "loop"
    assert chosen("resnet8", 4, "cuda", (3, 32, 32)) == "vmap"
    assert chosen("vit_small", 1, "cpu", (1, 8, 8), 4) == "loop"
    assert HEAVY < 75_290 * 32 * 32
    assert chosen("resnet8", 4, "cpu", (3, 32, 32), batch=7) == "loop"


@pytest.mark.parametrize("name", [name for name in MODELS if name != "small_cnn"])
def test_vmap_takes_every_network(name: str) -> None:
    side = max(32, MODELS[name].smallest)
    with torch.device("meta"):
        model = MODELS[name].build((3, side, side), 10, 16, dense=MODELS[name].dense)
    assert choose_backend(model, 2, "cuda", (3, side, side)).name == "vmap"


def test_the_loop_leaves_nobody_out_whose_neighbours_draw_after_it() -> None:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Dropout(0.5), nn.Linear(9, CLASSES))

    x = torch.rand(K, BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    outcomes = []
    for idle in ((), (0,)):
        _, meta, params, buffers = stack(build)
        backend = LoopBackend(meta)
        torch.manual_seed(5)
        steps = [backend.logits(params, buffers, x, training=True, idle=idle) for _ in range(3)]
        outcomes.append(torch.stack(steps).detach())
    assert torch.equal(outcomes[0][:, 1:], outcomes[1][:, 1:])


@pytest.mark.parametrize("training", [True, False])
def test_the_loop_leaves_idle_replicas_out_and_changes_no_bit_of_the_others(training: bool) -> None:
    x = torch.rand(K, BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    outcomes = []
    for idle in ((), (1,)):
        _, meta, params, buffers = stack(named("small_cnn", (1, 8, 8)))
        backend = LoopBackend(meta)
        for _ in range(2):  # at the first step it looks whether the network draws random numbers
            logits = backend.logits(params, buffers, x, training=training, idle=idle)
        found = torch.autograd.grad(logits.square().sum(), list(params.values()))
        outcomes.append([logits.detach(), *found, *buffers.values()])
    for whole, part in zip(*outcomes, strict=True):
        assert torch.equal(whole[[0, 2]], part[[0, 2]])
    assert not outcomes[1][0][1].any()
