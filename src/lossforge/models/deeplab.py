"""DeepLabV3 (Chen et al. 2017, arXiv 1706.05587) on a dilated ResNet-50: a class for every pixel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck
from torchvision.models.segmentation.deeplabv3 import ASPP

from lossforge.models.adapted import is_small
from lossforge.models.imported import Shape

_BLOCKS = (3, 4, 6, 3)
_RATES = (12, 24, 36)
"""Dilations of the pyramid's three wide convolutions."""


class DeepLabV3(nn.Module):
    """torchvision's ``deeplabv3_resnet50``, without weights and auxiliary head; at another width all channels scale.

    Its last two stages are dilated in place of a stride, so that an image shrinks by 8. Small images have the stem of a
    3×3 convolution without pooling that networks here have for them, and shrink by 2.
    """

    def __init__(self, shape: Shape, classes: int, width: int) -> None:
        super().__init__()
        channels = 4 * width
        if is_small(shape):
            stem: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)]
        else:
            stem = [nn.Conv2d(shape[0], channels, 7, 2, 3, bias=False)]
        stem += [nn.BatchNorm2d(channels), nn.ReLU()]
        if not is_small(shape):
            stem.append(nn.MaxPool2d(3, 2, 1))
        stages, before, dilation = [], channels, 1
        for stage, blocks in enumerate(_BLOCKS):
            planes = channels << stage
            stride, first = (2, 1) if stage == 1 else (1, dilation)
            dilation = 1 << max(0, stage - 1)
            stages.append(_stage(before, planes, blocks, stride, first, dilation))
            before = planes * Bottleneck.expansion
        self.backbone = nn.Sequential(*stem, *stages)
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        inner = 16 * width
        self.classifier = nn.Sequential(
            ASPP(before, _RATES, inner),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, classes, H, W)``."""
        coarse = self.classifier(self.backbone(x))
        return functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)


def _stage(channels: int, planes: int, blocks: int, stride: int, first: int, dilation: int) -> nn.Sequential:
    """Bottleneck blocks, of which the ``first`` has the dilation of the stage before, as torchvision's have."""
    out = planes * Bottleneck.expansion
    beside = None
    if stride != 1 or channels != out:
        beside = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    layers = [Bottleneck(channels, planes, stride, beside, dilation=first)]
    layers += [Bottleneck(out, planes, dilation=dilation) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


def deeplab_v3(shape: Shape, classes: int, width: int) -> nn.Module:
    """DeepLabV3 with ``4 * width`` channels in its stem; 16 is the published width."""
    return DeepLabV3(shape, classes, width)
