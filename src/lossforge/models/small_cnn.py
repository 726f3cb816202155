"""A small convolutional network for small images."""

from __future__ import annotations

import torch
from torch import nn


class SmallCNN(nn.Sequential):
    """Two 3×3 convolutions with BatchNorm and ReLU, one pooling between them, one linear head.

    About 10,000 weights at ``width=16`` on 8×8 images. The head starts at a tenth of PyTorch's usual
    size: the first predictions are near uniform, where losses differ least in where they start.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int) -> None:
        channels, height, breadth = shape
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((min(4, height // 2), min(4, breadth // 2))) if height > 8 else nn.Identity(),
            nn.Flatten(),
        )
        head = nn.LazyLinear(classes)
        self.append(head)
        self.eval()
        self(torch.zeros(1, *shape))
        self.train()
        with torch.no_grad():
            head.weight.mul_(0.1)
            head.bias.zero_()
