"""BatchNorm and the ReLU behind it as one operation, on a CPU, in training: a third of the passes through memory.

What a network of convolutions takes beside its convolutions is mostly that: torch reads and writes every feature map
seven times for the two and their gradients. `fuse` puts it into a network where the modules say that nothing else
can see what is between them; what comes out is the same up to rounding.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.residual import Block

_WIDEST = 512
"""Numbers of a row of the kernels, at most."""

_KNOWN = ("torch.nn.", "torchvision.", "lossforge.")
"""Packages whose modules look at no part of a sequence."""

Matrix = NDArray[numpy.float32]


class _NormReLU(torch.autograd.Function):
    """``relu(norm(x) + added)`` of feature maps in channels_last; ``added`` may be None."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        from lossforge.models import norm_kernel

        channels = x.shape[1]
        wide, times = _rows(x)
        mean, variance = (numpy.empty(wide.shape[1]) for _ in range(2))
        norm_kernel.statistics(wide, mean, variance)
        # A row holds the channels several times: those are parts of one sample.
        means = mean.reshape(times, channels)
        middle = means.mean(0)
        spread = (variance.reshape(times, channels) + (means - middle) ** 2).mean(0)
        inverse = 1 / numpy.sqrt(spread + epsilon)
        scale = weight.detach().numpy() * inverse
        shift = bias.detach().numpy() - middle * scale
        y = torch.empty_like(x)
        target, _ = _rows(y)
        if added is None:
            norm_kernel.normalise(wide, _tiled(scale, times), _tiled(shift, times), target)
        else:
            norm_kernel.normalise_and_add(wide, _tiled(scale, times), _tiled(shift, times), _rows(added)[0], target)
        ctx.save_for_backward(x, y, weight)
        ctx.middle, ctx.inverse, ctx.has_added = middle, inverse, added is not None
        told = torch.from_numpy(middle).float(), torch.from_numpy(spread).float()
        ctx.mark_non_differentiable(*told)
        return y, *told

    @staticmethod
    def backward(ctx: Any, given: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        from lossforge.models import norm_kernel

        x, y, weight = ctx.saved_tensors
        gradient = torch.empty_like(x)
        wide, times = _rows(x)
        cut, positive = _rows(gradient)[0], _rows(y)[0]
        before = _rows(given.contiguous(memory_format=torch.channels_last))[0]
        mean = _tiled(ctx.middle, times)
        sums, products = (numpy.zeros(wide.shape[1]) for _ in range(2))
        norm_kernel.gradient_sums(before, wide, positive, mean, cut, sums, products)
        count = len(wide) * times
        on_bias, on_scale = (part.reshape(times, x.shape[1]).sum(0) for part in (sums, products))
        factor = weight.detach().numpy() * ctx.inverse
        slope = on_scale / count * ctx.inverse**2
        found = torch.empty_like(x)
        columns = [_tiled(part, times) for part in (factor, on_bias / count, slope)]
        norm_kernel.gradient_on_input(cut, wide, mean, *columns, _rows(found)[0])
        on_weight = torch.from_numpy(on_scale * ctx.inverse).float()
        return found, on_weight, torch.from_numpy(on_bias).float(), gradient if ctx.has_added else None, None


def _rows(x: Tensor) -> tuple[Matrix, int]:
    """Feature maps ``(B, C, H, W)`` in channels_last as rows of the same memory, and how many pixels a row holds."""
    batch, channels, height, width = x.shape
    pixels, times = batch * height * width, 1
    while pixels % (2 * times) == 0 and 2 * times * channels <= _WIDEST:
        times *= 2
    array: Matrix = x.detach().permute(0, 2, 3, 1).reshape(pixels // times, times * channels).numpy()
    return array, times


def _tiled(values: NDArray[numpy.float64], times: int) -> Matrix:
    return numpy.tile(values.astype(numpy.float32), times)


class NormReLU(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with ReLU behind it, and an addition between them where it is called with something."""

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """``relu(norm(x) + added)``, of the shape of ``x`` ``(B, C, H, W)``."""
        if not (self.training and _fits(x) and (added is None or _fits(added))):
            h = super().forward(x)
            return functional.relu(h if added is None else h + added)
        y, mean, variance = _NormReLU.apply(x, self.weight, self.bias, added, self.eps)
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            momentum = self.momentum or 0.0
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
            self.num_batches_tracked += 1
        found: Tensor = y
        return found


def _fits(x: Tensor) -> bool:
    usual = x.device.type == "cpu" and x.dtype is torch.float32 and x.numel() // x.shape[1] > 1
    return usual and x.is_contiguous(memory_format=torch.channels_last)


class FusedBlock(Block):
    """A residual block whose norms are `NormReLU`."""

    def forward(self, x: Tensor) -> Tensor:
        """See `lossforge.models.residual.Block.forward`."""
        h = self.conv2(self.norm1(self.conv1(x)))
        identity = self.identity(x)
        out: Tensor = self.norm2(h, identity.contiguous(memory_format=torch.channels_last))
        return out


def in_channels_last(model: nn.Module) -> nn.Module | None:
    """The network as it runs fastest in channels_last; None where it gains nothing there, or would round worse.

    It has no convolutions then, or a BatchNorm that `fuse` does not take.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    fused = fuse(copy.deepcopy(model))
    norms = [module for module in fused.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return fused if all(isinstance(norm, NormReLU) for norm in norms) else None


def fuse(model: nn.Module) -> nn.Module:
    """The network with `NormReLU` wherever BatchNorm and ReLU follow each other; changed in place, its names kept.

    That is in an `nn.Sequential`, and in the residual blocks of `lossforge.models.residual`. A network with modules of
    a user's own is left alone: they may look at what is between the two.
    """
    if not all(type(module).__module__.startswith(_KNOWN) for module in model.modules()):
        return model
    for module in list(model.modules()):
        if (
            type(module) is Block
            and _are_fusible(module.norm1, module.relu1)
            and _are_fusible(module.norm2, module.relu2)
        ):
            module.norm1, module.norm2 = _fused(module.norm1), _fused(module.norm2)
            module.__class__ = FusedBlock
        elif isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            names = list(module._modules)
            for name, following in pairwise(names):
                norm, relu = module._modules[name], module._modules[following]
                if _are_fusible(norm, relu):
                    module._modules[name] = _fused(norm)
                    module._modules[following] = nn.Identity()
    return model


def _are_fusible(norm: nn.Module | None, relu: nn.Module | None) -> bool:
    if type(norm) is not nn.BatchNorm2d or type(relu) is not nn.ReLU:
        return False
    hooked = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in (norm, relu))
    return norm.affine and norm.track_running_stats and norm.momentum is not None and not hooked


def _fused(norm: nn.Module | None) -> NormReLU:
    """The same module as a `NormReLU`, with its own parameters and buffers."""
    assert isinstance(norm, nn.BatchNorm2d)
    fused = NormReLU(norm.num_features, norm.eps, norm.momentum, device="meta")
    fused.__dict__.update({**norm.__dict__})
    return fused
