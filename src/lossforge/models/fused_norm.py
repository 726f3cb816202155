"""BatchNorm, 2×2 max pooling and ReLU as one operation with a gradient; for CPUs, in float32.

`norm_pool_relu` gives what `torch.nn.functional.batch_norm`, ``max_pool2d`` and ``relu`` give one after the other, in
half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_EPS = 1e-5
_MOMENTUM = 0.1


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        from lossforge.models import norm_kernel

        x = h.permute(0, 2, 3, 1)
        inverse = (variance + _EPS).rsqrt()
        scale = weight * inverse
        affine = torch.stack([scale, bias - mean * scale]).numpy()
        batch, height, width, channels = x.shape
        y = torch.empty(batch, height // 2, width // 2, channels)
        chosen = torch.empty(y.shape, dtype=torch.int32)
        norm_kernel.pooled_forward(x.numpy(), affine, y.numpy(), chosen.numpy())
        ctx.save_for_backward(x, weight, mean, inverse, chosen)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        from lossforge.models import norm_kernel

        x, weight, mean, inverse, chosen = ctx.saved_tensors
        channels = x.shape[-1]
        gradient = given[0].permute(0, 2, 3, 1).contiguous()
        out = torch.empty_like(x)
        sums = torch.zeros(2, channels, dtype=torch.float64)
        arrays = x.numpy(), gradient.numpy(), chosen.numpy()
        statistic = torch.stack([mean, inverse]).numpy()
        norm_kernel.pooled_sums(arrays[0], statistic, *arrays[1:], sums.numpy())
        total, product = sums.float()
        count = x.numel() // channels
        factor = weight * inverse
        slope = factor * inverse * product / count
        factors = torch.stack([factor, factor * total / count, slope, mean]).numpy()
        norm_kernel.pooled_backward(arrays[0], factors, *arrays[1:], out.numpy())
        return out.permute(0, 3, 1, 2), product, total, None, None


def norm_pool_relu(h: Tensor, running_mean: Tensor, running_variance: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU of 2×2 max-pooled BatchNorm of ``h``, shape ``(B, C, H, W)``, in training; ``(B, C, H // 2, W // 2)``.

    ``h`` is float32, channels last. Running statistics change in place as BatchNorm's do, with momentum 0.1.
    """
    from lossforge.models import norm_kernel

    x = h.detach().permute(0, 2, 3, 1)
    channels = x.shape[-1]
    count = x.numel() // channels
    mean, variance = torch.empty(2, channels).unbind(0)
    norm_kernel.statistics(x.reshape(-1, channels).numpy(), mean.numpy(), variance.numpy())
    running_mean.lerp_(mean, _MOMENTUM)
    running_variance.lerp_(variance * (count / max(count - 1, 1)), _MOMENTUM)
    fused: Tensor = _Fused.apply(h, weight, bias, mean, variance)
    return fused
