from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import ModelError
from lossforge.models.registry import MODELS, build_model

SHAPES = [(1, 8, 8), (1, 4, 4), (3, 32, 32), (1, 28, 28), (2, 9, 5), (1, 16, 4), (1, 4, 16)]


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("shape", SHAPES)
def test_every_network_takes_every_shape_it_promises(name: str, shape: tuple[int, int, int]) -> None:
    model = build_model(name, shape, 7, 4, 0)
    logits = model(torch.rand(5, *shape))
    assert logits.shape == (5, 7)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


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
    build_model("small_cnn", (1, 8, 8), 10, 4, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_starts_in_training_with_fresh_statistics() -> None:
    model = build_model("small_cnn", (1, 8, 8), 10, 4, 0)
    assert all(module.training for module in model.modules())
    buffers = dict(model.named_buffers())
    assert all(buffer.eq(0).all() for name, buffer in buffers.items() if name.endswith("running_mean"))
    assert all(buffer == 0 for name, buffer in buffers.items() if name.endswith("num_batches_tracked"))
    assert len(buffers) == 6


def test_first_predictions_are_near_uniform() -> None:
    model = build_model("small_cnn", (1, 8, 8), 10, 16, 0)
    with torch.no_grad():
        probabilities = model(torch.rand(64, 1, 8, 8)).softmax(1)
    assert float((probabilities - 0.1).abs().max()) < 0.05


def test_width_is_the_first_layers() -> None:
    sizes = {}
    for width in (2, 16):
        model = build_model("small_cnn", (1, 8, 8), 10, width, 0)
        first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
        assert first.out_channels == width
        sizes[width] = sum(weight.numel() for weight in model.parameters())
    assert sizes[2] < sizes[16]
    assert 9_000 < sizes[16] < 11_000


def test_an_unknown_network_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"^task\.model: 'resnet9000' is not a network \(known: small_cnn"):
        build_model("resnet9000", (1, 8, 8), 10, 4, 0)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 8, 3), (1, 1, 1)])
def test_images_that_are_too_small_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ModelError, match="'small_cnn' takes images of 4×4 or more, not"):
        build_model("small_cnn", shape, 10, 4, 0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_is_described(name: str) -> None:
    assert MODELS[name].name == name
    assert MODELS[name].summary
