"""Inception for images of 32×32 (Zhang et al., "Understanding deep learning requires rethinking generalization", 2017).

The network of the paper's appendix A, figure 3; its 28×28 crops become whatever size the data has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossforge.models.imported import Shape

_PAPER = 16
"""The width at which channels are the paper's."""


class _Conv(nn.Sequential):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )


class _Side(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, sum of the branches' channels, ...)``."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_small(shape: Shape, classes: int, width: int) -> nn.Module:
    """1.6 million weights at width 16: a stem, eight Inception modules, two of them halving, and a linear head."""
    layers: list[nn.Module] = [_Conv(shape[0], 96 * width // _PAPER, 3)]
    channels = 96 * width // _PAPER
    for ones, threes in (
        *((32, 32), (32, 48), (0, 80)),
        *((112, 48), (96, 64), (80, 80), (48, 96), (0, 96)),
        *((176, 160), (176, 160)),
    ):
        one, three = (count * width // _PAPER for count in (ones, threes))
        if one:
            layers.append(_Side(_Conv(channels, one, 1), _Conv(channels, three, 3)))
            channels = one + three
        else:
            layers.append(_Side(_Conv(channels, three, 3, stride=2), nn.MaxPool2d(3, 2, padding=1)))
            channels += three
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
