"""InceptionV3 and ResNet-50 as the Next Generation Loss was tried with: small images enlarged, two layers as a head.

Körber & Akhmedova (2024, arXiv 2404.12948) published one training example: images of 32×32 enlarged to 256×256, an
InceptionV3 without weights, and behind its pooled features BatchNorm, 128 units, BatchNorm, 64 units, BatchNorm,
dropout of one half, and a softmax. That ReLU stands behind both layers, that the enlarging is bilinear, that it happens
in the network (so that images are stored small) and that their ResNet-50 had the same head are lossforge's reading.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.adapted import inception_v3, own_stem_resnet50
from lossforge.models.imported import Shape

_PIXELS = 16
"""Pixels of a side for each unit of width: 256 at width 16."""
_LEAST = 75
"""InceptionV3's least side; smaller ones are not worth a network of this kind."""
_HIDDEN = (128, 64)


class Enlarge(nn.Module):
    """Images whose longer side is below ``side`` pixels are enlarged to that; more, where one were below 75 pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H', W')``, in the same proportions."""
        factor = max(self.side / max(x.shape[-2:]), _LEAST / min(x.shape[-2:]))
        if factor <= 1:
            return x
        size = [round(side * factor) for side in x.shape[-2:]]
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def inception_v3_ngl(shape: Shape, classes: int, width: int) -> nn.Module:
    """InceptionV3 (Szegedy et al., CVPR 2016) behind enlarged images, with the head of the NGL paper's example."""
    return _headed(inception_v3(shape, classes, width), classes, width)


def resnet50_ngl(shape: Shape, classes: int, width: int) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016), its own stem behind enlarged images, with the same head."""
    return _headed(own_stem_resnet50(shape, classes), classes, width)


def _headed(network: nn.Module, classes: int, width: int) -> nn.Module:
    """The network with the head in its last layer's place."""
    features = cast(nn.Linear, network.fc).in_features
    if hasattr(network, "dropout"):
        network.dropout = nn.Identity()  # the head has one of its own
    first, second = _HIDDEN
    network.fc = nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Linear(features, first),
        nn.ReLU(),
        nn.BatchNorm1d(first),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.BatchNorm1d(second),
        nn.Dropout(0.5),
        nn.Linear(second, classes),
    )
    return nn.Sequential(Enlarge(_PIXELS * width), network)
