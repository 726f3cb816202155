"""U-Net (Ronneberger et al., MICCAI 2015): a class for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.imported import Shape

_LEVELS = 4


def _twice(channels: int, out: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with BatchNorm and ReLU; padded, so that the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Four halvings from ``width`` to ``16 * width`` channels, and back with the features of the way down.

    The paper's has 64 channels first, and neither padding nor BatchNorm.
    """

    def __init__(self, shape: Shape, classes: int, width: int) -> None:
        super().__init__()
        sizes = [width << level for level in range(_LEVELS + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([shape[0], *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * size, size, 2, 2) for size in sizes[-2::-1])
        self.merge = nn.ModuleList(_twice(2 * size, size) for size in sizes[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, classes, H, W)``."""
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            beside = kept.pop()
            h = up(x)
            missing = (0, beside.shape[-1] - h.shape[-1], 0, beside.shape[-2] - h.shape[-2])
            x = merge(torch.cat([beside, functional.pad(h, missing)], 1))
        logits: Tensor = self.head(x)
        return logits


def unet(shape: Shape, classes: int, width: int) -> nn.Module:
    """U-Net with ``width`` channels on its first level."""
    return UNet(shape, classes, width)
