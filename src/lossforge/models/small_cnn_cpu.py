"""SmallCNN's cohorts on a CPU, in float32: one operation with a gradient, computed by `small_cnn_kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

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


def logits_on_cpu(params: State, buffers: State, x: Tensor, training: bool) -> Tensor:
    """Logits ``(K, B, classes)`` of K networks on ``x``, shape ``(S, B, C, H, W)``, where S divides K.

    Each batch is for K / S networks in a row. Every network is computed on its own: its numbers do not depend on
    its neighbours or on how many there are. In training, running statistics change in place.
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
        trained: Tensor = _Trained.apply(x, buffers, *weights)
        return trained
    statistics = [torch.stack([buffers[f"{layer}.running_mean"], buffers[f"{layer}.running_var"]]) for layer in (1, 5)]
    with torch.no_grad():
        return torch.cat([_run(part, weights, statistics)[0] for part in torch.split(x, _SAMPLES, 1)], 1)


def _planes(x: Tensor) -> Tensor:
    """Samples ``(S, B, C, H, W)`` as padded planes ``(S, C, (H + 2) * (W + 2) * B)``."""
    return functional.pad(x.permute(0, 2, 3, 4, 1), (0, 0, 1, 1, 1, 1)).flatten(2).contiguous()


def _run(
    x: Tensor, weights: _Weights, statistics: list[Tensor] | None
) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
    """Logits, BatchNorm's statistics (2, K, C) of both layers, the planes of ``x``, and the activations.

    Without statistics they are the batch's own, and the activations of all networks are kept.
    """
    from lossforge.models import small_cnn_kernel

    networks, channels = weights.w1.shape[:2]
    wider, classes = weights.w2.shape[1], weights.head.shape[1]
    batch, _, height, width = x.shape[1:]
    rows, columns = height // 2, width // 2
    pooled = pooled_size(height, width)
    kept = networks if statistics is None else 1
    planes = _planes(x)
    h1 = torch.empty(kept, channels + channels % 2, height, width, batch)
    p = torch.zeros(kept, channels, (rows + 2) * (columns + 2) * batch)
    chosen = torch.empty(kept, channels, rows * columns * batch, dtype=torch.int8)
    h2 = torch.empty(kept, wider + wider % 2, rows, columns, batch)
    features = torch.empty(kept, wider, *pooled, batch)
    logits = torch.empty(networks, batch, classes)
    found = [torch.empty(2, networks, count) for count in (channels, wider)] if statistics is None else statistics
    activations = [h1, p, chosen, h2, features]
    out = torch.empty(classes, batch)
    small_cnn_kernel.forward(
        planes.numpy(),
        *(weight.detach().numpy() for weight in weights),
        statistics is None,
        *(tensor.numpy() for tensor in (*found, *activations, out, logits)),
    )
    return logits, found, planes, activations


def pooled_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of features that SmallCNN makes of images of this size."""
    size = height // 2, width // 2
    return (min(4, size[0]), min(4, size[1])) if height > 8 else size


class _Trained(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, buffers: State, *given: Tensor) -> Tensor:
        weights = _Weights(*given)
        logits, statistics, planes, activations = _run(x, weights, None)
        for layer, (mean, variance), count in ((1, statistics[0], x[0, :, 0].numel()), (5, statistics[1], 0)):
            count = count or activations[3][0, 0].numel()
            buffers[f"{layer}.running_mean"].lerp_(mean, _MOMENTUM)
            buffers[f"{layer}.running_var"].lerp_(variance * (count / max(count - 1, 1)), _MOMENTUM)
        ctx.save_for_backward(planes, *weights, *statistics, *activations)
        return logits

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        from lossforge.models import small_cnn_kernel

        saved = ctx.saved_tensors
        gradients = [torch.empty_like(weight) for weight in saved[1:7]]
        planes, *weights, _ = saved[:7]
        small_cnn_kernel.backward(
            planes.numpy(),
            *(weight.detach().numpy() for weight in weights),
            *(tensor.numpy() for tensor in saved[7:]),
            given[0].contiguous().numpy(),
            *(gradient.numpy() for gradient in gradients),
            *(tensor.numpy() for tensor in _scratch(planes, saved[9:], given[0].shape[2])),
        )
        return None, None, *gradients


def _scratch(planes: Tensor, activations: Sequence[Tensor], classes: int) -> list[Tensor]:
    _, p, chosen, h2, features = activations
    batch = h2.shape[-1]
    return [
        torch.empty(classes, batch),
        torch.empty(features[0, ..., 0].numel(), batch),
        torch.empty(2, chosen.shape[2]),
        torch.zeros(2, planes.shape[2]),
        torch.zeros(h2.shape[1], p.shape[2]),
    ]
