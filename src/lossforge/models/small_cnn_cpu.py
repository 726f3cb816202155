"""SmallCNN's cohorts on a CPU, in float32: one operation with a gradient, computed by `small_cnn_kernel`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOMENTUM = 0.1
_SAMPLES = 64
"""Samples that are evaluated at once: a plane of them stays in the nearest cache."""

State = dict[str, Tensor]


class _Weights(NamedTuple):
    """Stacked weights: convolutions ``(K, out, in, 9)``, BatchNorm's weight and bias ``(2, K, C)``, and the head's."""

    w1: Tensor
    scales1: Tensor
    w2: Tensor
    scales2: Tensor
    head: Tensor
    bias: Tensor


def logits_on_cpu(params: State, buffers: State, x: Tensor, training: bool, idle: Collection[int] = ()) -> Tensor:
    """Logits ``(K, B, classes)`` of K networks on ``x``, shape ``(S, B, C, H, W)``, where S divides K.

    Each batch is for K / S networks in a row. Every network is computed on its own: its numbers do not depend on
    its neighbours or on how many there are. In training, running statistics change in place. Those that are ``idle``
    are left out: their logits and gradients are zero.
    """
    weights = _Weights(
        w1=params["0.weight"].flatten(3),
        scales1=torch.stack([params["1.weight"], params["1.bias"]]),
        w2=params["4.weight"].flatten(3),
        scales2=torch.stack([params["5.weight"], params["5.bias"]]),
        head=params["9.weight"],
        bias=params["9.bias"],
    )
    if training:
        trained: Tensor = _Trained.apply(x, buffers, idle, *weights)
        return trained
    statistics = [torch.stack([buffers[f"{layer}.running_{name}"] for name in ("mean", "var")]) for layer in (1, 5)]
    with torch.no_grad():
        return torch.cat([_Networks(part, weights, idle).run(statistics) for part in torch.split(x, _SAMPLES, 1)], 1)


def pooled_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of features that SmallCNN makes of images of this size."""
    size = height // 2, width // 2
    return (min(4, size[0]), min(4, size[1])) if height > 8 else size


class _Trained(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, buffers: State, idle: Collection[int], *weights: Tensor) -> Tensor:
        networks = _Networks(x, _Weights(*weights), idle)
        logits, h2, statistics = networks.train()
        sizes = networks.height * networks.width, networks.pixels
        for layer, (mean, variance), pixels in zip((1, 5), statistics, sizes, strict=True):
            count = pixels * networks.batch
            buffers[f"{layer}.running_mean"].lerp_(mean, _MOMENTUM)
            buffers[f"{layer}.running_var"].lerp_(variance * (count / max(count - 1, 1)), _MOMENTUM)
        ctx.networks = networks
        ctx.save_for_backward(h2, *statistics, *weights)
        return logits

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        # Asking for them tells of weights that were changed in between.
        h2, *statistics = ctx.saved_tensors[:3]
        return None, None, None, *ctx.networks.gradients(h2, statistics, given[0])


class _Networks:
    """K networks on one batch ``x`` (S, B, C, H, W), and the memory that their kernels work in."""

    def __init__(self, x: Tensor, weights: _Weights, idle: Collection[int]) -> None:
        self.weights = _Weights(*(weight.detach() for weight in weights))
        self.batch, _, self.height, self.width = x.shape[1:]
        # Padded planes (S, C, (H + 2) * (W + 2) * B).
        self.x = functional.pad(x.permute(0, 2, 3, 4, 1), (0, 0, 1, 1, 1, 1)).flatten(2).contiguous()
        self.networks, self.channels = weights.w1.shape[:2]
        self.working = torch.tensor([k not in idle for k in range(self.networks)])
        self.wider, self.classes = weights.w2.shape[1], weights.head.shape[1]
        self.pixels = (self.height // 2) * (self.width // 2)
        self.pooled = pooled_size(self.height, self.width)
        border = (self.height // 2 + 2) * (self.width // 2 + 2)
        self.features = self.wider * math.prod(self.pooled)
        self.scratch = [
            torch.empty(self.channels + self.channels % 2, self.height * self.width * self.batch),
            torch.zeros(self.channels, border * self.batch),
            torch.empty(self.channels, self.pixels * self.batch, dtype=torch.int8),
            torch.empty(self.wider, self.features // self.wider * self.batch),
            torch.empty(self.classes, self.batch),
        ]

    def run(self, statistics: Sequence[Tensor]) -> Tensor:
        """Logits ``(K, B, classes)`` in evaluation, by BatchNorm's statistics ``(2, K, C)``."""
        return self._forward(statistics, training=False)[0]

    def train(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits in training, the second convolution's output, and the batch's statistics."""
        statistics = [torch.zeros(2, self.networks, count) for count in (self.channels, self.wider)]
        return *self._forward(statistics, training=True), statistics

    def _forward(self, statistics: Sequence[Tensor], *, training: bool) -> tuple[Tensor, Tensor]:
        from lossforge.models import small_cnn_kernel

        planes = self.wider + self.wider % 2
        h2 = torch.empty(self.networks if training else 1, planes, self.pixels * self.batch)
        logits = torch.zeros(self.networks, self.batch, self.classes)
        arrays = _arrays(self.working, self.x, *self.weights, *statistics)
        small_cnn_kernel.forward(*arrays, training, *_arrays(h2, logits), self._size, *_arrays(*self.scratch))
        return logits, h2

    def gradients(self, h2: Tensor, statistics: Sequence[Tensor], given: Tensor) -> list[Tensor]:
        """Gradients of the weights, from those ``(K, B, classes)`` on the logits."""
        from lossforge.models import small_cnn_kernel

        found = [torch.zeros_like(weight) for weight in self.weights]
        scratch = [
            *self.scratch,
            torch.empty(self.features, self.batch),
            torch.empty(2, self.pixels * self.batch),
            torch.zeros(2, self.x.shape[2]),
            torch.zeros(h2.shape[1], self.scratch[1].shape[1]),
        ]
        arrays = _arrays(self.working, self.x, *self.weights[:-1], *statistics, h2, given.contiguous(), *found)
        small_cnn_kernel.backward(*arrays, self._size, *_arrays(*scratch))
        return found

    @property
    def _size(self) -> tuple[Any, ...]:
        import numpy

        return tuple(map(numpy.uint64, (self.height, self.width, *self.pooled)))


def _arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    return [tensor.numpy() for tensor in tensors]
