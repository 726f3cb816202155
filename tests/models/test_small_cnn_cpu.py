"""SmallCNN's cohorts on a CPU: what the network alone computes, and each network on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import stack_module_state

from lossforge.models.registry import build_model
from lossforge.models.small_cnn_cpu import State, logits_on_cpu

CLASSES = 5


def cohort(shape: tuple[int, int, int], width: int, networks: int) -> tuple[list[torch.nn.Module], State, State]:
    """Networks with BatchNorms whose weights and biases differ, in sign too; and both stacked."""
    models = [build_model("small_cnn", shape, CLASSES, width, seed) for seed in range(networks)]
    generator = torch.Generator().manual_seed(7)
    for model in models:
        for name, parameter in model.named_parameters():
            if name.split(".")[0] in "15":
                parameter.data = torch.randn(parameter.shape, generator=generator)
    return models, *stack_module_state(models)


def step(params: State, buffers: State, x: Tensor, given: Tensor) -> list[Tensor]:
    """Logits and gradients of all parameters."""
    logits = logits_on_cpu(params, buffers, x, True)
    return [logits.detach(), *torch.autograd.grad((logits * given).sum(), list(params.values()))]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 11), (2, 13, 10), (1, 28, 28), (1, 4, 4)])
@pytest.mark.parametrize(("width", "batch"), [(3, 7), (4, 32), (1, 2)])
def test_logits_gradients_and_running_statistics_are_those_of_the_network_alone(
    shape: tuple[int, int, int], width: int, batch: int
) -> None:
    models, params, buffers = cohort(shape, width, 4)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, batch, *shape, generator=generator) + 2
    given = torch.randn(4, batch, CLASSES, generator=generator)
    found = step(params, buffers, x, given)
    evaluated = logits_on_cpu(params, buffers, x, False)
    for k, model in enumerate(models):
        # In float64: where two of four pixels nearly tie, float32's own rounding decides whose gradient it is.
        model.double().train()
        samples = x[k // 2].double()
        logits = model(samples)
        wanted = [logits, *torch.autograd.grad((logits * given[k]).sum(), list(model.parameters()))]
        for mine, alone in zip(found, wanted, strict=True):
            largest = float(alone.detach().abs().max())
            torch.testing.assert_close(mine[k].double(), alone.detach(), rtol=1e-3, atol=2e-4 * largest)
        for name, buffer in model.named_buffers():
            if "running" in name:
                torch.testing.assert_close(buffers[name][k].double(), buffer, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(evaluated[k].double(), model.eval()(samples), rtol=1e-3, atol=1e-4)


def test_a_network_s_bits_depend_neither_on_its_neighbours_nor_on_their_number() -> None:
    _, params, buffers = cohort((1, 8, 8), 4, 4)
    x = torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    given = torch.randn(4, 16, CLASSES, generator=torch.Generator().manual_seed(3))
    alone = {name: parameter[2:3].detach().clone().requires_grad_() for name, parameter in params.items()}
    single = step(alone, {name: buffer[2:3].clone() for name, buffer in buffers.items()}, x, given[2:3])
    with torch.no_grad():
        params["0.weight"][0] = float("nan")
        params["9.weight"][1] = float("inf")
    together = step(params, buffers, x, given)
    for mine, other in zip(single, together, strict=True):
        assert torch.equal(mine[0], other[2])
    assert together[0][0].isnan().all()


def test_a_sample_of_a_batch_that_is_not_finite_is_not_hidden() -> None:
    _, params, buffers = cohort((1, 8, 8), 4, 1)
    x = torch.zeros(1, 4, 1, 8, 8)
    x[0, 1, 0, 3, 3] = float("nan")
    assert logits_on_cpu(params, buffers, x, False)[0, 1].isnan().any()
    assert logits_on_cpu(params, buffers, x, True).isnan().any()


def test_many_samples_are_evaluated_as_few_are() -> None:
    _, params, buffers = cohort((1, 8, 8), 4, 2)
    x = torch.randn(1, 150, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    whole = logits_on_cpu(params, buffers, x, False)
    torch.testing.assert_close(whole[:, 140:], logits_on_cpu(params, buffers, x[:, 140:], False))
    assert whole.shape == (2, 150, CLASSES)


@pytest.mark.parametrize("training", [True, False])
def test_idle_networks_are_left_out_and_change_no_bit_of_the_others(training: bool) -> None:
    x = torch.randn(2, 9, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    given = torch.randn(4, 9, CLASSES, generator=torch.Generator().manual_seed(6))
    outcomes = []
    for idle in ((), (0, 2)):
        _, params, buffers = cohort((1, 8, 8), 4, 4)
        logits = logits_on_cpu(params, buffers, x, training, idle)
        gradients = torch.autograd.grad((logits * given).sum(), list(params.values())) if training else ()
        outcomes.append([logits.detach(), *gradients, *(buffers[name] for name in buffers if "running" in name)])
    for whole, part in zip(*outcomes, strict=True):
        assert torch.equal(whole[[1, 3]], part[[1, 3]])
    assert not outcomes[1][0][[0, 2]].any()
