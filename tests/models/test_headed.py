"""The networks of the Next Generation Loss: how images are enlarged, and what the head is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lossforge.models.headed import Enlarge
from lossforge.models.registry import MODELS


@pytest.mark.parametrize(
    ("width", "size", "wanted"),
    [
        (16, (32, 32), (256, 256)),
        (8, (28, 28), (128, 128)),
        (1, (32, 32), (75, 75)),
        (16, (300, 200), (300, 200)),
        (8, (64, 32), (150, 75)),
        (16, (400, 25), (1200, 75)),
    ],
)
def test_small_images_are_enlarged_in_proportion_and_large_ones_left(
    width: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    x = torch.rand(2, 3, *size)
    y = Enlarge(16 * width)(x)
    assert y.shape == (2, 3, *wanted)
    assert torch.equal(x, y) == (size == wanted)
    assert float(y.mean()) == pytest.approx(float(x.mean()), abs=0.02)


@pytest.mark.parametrize("name", ["inception_v3_ngl", "resnet50_ngl"])
def test_the_head_is_the_papers(name: str) -> None:
    with torch.device("meta"):
        network = MODELS[name].build((3, 32, 32), 100, 16, dense=False)
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.BatchNorm1d | nn.Dropout)]
    sizes = [
        (layer.p,)
        if isinstance(layer, nn.Dropout)
        else (layer.in_features, layer.out_features)
        if isinstance(layer, nn.Linear)
        else (layer.num_features,)
        for layer in layers
    ]
    assert sizes == [(2048,), (2048, 128), (128,), (128, 64), (64,), (0.5,), (64, 100)]
