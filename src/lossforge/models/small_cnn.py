"""A small convolutional network for small images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.fused_norm import norm_pool_relu

_SHARED = 4
"""Networks that read one batch in the first convolution; oneDNN is slow for more outputs of one input."""


_POOLED, _TAKEN = "1", ("2", "3")
"""The BatchNorm that pooling and ReLU follow, and these two, which it takes along."""

State = dict[str, Tensor]


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
            nn.MaxPool2d(2),  # before ReLU: the same numbers, and a quarter of the work
            nn.ReLU(),
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

    def grouped(self, params: State, buffers: State, x: Tensor, training: bool) -> Tensor:
        """Logits ``(K, B, classes)`` of K networks with stacked parameters on ``x``, shape ``(S, B, C, H, W)``.

        S divides K: each batch is for K / S networks in a row, and the first convolution reads it once for up to
        four. The same computation as K calls of the network, with the replicas as groups of the convolutions:
        BatchNorm over K·C channels is exactly each replica's own. Running statistics change in place.
        """
        replicas, batch = len(params["0.weight"]), x.shape[1]
        while replicas // len(x) > _SHARED and replicas % (2 * len(x)) == 0:
            x = x.repeat_interleave(2, 0)
        groups = len(x)
        h = x.transpose(0, 1).flatten(1, 2)
        if x.device.type == "cpu":
            # Channels last: pooling and BatchNorm are twice as fast on a CPU.
            h = h.contiguous(memory_format=torch.channels_last)
        fused = training and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        for layer, module in self._modules.items():
            if isinstance(module, nn.Conv2d):
                h = functional.conv2d(h, params[f"{layer}.weight"].flatten(0, 1), padding=1, groups=groups)
                groups = replicas
            elif isinstance(module, nn.BatchNorm2d):
                h = _normalised(layer, params, buffers, h, training, fused=fused and layer == _POOLED)
            elif isinstance(module, nn.Flatten):
                pixels = h.shape[2] * h.shape[3]
                h = _ChannelsLastGradient.apply(h).permute(0, 2, 3, 1).reshape(batch, pixels, replicas, -1)
                h = h.permute(2, 0, 1, 3).flatten(2)
            elif isinstance(module, nn.Linear):
                # The head's weight is put in the order of pixels and channels, which is less to move than samples are.
                weight = params[f"{layer}.weight"]
                weight = weight.view(replicas, len(weight[0]), -1, pixels).transpose(2, 3).flatten(2)
                h = torch.baddbmm(params[f"{layer}.bias"][:, None], h, weight.transpose(1, 2))
            elif module is not None and not (fused and layer in _TAKEN):
                h = module(h)
        return h


def _normalised(layer: str, params: State, buffers: State, h: Tensor, training: bool, *, fused: bool) -> Tensor:
    mean, variance = (buffers[f"{layer}.running_{name}"].view(-1) for name in ("mean", "var"))
    weight, bias = (params[f"{layer}.{name}"].flatten() for name in ("weight", "bias"))
    if fused:
        return norm_pool_relu(h, mean, variance, weight, bias)
    return functional.batch_norm(h, mean, variance, weight, bias, training, 0.1)


class _ChannelsLastGradient(torch.autograd.Function):
    """The identity; its gradient comes back in the memory format of what went in."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.last = h.is_contiguous(memory_format=torch.channels_last)
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return given[0].contiguous(memory_format=torch.channels_last) if ctx.last else given[0]


def small_cnn(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """`SmallCNN` by the registry's name."""
    return SmallCNN(shape, classes, width)
