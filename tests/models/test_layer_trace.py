"""Networks as lists of layers: what there is no kernel for is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossforge.errors import ModelError
from lossforge.models.layer_list import Combination, Convolution, Windows
from lossforge.models.layer_trace import layer_list
from lossforge.models.registry import build_model

SHAPE = (2, 6, 6)


def test_batchnorm_addition_and_relu_become_one_layer() -> None:
    layers = layer_list(build_model("resnet8", (1, 8, 8), 10, 4, 0).to("meta"), (1, 8, 8)).layers
    combined = [layer for layer in layers if isinstance(layer, Combination)]
    assert [layer.norm is not None and layer.rectified for layer in combined] == [True] * 7
    assert [layer.second is not None for layer in combined] == [False, False, True, False, True, False, True]
    # The first block's shortcut is the identity, and copies nothing.
    assert sum(isinstance(layer, Windows) for layer in layers) == 2 * 2 + 1
    assert sum(isinstance(layer, Convolution) for layer in layers) == 8


class Body(nn.Module):
    """A convolution, something, and a head."""

    def __init__(self, something: Callable[[Body, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.factor = nn.Parameter(torch.ones(3, 1, 1))
        self.inplace, self.head = nn.ReLU(inplace=True), nn.Linear(108, 4)
        self.something = something

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.something(self, self.conv(x)).flatten(1))
        return logits


def overwritten(body: Body, h: Tensor) -> Tensor:
    relu: Tensor = body.inplace(h)
    return relu + h


def unused(body: Body, h: Tensor) -> Tensor:
    body.norm(h)
    return h


@pytest.mark.parametrize(
    ("something", "told"),
    [
        (lambda body, h: torch.sin(h), "no kernel for sin"),
        (lambda body, h: h * body.factor, "it reads its own 'factor'"),
        (lambda body, h: h + 1, "takes a number|differs in shape"),
        (lambda body, h: body.norm(body.norm(h)), "'norm' is called twice"),
        (lambda body, h: h if h.sum() > 0 else -h, "cannot be followed"),
        (lambda body, h: torch.relu(h) if body.training else h, "other layers in evaluation"),
        (overwritten, "overwrites what others read"),
        (unused, "nobody reads"),
        (lambda body, h: h.transpose(2, 3), "no kernel for transpose"),
        (lambda body, h: h[:, :, [0, 1, 2, 3, 4, 5]], "it takes"),
        (lambda body, h: torch.cat([h[:, :, :3], h[:, :, 3:]], 2), "along axis 2"),
    ],
)
def test_what_there_is_no_kernel_for_is_refused(something: Callable[[Body, Tensor], Tensor], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        layer_list(Body(something).to("meta"), SHAPE)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), "in groups"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding is reflect"),
        (nn.BatchNorm2d(2, affine=False), "without weights"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3, padding=1)), "no kernel|cannot be followed|reads"),
        (nn.Conv3d(2, 2, 1), "cannot be followed"),
        (nn.PReLU(), "PReLU"),
        (nn.Softmax(1), "Softmax"),
    ],
)
def test_layers_are_refused_by_their_names(layer: nn.Module, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        layer_list(nn.Sequential(layer, nn.Flatten(), nn.Linear(72, 3)).to("meta"), SHAPE)


def test_hooks_are_not_passed_over() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    network[1].register_forward_hook(lambda module, given, output: output + 1)
    with pytest.raises(ModelError, match="'1' has a hook"):
        layer_list(network.to("meta"), SHAPE)
