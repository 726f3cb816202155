"""BatchNorm with the ReLU behind it as one operation: torch's own numbers, and only where nobody can tell."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.fused_norm import NormReLU, fuse, in_channels_last
from lossforge.models.registry import build_model


def maps(*shape: int, seed: int = 0, offset: float = 0.0) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + offset
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", [(8, 3, 5, 7), (4, 16, 8, 8), (2, 600, 3, 3)])
def test_it_is_torchs_norm_and_relu(shape: tuple[int, int, int, int], adds: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = NormReLU(shape[1]), nn.BatchNorm2d(shape[1])
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    theirs.double()
    x, added = maps(*shape, offset=30.0), maps(*shape, seed=1) if adds else None
    wide, more = x.detach().double().requires_grad_(), None if added is None else added.detach().double()
    for _ in range(2):
        y = ours(x, added)
        h = theirs(wide)
        wanted = functional.relu(h if more is None else h + more)
        torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=1e-4)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    given = [x, ours.weight, ours.bias, *([] if added is None else [added])]
    found = torch.autograd.grad((y * weights).sum(), given)
    expected = torch.autograd.grad((wanted * weights).sum(), [wide, theirs.weight, theirs.bias])
    for mine, other in zip(found, expected, strict=False):
        torch.testing.assert_close(mine.double(), other, rtol=1e-3, atol=1e-3)
    if adds:
        assert torch.equal(found[-1], torch.where(y > 0, weights, 0))
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine.double(), other.double(), rtol=1e-4, atol=1e-5)


def test_what_is_no_number_stays_so() -> None:
    x = maps(4, 2, 3, 3).detach().contiguous(memory_format=torch.channels_last)
    x[0, 0, 0, 0] = torch.nan
    y = NormReLU(2)(x)
    assert y[:, 0].isnan().all()
    assert y[:, 1].isfinite().all()


@pytest.mark.parametrize(("name", "count"), [("resnet8", 7), ("unet", 18), ("inception_small", 19), ("mlp", 0)])
def test_a_network_keeps_its_names(name: str, count: int) -> None:
    shape = (64, 1, 1) if name == "mlp" else (3, 32, 32)
    model = build_model(name, shape, 10, 2, 0, dense=name == "unet").to("meta")
    fused = fuse(copy.deepcopy(model))
    assert sum(isinstance(module, NormReLU) for module in fused.modules()) == count
    assert [key for key, _ in fused.named_parameters()] == [key for key, _ in model.named_parameters()]
    assert [key for key, _ in fused.named_buffers()] == [key for key, _ in model.named_buffers()]


class Looks(nn.Module):
    """A module that sees what is between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 1, H, W) -> (B, 2, H - 2, W - 2)``."""
        for layer in list(self.layers)[:2]:
            x = layer(x)
        return x


@pytest.mark.parametrize(
    "model",
    [
        Looks(),
        nn.Sequential(nn.BatchNorm2d(2), nn.GELU()),
        nn.Sequential(nn.BatchNorm2d(2, momentum=None), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU()),
    ],
)
def test_what_is_not_known_is_left_alone(model: nn.Module) -> None:
    assert not any(isinstance(module, NormReLU) for module in fuse(model).modules())


@pytest.mark.parametrize(("name", "takes"), [("resnet20", True), ("mlp", False), ("resnet18", False)])
def test_channels_last_is_for_networks_whose_norms_are_all_taken(name: str, takes: bool) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 10, 16, 0)
    assert (in_channels_last(model) is not None) is takes
