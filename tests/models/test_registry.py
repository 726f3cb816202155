"""The registry: shapes, sizes, weights by the seed, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import ModelError
from lossforge.models.activations.jacobi import JacobiSN
from lossforge.models.registry import MODELS, NamedModel, build_model, check_model

SHAPES = [(1, 8, 8), (1, 4, 4), (3, 32, 32), (1, 28, 28), (2, 9, 5), (1, 16, 4), (1, 4, 16), (3, 96, 96), (7, 1, 1)]
HUGE = {("vgg16", (3, 96, 96)), ("resnet50", (3, 96, 96)), ("resnet50", (1, 8, 8))}
HUGE |= {(name, shape) for name in ("inception_v3_ngl", "resnet50_ngl") for shape in SHAPES if shape != (1, 16, 4)}
"""Seconds each; built once below, without memory, or like their neighbours."""


KINDS = (torch.nn.ReLU, JacobiSN)


def width_of(model: NamedModel) -> int:
    """The smallest that is worth a test."""
    return 4 if model.scales else 16


def promised() -> list[tuple[str, tuple[int, int, int]]]:
    return [
        (model.name, shape)
        for model in MODELS.values()
        for shape in SHAPES
        if min(shape[1:]) >= model.smallest and (model.name, shape) not in HUGE
    ]


@pytest.mark.parametrize(("name", "shape"), promised())
def test_every_network_takes_every_shape_it_promises(name: str, shape: tuple[int, int, int]) -> None:
    model = build_model(name, shape, 7, width_of(MODELS[name]), 0, dense=MODELS[name].dense)
    logits = model(torch.rand(3, *shape))
    assert logits.shape == ((3, 7, *shape[1:]) if MODELS[name].dense else (3, 7))
    logits.square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "vit_small", "convnext_tiny"])
def test_large_images_get_the_published_network(name: str) -> None:
    weights = {"vgg16": 138_357_544, "resnet50": 25_557_032, "convnext_tiny": 28_589_128, "vit_small": 22_050_664}
    with torch.device("meta"):
        model = MODELS[name].build((3, 224, 224), 1000, 16, dense=False)
        assert model(torch.rand(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(weight.numel() for weight in model.parameters()) == weights[name]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_table_tells_the_number_of_weights(name: str) -> None:
    side = max(32, MODELS[name].smallest)
    with torch.device("meta"):
        model = MODELS[name].build((3, side, side), 10, 16, dense=MODELS[name].dense)
    assert sum(weight.numel() for weight in model.parameters()) == MODELS[name].weights


def test_the_residual_networks_are_the_papers() -> None:
    # Table 6 of He et al. 2016 says 0.27 million for 20 layers.
    layers = {
        name: sum(
            isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
            for module in build_model(name, (3, 32, 32), 10, 16, 0).modules()
        )
        for name in ("resnet8", "resnet20")
    }
    assert layers == {"resnet8": 8, "resnet20": 20}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3", "convnext_tiny", "vgg16"])
def test_small_images_keep_their_size_in_the_first_layers(name: str) -> None:
    sizes = {}
    for side in (32, 96):
        with torch.device("meta"):
            model = MODELS[name].build((3, side, side), 10, 16, dense=False)
            seen: list[int] = []
            for module in model.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.register_forward_hook(lambda module, x, y, seen=seen: seen.append(y.shape[-1]))
            model(torch.rand(2, 3, side, side))
        sizes[side] = side // seen[-1]
    assert sizes[32] <= 16
    assert sizes[32] <= sizes[96]


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.weights < 2_000_000])
def test_weights_are_the_seeds_for_every_network(name: str) -> None:
    shape = (1, 32, 32)
    width = width_of(MODELS[name])
    models = [build_model(name, shape, 3, width, seed, dense=MODELS[name].dense) for seed in (1, 2, 1)]
    weights = [torch.cat([weight.flatten() for weight in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@settings(deadline=None, max_examples=20)
@given(first=st.integers(0, 2**63 - 1), second=st.integers(0, 2**63 - 1))
def test_weights_follow_the_seed_alone(first: int, second: int) -> None:
    torch.manual_seed(first % 100)
    models = [build_model("small_cnn", (1, 8, 8), 10, 4, seed) for seed in (first, second, first)]
    weights = [torch.cat([weight.flatten() for weight in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[0], weights[1]) == (first == second)


def test_building_leaves_the_callers_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for name in ("small_cnn", "convnext_tiny", "mobilenet_v3", "vit_small"):
        build_model(name, (1, 16, 16), 10, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["small_cnn", "resnet8", "mobilenet_v3", "inception_small"])
def test_a_network_starts_in_training_with_fresh_statistics(name: str) -> None:
    model = build_model(name, (1, 8, 8), 10, 4, 0)
    assert all(module.training for module in model.modules())
    buffers = dict(model.named_buffers())
    assert all(buffer.eq(0).all() for key, buffer in buffers.items() if key.endswith("running_mean"))
    assert all(buffer == 0 for key, buffer in buffers.items() if key.endswith("num_batches_tracked"))
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert len(buffers) == 3 * norms > 0


def test_a_first_convolution_for_other_channels_is_as_spread_as_before() -> None:
    spreads = {}
    for channels in (1, 3, 5):
        first = next(build_model("mobilenet_v3", (channels, 32, 32), 10, 16, 0).parameters())
        assert first.shape[1] == channels
        spreads[channels] = float(first.detach().std())
    assert spreads[1] == pytest.approx(spreads[3], rel=0.2)
    assert spreads[5] == pytest.approx(spreads[3], rel=0.2)


def test_first_predictions_are_near_uniform() -> None:
    model = build_model("small_cnn", (1, 8, 8), 10, 16, 0)
    with torch.no_grad():
        probabilities = model(torch.rand(64, 1, 8, 8)).softmax(1)
    assert float((probabilities - 0.1).abs().max()) < 0.05


# Those of the module headed enlarge their images by width, and have one number of weights.
@pytest.mark.parametrize("name", [one.name for one in MODELS.values() if one.scales and one.module != "headed"])
def test_width_scales_a_network(name: str) -> None:
    sizes = {}
    for width in (2, 4, 16):
        with torch.device("meta"):
            model = MODELS[name].build((3, 32, 32), 10, width, dense=MODELS[name].dense)
        sizes[width] = sum(weight.numel() for weight in model.parameters())
    assert sizes[2] < sizes[4] < sizes[16]


def test_width_is_the_first_layers() -> None:
    for name in ("small_cnn", "resnet8", "unet"):
        model = build_model(name, (1, 16, 16), 10, 5, 0, dense=MODELS[name].dense)
        first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
        assert first.out_channels == 5


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.scales])
def test_a_width_that_would_change_nothing_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=rf"^task\.width: '{name}' has one size, .* not 8$"):
        build_model(name, (3, 96, 96), 10, 8, 0)
    with pytest.raises(ModelError, match=r"^task\.width"):
        check_model(name, 8)
    check_model(name, 16)


def test_an_unknown_network_names_those_there_are() -> None:
    wanted = r"^task\.model: 'unheard_of' is not a network \(known: small_cnn.*package\.module:function\)$"
    with pytest.raises(ModelError, match=wanted):
        build_model("unheard_of", (1, 8, 8), 10, 4, 0)
    with pytest.raises(ModelError, match=wanted):
        check_model("unheard_of", 4)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.smallest > 1])
def test_images_that_are_too_small_are_refused(name: str) -> None:
    least = MODELS[name].smallest
    for shape in ((1, least - 1, 99), (1, 99, least - 1), (1, 1, 1)):
        with pytest.raises(ModelError, match=rf"'{name}' takes images of {least}×{least} or more, not") as caught:
            build_model(name, shape, 10, width_of(MODELS[name]), 0, dense=MODELS[name].dense)
        assert "\n" not in str(caught.value)
        assert ("'mlp'" in str(caught.value)) == (shape == (1, 1, 1))


def test_a_class_for_every_pixel_is_another_matter_than_one_for_the_image() -> None:
    with pytest.raises(ModelError, match="'unet' gives a class for every pixel, and the data has one for every sample"):
        build_model("unet", (1, 32, 32), 10, 4, 0)
    with pytest.raises(ModelError, match="'mlp' gives a class for every sample, and the data has one for every pixel"):
        build_model("mlp", (1, 32, 32), 10, 4, 0, dense=True)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_is_described(name: str) -> None:
    model = MODELS[name]
    assert model.name == name
    assert model.summary
    assert model.source
    assert str(model.smallest) in model.takes or model.takes == "samples of any shape"


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.takes_activation])
def test_another_activation_is_in_every_place_of_relu_and_changes_no_drawn_weight(name: str) -> None:
    model = MODELS[name]
    side = max(16, model.smallest)
    made = [
        build_model(name, (3, side, side), 4, width_of(model), 0, dense=model.dense, activation=activation)
        for activation in ("relu", "jacobi_sn(m=learned)")
    ]
    places = [
        sum(type(module) is kind for module in network.modules()) for network, kind in zip(made, KINDS, strict=True)
    ]
    assert places[0] == places[1] > 0
    assert not any(isinstance(module, torch.nn.ReLU) for module in made[1].modules())
    usual, other = (dict(network.named_parameters()) for network in made)
    assert all(torch.equal(value, other[key]) for key, value in usual.items())
    assert {key.rpartition(".")[2] for key in other.keys() - usual.keys()} == {"raw_m"}
    x = torch.rand(2, 3, side, side)
    values = [network.eval()(x) for network in made]
    assert not torch.allclose(*values)
    assert values[1].isfinite().all()


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.takes_activation])
def test_networks_that_are_not_published_with_relu_take_no_other(name: str) -> None:
    with pytest.raises(ModelError, match=rf"^task\.activation: '{name}' has (gelu|hardswish), as published"):
        build_model(name, (3, 32, 32), 4, 4, 0, activation="lerch")
    build_model(name, (3, 32, 32), 4, 1, 0, activation="relu")
