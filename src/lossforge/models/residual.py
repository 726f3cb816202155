"""Residual networks in the form for CIFAR (He et al., "Deep residual learning", CVPR 2016, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.imported import Shape


class Block(nn.Module):
    """Two 3×3 convolutions beside the identity; where the shape changes, the identity skips pixels and adds zeros."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.stride = stride
        self.added = out - channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, out, H / stride, W / stride)``."""
        h = self.relu1(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        out: Tensor = self.relu2(h + self.identity(x))
        return out

    def identity(self, x: Tensor) -> Tensor:
        """What stands beside the convolutions, in the shape of their output."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


def _residual(shape: Shape, classes: int, width: int, blocks: int) -> nn.Module:
    """6 * ``blocks`` + 2 layers: a stem, three stages of width 1, 2 and 4 times ``width``, a linear head."""
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            layers.append(Block(channels, width << stage, stride=2 if stage and not block else 1))
            channels = width << stage
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def resnet8(shape: Shape, classes: int, width: int) -> nn.Module:
    """8 layers; 16 channels in the first stage as in the paper."""
    return _residual(shape, classes, width, 1)


def resnet20(shape: Shape, classes: int, width: int) -> nn.Module:
    """20 layers; 16 channels in the first stage as in the paper."""
    return _residual(shape, classes, width, 3)
