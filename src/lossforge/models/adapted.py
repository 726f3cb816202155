"""torchvision's networks, without weights, fitted to the data's channels and to small images.

They shrink an image by 32, which leaves one pixel of 32×32. Up to 64×64 they therefore have the finer stems that papers
use on CIFAR; above, their own.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torchvision import models, ops
from torchvision.models.convnext import CNBlockConfig, ConvNeXt, LayerNorm2d
from torchvision.models.inception import BasicConv2d

from lossforge.models.imported import Shape

SMALL = 64
"""Largest height and width that get the stem for small images."""


def is_small(shape: Shape) -> bool:
    """Whether images of this shape get the stem for small images."""
    return max(shape[1:]) <= SMALL


def resnet18(shape: Shape, classes: int, width: int) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016); small images as in https://github.com/kuangliu/pytorch-cifar."""
    return _resnet(models.resnet18(num_classes=classes), shape)


def resnet50(shape: Shape, classes: int, width: int) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016); small images as in https://github.com/kuangliu/pytorch-cifar."""
    return _resnet(models.resnet50(num_classes=classes), shape)


def own_stem_resnet50(shape: Shape, classes: int) -> nn.Module:
    """ResNet-50 with the stem that it was published with, whatever the size of the images."""
    return _with_channels(models.resnet50(num_classes=classes), shape[0])


def _resnet(network: models.ResNet, shape: Shape) -> nn.Module:
    """Small images: a stem of one 3×3 convolution, without pooling."""
    if is_small(shape):
        network.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return _with_channels(network, shape[0])


def inception_v3(shape: Shape, classes: int, width: int) -> nn.Module:
    """Inception v3 (Szegedy et al., CVPR 2016), without the auxiliary head: in training too it gives logits alone.

    torchvision calls ReLU as a function; here it is a module, which another activation can take the place of.
    """
    network = models.inception_v3(num_classes=classes, aux_logits=False, transform_input=False, init_weights=True)
    for parent in [*network.modules()]:
        for name, part in parent.named_children():
            if isinstance(part, BasicConv2d):
                setattr(
                    parent, name, nn.Sequential(OrderedDict(conv=part.conv, bn=part.bn, relu=nn.ReLU(inplace=True)))
                )
    return _with_channels(network, shape[0])


def vgg16(shape: Shape, classes: int, width: int) -> nn.Module:
    """VGG-16 (Simonyan & Zisserman, ICLR 2015), ``width / 16`` times as wide in every layer.

    Small images: with BatchNorm and one linear layer on 512 features (Liu & Deng, ACPR 2015), since the 7×7 maps of
    the three large layers do not exist; pools round up, so that any size goes through.
    """
    layers = [part if isinstance(part, str) else max(1, part * width // 16) for part in models.vgg.cfgs["D"]]
    last = [part for part in layers if not isinstance(part, str)][-1]
    if not is_small(shape):
        network = models.VGG(models.vgg.make_layers(layers), num_classes=classes)
        if width != 16:
            wide = 256 * width
            network.classifier = nn.Sequential(
                *(nn.Linear(last * 49, wide), nn.ReLU(), nn.Dropout()),
                *(nn.Linear(wide, wide), nn.ReLU(), nn.Dropout()),
                nn.Linear(wide, classes),
            )
        return _with_channels(network, shape[0])
    features = models.vgg.make_layers(layers, batch_norm=True)
    for module in features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return _with_channels(
        nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)), shape[0]
    )


def mobilenet_v3(shape: Shape, classes: int, width: int) -> nn.Module:
    """MobileNetV3-Small (Howard et al., ICCV 2019), ``width / 16`` times as wide as published.

    Small images: the first two of its five halvings are left out. BatchNorm's momentum is torch's usual 0.1, not
    0.01: with that, running statistics are still the initial ones after the few hundred steps of a short training.
    """
    norm = partial(nn.BatchNorm2d, eps=0.001)
    network = models.mobilenet_v3_small(num_classes=classes, width_mult=width / 16, norm_layer=norm)
    if is_small(shape):
        halving = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
        for module in halving[:2]:
            module.stride = (1, 1)
    return _with_channels(network, shape[0])


def convnext_tiny(shape: Shape, classes: int, width: int) -> nn.Module:
    """ConvNeXt-T (Liu et al., CVPR 2022), 96 channels at width 16, stochastic depth 0.1 as torchvision's.

    Small images: patches of 2×2 instead of 4×4.
    """
    sizes = [6 * width << stage for stage in range(4)]
    blocks = zip(sizes, [*sizes[1:], None], (3, 3, 9, 3), strict=True)
    network = ConvNeXt([CNBlockConfig(*block) for block in blocks], stochastic_depth_prob=0.1, num_classes=classes)
    if is_small(shape):
        stem = nn.Conv2d(shape[0], sizes[0], 2, 2)
        nn.init.trunc_normal_(stem.weight, std=0.02)
        nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
        network.features[0] = nn.Sequential(stem, LayerNorm2d(sizes[0], eps=1e-6))
    network.avgpool = Mean()
    for module in [*network.modules()]:
        if isinstance(getattr(module, "stochastic_depth", None), ops.StochasticDepth):
            module.stochastic_depth = StochasticDepth(module.stochastic_depth.p)
    return _with_channels(network, shape[0])


class Mean(nn.Module):
    """The mean over all pixels; torch's pooling has no rule for vmap in ConvNeXt's memory format."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, 1, 1)``."""
        return x.mean((2, 3), keepdim=True)


class StochasticDepth(nn.Module):
    """Drops a branch for some samples of a batch (Huang et al., ECCV 2016).

    torchvision's draws in place, which vmap cannot do for each replica apart.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.kept = 1 - probability

    def forward(self, x: Tensor) -> Tensor:
        """``(B, ...)``, both ways."""
        if not self.training or self.kept == 1:
            return x
        draw = torch.rand(len(x), *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x * (draw < self.kept) / self.kept


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with its first convolution for this many channels, its weights as spread as they were."""
    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    if first.in_channels != channels:
        with torch.no_grad():
            spread = float(first.weight.std())
            first.in_channels = channels
            first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, channels, *first.kernel_size))
            first.weight.normal_(0, spread)
    return network
