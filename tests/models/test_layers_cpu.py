"""Cohorts in our own kernels on a CPU: what the network alone computes, and each network on its own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn import functional

from lossforge.models.layer_list import LayerList
from lossforge.models.layer_trace import layer_list
from lossforge.models.layers_cpu import State, logits_on_cpu
from lossforge.models.registry import MODELS, build_model

CLASSES = 5
Shape = tuple[int, int, int]


class Everything(nn.Module):
    """Every layer that there is a kernel for, and shapes that nothing divides."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape[0], 5, 5, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5, eps=1e-3, momentum=0.3)
        self.wide = nn.Conv2d(5, 6, 3, padding="same", dilation=2, bias=False)
        self.even = nn.Conv2d(5, 3, 2, padding=1)
        self.pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        self.up = nn.ConvTranspose2d(12, 4, 3, stride=2, padding=1)
        self.single = nn.Conv2d(4, 7, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(7) for _ in range(2))
        self.hidden = nn.Linear(7 * 6, 9)
        self.flat_norm = nn.BatchNorm1d(9)
        self.head = nn.Linear(9, CLASSES)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.norm(self.stem(x)))
        h = torch.cat([torch.relu(self.wide(h)), self.even(h)[:, :, 1:, :-1]], 1)
        h = functional.pad(h, (1, 0, 0, 2, 1, 2))
        h = self.single(self.up(self.pool(h) + functional.avg_pool2d(h, 3, 2, padding=1, ceil_mode=True)))
        h = functional.adaptive_avg_pool2d(functional.relu(self.norms[0](h) + self.norms[1](h)), (3, 2))
        logits: Tensor = self.head(self.relu(self.flat_norm(self.hidden(h.flatten(1)))))
        return logits


def everything(shape: Shape, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Everything(shape)


def cohort(
    build: Callable[[int], nn.Module], shape: Shape, networks: int
) -> tuple[list[nn.Module], LayerList, State, State]:
    """Networks with BatchNorms whose weights and biases differ, in sign too; and both stacked."""
    models = [build(seed) for seed in range(networks)]
    generator = torch.Generator().manual_seed(7)
    for model in models:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.data = torch.randn(module.weight.shape, generator=generator)
                module.bias.data = torch.randn(module.weight.shape, generator=generator)
    return models, layer_list(build(0).to("meta"), shape), *stack_module_state(models)


def named(name: str, shape: Shape, width: int) -> Callable[[int], nn.Module]:
    return lambda seed: build_model(name, shape, CLASSES, width, seed, dense=MODELS[name].dense)


def step(layers: LayerList, params: State, buffers: State, x: Tensor, given: Tensor) -> list[Tensor]:
    """What networks give, and gradients of all parameters."""
    logits = logits_on_cpu(layers, params, buffers, x, True)
    return [logits.detach(), *torch.autograd.grad((logits * given).sum(), list(params.values()))]


def off(found: list[Tensor], exact: list[Tensor]) -> float:
    """Distance, as a share of the length."""
    squares = [(one.double() - other).square().sum() for one, other in zip(found, exact, strict=True)]
    return float((torch.stack(squares).sum() / torch.stack([one.square().sum() for one in exact]).sum()).sqrt())


@pytest.mark.parametrize(
    ("name", "shape", "width", "batch"),
    [
        ("everything", (3, 13, 10), 0, 7),
        ("everything", (1, 9, 12), 0, 32),
        ("small_cnn", (1, 8, 8), 3, 7),
        ("small_cnn", (3, 9, 11), 1, 2),
        ("small_cnn", (2, 13, 10), 4, 48),
        ("resnet8", (3, 9, 7), 4, 20),
        ("mlp", (5, 1, 1), 1, 9),
        ("inception_small", (1, 8, 8), 1, 16),
        ("unet", (1, 18, 17), 2, 16),
    ],
)
def test_logits_gradients_and_running_statistics_are_those_of_the_network_alone(
    name: str, shape: Shape, width: int, batch: int
) -> None:
    build = named(name, shape, width) if width else lambda seed: everything(shape, seed)
    models, layers, params, buffers = cohort(build, shape, 4)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, batch, *shape, generator=generator) + 2
    given = torch.randn(4, batch, *layers.output, generator=generator)
    found = step(layers, params, buffers, x, given)
    evaluated = logits_on_cpu(layers, params, buffers, x, False)
    for k, model in enumerate(models):
        outcomes = []
        # In float64 too: where numbers nearly tie, float32's own rounding decides whose gradient it is.
        exact_model = deepcopy(model).double()
        for one in (model, exact_model):
            samples, weights = (tensor.to(next(one.parameters()).dtype) for tensor in (x[k // 2], given[k]))
            logits = one.train()(samples)
            gradients = torch.autograd.grad((logits * weights).sum(), list(one.parameters()))
            outcomes.append([logits.detach(), *gradients])
        alone, exact = outcomes
        assert off([part[k] for part in found], exact) < max(2 * off(alone, exact), 1e-6)
        for key, buffer in exact_model.named_buffers():
            torch.testing.assert_close(buffers[key][k].to(buffer.dtype), buffer, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            wanted = exact_model.eval()(x[k // 2].double())
        assert off([evaluated[k]], [wanted]) < 1e-5


def test_a_network_s_bits_depend_neither_on_its_neighbours_nor_on_their_number() -> None:
    shape = (1, 8, 8)
    _, layers, params, buffers = cohort(named("resnet8", shape, 4), shape, 4)
    x = torch.randn(1, 16, *shape, generator=torch.Generator().manual_seed(2))
    given = torch.randn(4, 16, CLASSES, generator=torch.Generator().manual_seed(3))
    alone = {name: parameter[2:3].detach().clone().requires_grad_() for name, parameter in params.items()}
    own = {name: buffer[2:3].clone() for name, buffer in buffers.items()}
    single = [*step(layers, alone, own, x, given[2:3]), *own.values()]
    with torch.no_grad():
        params["0.weight"][0] = float("nan")
        params["8.weight"][1] = float("inf")
    together = [*step(layers, params, buffers, x, given), *buffers.values()]
    for mine, other in zip(single, together, strict=True):
        assert torch.equal(mine[0], other[2])
    assert together[0][0].isnan().all()


@pytest.mark.parametrize("name", ["small_cnn", "resnet8"])
def test_a_sample_of_a_batch_that_is_not_finite_is_not_hidden(name: str) -> None:
    _, layers, params, buffers = cohort(named(name, (1, 8, 8), 4), (1, 8, 8), 1)
    x = torch.zeros(1, 4, 1, 8, 8)
    x[0, 1, 0, 3, 3] = float("nan")
    assert logits_on_cpu(layers, params, buffers, x, False)[0, 1].isnan().any()
    assert logits_on_cpu(layers, params, buffers, x, True).isnan().any()


def test_many_samples_are_evaluated_as_few_are() -> None:
    _, layers, params, buffers = cohort(named("resnet8", (1, 8, 8), 2), (1, 8, 8), 2)
    x = torch.randn(1, 150, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    whole = logits_on_cpu(layers, params, buffers, x, False)
    torch.testing.assert_close(whole[:, 140:], logits_on_cpu(layers, params, buffers, x[:, 140:], False))
    assert whole.shape == (2, 150, CLASSES)


@pytest.mark.parametrize("training", [True, False])
def test_idle_networks_are_left_out_and_change_no_bit_of_the_others(training: bool) -> None:
    x = torch.randn(2, 9, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    given = torch.randn(4, 9, CLASSES, generator=torch.Generator().manual_seed(6))
    outcomes = []
    for idle in ((), (0, 2)):
        _, layers, params, buffers = cohort(named("resnet8", (1, 8, 8), 2), (1, 8, 8), 4)
        logits = logits_on_cpu(layers, params, buffers, x, training, idle)
        gradients = torch.autograd.grad((logits * given).sum(), list(params.values())) if training else ()
        outcomes.append([logits.detach(), *gradients, *(buffers[name] for name in buffers if "running" in name)])
    for whole, part in zip(*outcomes, strict=True):
        assert torch.equal(whole[[1, 3]], part[[1, 3]])
    assert not outcomes[1][0][[0, 2]].any()


def test_weights_that_do_not_train_and_two_gradients_of_one_step() -> None:
    _, layers, params, buffers = cohort(named("small_cnn", (1, 8, 8), 2), (1, 8, 8), 2)
    params["0.weight"].requires_grad_(False)
    x = torch.randn(1, 8, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    logits = logits_on_cpu(layers, params, buffers, x, True)
    first, again = (torch.autograd.grad(logits.sum(), params["9.weight"], retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)
    with torch.no_grad():
        params["9.weight"] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()
