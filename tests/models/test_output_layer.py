"""The layer that logits come out of, and one neuron as two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lossforge.errors import ModelError
from lossforge.models.output_layer import as_two_neurons, output_layer
from lossforge.models.registry import MODELS, build_model

LIGHT = [model.name for model in MODELS.values() if model.smallest < 32 and model.weights < 2_000_000]


@pytest.mark.parametrize("name", LIGHT)
def test_every_networks_logits_come_out_of_the_layer_that_is_found(name: str) -> None:
    shape, dense = (3, 32, 32), MODELS[name].dense
    model = build_model(name, shape, 7, 4 if MODELS[name].scales else 16, 0, dense=dense).eval()
    layer = model.get_submodule(output_layer(model, shape))
    x = torch.rand(2, *shape)
    with torch.no_grad():
        before = model(x)
        layer.bias.add_(1.5)  # type: ignore[operator, union-attr]
        assert torch.allclose(model(x), before + 1.5, atol=1e-5)


class Backwards(nn.Module):
    """Lists its last layer first, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 1)
        self.first = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.first(x))
        return logits


def test_the_order_of_calls_counts_and_the_network_is_left_as_it_was() -> None:
    model = Backwards()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert output_layer(model, (3, 1, 1)) == "last"
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_logits_that_come_from_elsewhere_are_refused() -> None:
    for model in (nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Tanh())):
        with pytest.raises(ModelError, match=r"task\.model: its logits do not come out of a linear layer"):
            output_layer(model, (3, 1, 1))


@pytest.mark.parametrize("name", ["mlp_12_8", "small_cnn", "mlp"])
def test_two_neurons_are_the_function_of_the_one(name: str) -> None:
    shape = (8, 1, 1) if name != "small_cnn" else (1, 8, 8)
    one, two = (build_model(name, shape, 1, 16, 3) for _ in range(2))
    two = as_two_neurons(two, shape)
    x = torch.randn(20, *shape)
    with torch.no_grad():
        logit, logits = one(x), two(x)
    assert logits.shape == (20, 2)
    assert torch.allclose(logits[:, 1:] - logits[:, :1], logit, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip([*one.parameters()][:-2], [*two.parameters()][:-2], strict=True))


def test_two_neurons_of_several_are_refused() -> None:
    with pytest.raises(ModelError, match=r"task\.output_init: 'matched' is for networks that end in an nn\.Linear"):
        as_two_neurons(build_model("mlp", (8, 1, 1), 3, 1, 0), (8, 1, 1))


def test_the_small_perceptron_begins_as_kerass_does() -> None:
    sizes = [(12, 8), (8, 12), (2, 8)]
    limits = [(6 / sum(size)) ** 0.5 for size in sizes]
    drawn = [[] for _ in sizes]  # type: list[list[Tensor]]
    for seed in range(200):
        model = build_model("mlp_12_8", (8, 1, 1), 2, 16, seed)
        layers = [one for one in model.modules() if isinstance(one, nn.Linear)]
        for place, layer in enumerate(layers):
            assert layer.weight.shape == sizes[place]
            assert not layer.bias.any()
            drawn[place].append(layer.weight.detach())
    for limit, weights in zip(limits, drawn, strict=True):
        values = torch.stack(weights)
        assert float(values.abs().max()) <= limit
        assert float(values.abs().max()) > 0.99 * limit
        # A uniform draw's standard deviation, to three standard errors.
        assert float(values.std()) == pytest.approx(limit / 3**0.5, rel=3 / values.numel() ** 0.5)
