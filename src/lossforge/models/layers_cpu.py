"""Cohorts of a network on a CPU, in float32: one operation with a gradient, computed by `layer_kernel`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from lossforge.models.layer_list import Convolution, LayerList
from lossforge.models.layer_program import Parameters, Program, make_program

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLES = 64
"""Samples that are evaluated at once: a plane of them stays in the nearest cache."""

State = dict[str, Tensor]


def logits_on_cpu(
    layers: LayerList, params: State, buffers: State, x: Tensor, training: bool, idle: Collection[int] = ()
) -> Tensor:
    """What K networks give, ``(K, B, ...)``, for ``x``, shape ``(S, B, C, H, W)``, where S divides K.

    Each batch is for K / S networks in a row. Every network is computed on its own: its numbers do not depend on
    its neighbours or on how many there are. In training, running statistics change in place. Those that are ``idle``
    are left out: what they give, and their gradients, are zero.
    """
    names = [*Parameters(layers).places]
    weights = [params[name] for name in names]
    if training:
        trained: Tensor = _Trained.apply(x, layers, buffers, idle, *weights)
        return trained
    with torch.no_grad():
        networks = _Networks(layers, weights, idle)
        found = torch.zeros(2, networks.count, max(1, networks.parameters.channels))
        for name, place in networks.parameters.norms.items():
            for number, kind in enumerate(("mean", "var")):
                buffer = buffers[f"{name}.running_{kind}"]
                found[number, :, place : place + buffer.shape[1]] = buffer
        return torch.cat([networks.run(part, found) for part in torch.split(x, _SAMPLES, 1)], 1)


class _Trained(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layers: LayerList, buffers: State, idle: Collection[int], *weights: Tensor
    ) -> Tensor:
        networks = _Networks(layers, weights, idle)
        given, found = networks.train(x)
        _note(layers, networks.parameters, buffers, found, x.shape[1])
        ctx.networks = networks
        ctx.save_for_backward(found, *weights)
        return given

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        # Asking for them tells of weights that were changed in between.
        found, *_ = ctx.saved_tensors
        return None, None, None, None, *ctx.networks.gradients(given[0], found)


def _note(layers: LayerList, parameters: Parameters, buffers: State, found: Tensor, batch: int) -> None:
    """Running statistics of a step."""
    for layer in layers.layers:
        if not isinstance(layer, Convolution) and layer.norm is not None:
            place, name = parameters.norms[layer.norm.name], layer.norm.name
            mean, variance = found[:, :, place : place + layer.channels]
            count = batch * layer.size[0] * layer.size[1]
            buffers[f"{name}.running_mean"].lerp_(mean, layer.norm.momentum)
            buffers[f"{name}.running_var"].lerp_(variance * (count / max(count - 1, 1)), layer.norm.momentum)
            buffers[f"{name}.num_batches_tracked"] += 1


@lru_cache(maxsize=64)
def _program(layers: LayerList, batch: int, networks: int, batches: int, training: bool) -> Program:
    return make_program(layers, batch, networks, batches, training=training)


class _Networks:
    """K networks with stacked weights, and what their last step left for the way back."""

    def __init__(self, layers: LayerList, weights: Sequence[Tensor], idle: Collection[int]) -> None:
        self.layers, self.parameters = layers, Parameters(layers)
        self.count = len(weights[0])
        self.shapes = [weight.shape for weight in weights]
        self.weights = torch.cat([weight.detach().reshape(self.count, -1) for weight in weights], 1)
        self.working = torch.tensor([k not in idle for k in range(self.count)])

    def run(self, x: Tensor, found: Tensor) -> Tensor:
        """What they give for samples ``(S, B, C, H, W)`` in evaluation, by BatchNorm's statistics ``(2, K, N)``."""
        from lossforge.models.layer_kernel import EVALUATE

        program = _program(self.layers, x.shape[1], self.count, len(x), False)
        return self._forward(program, x, found, EVALUATE)

    def train(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What they give in training, and the statistics of the batch."""
        from lossforge.models.layer_kernel import TRAIN

        program = _program(self.layers, x.shape[1], self.count, len(x), True)
        found = torch.zeros(2, self.count, max(1, self.parameters.channels))
        self._program, self._batch, self._batches = program, x.shape[1], len(x)
        return self._forward(program, x, found, TRAIN), found

    def _forward(self, program: Program, x: Tensor, found: Tensor, how: int) -> Tensor:
        import numpy

        from lossforge.models import layer_kernel

        batches, batch = x.shape[:2]
        first = batches * program.samples + program.shared
        make = torch.empty if batch == program.padded else torch.zeros
        memory = make(first + self.count * program.kept)
        planes = memory[: batches * program.samples].view(batches, -1, program.padded)
        _lay(self.layers, x, planes[..., :batch])
        self._memory = memory
        self._scratch = torch.empty(program.scratch)
        if not self.working.all():
            memory[first:] = 0
        layer_kernel.forward(*self._arguments(program, found, batch, batches), numpy.uint64(how), self._scratch.numpy())
        given = memory[first:].view(self.count, program.kept)[:, program.result : program.result + program.given]
        given = given.reshape(self.count, *self.layers.output, program.padded)
        return given[..., :batch].movedim(-1, 1).contiguous()

    def _arguments(self, program: Program, found: Tensor, batch: int, batches: int) -> tuple[Any, ...]:
        import numpy

        each = self.count // batches
        arrays = _arrays(self._memory, self.weights, found, self.working)
        sizes = (numpy.uint64(size) for size in (each, batch, program.padded))
        return program.layers, program.values, program.tables, *arrays, *sizes

    def gradients(self, given: Tensor, found: Tensor) -> list[Tensor]:
        """Gradients of the weights, from those ``(K, B, ...)`` on what was given."""
        import numpy

        from lossforge.models import layer_kernel

        program, batch = self._program, self._batch
        make = torch.empty if batch == program.padded else torch.zeros
        slopes = make(program.slopes)
        planes = slopes[: self.count * program.given].view(self.count, *self.layers.output, program.padded)
        planes[..., :batch] = given.movedim(1, -1)
        gradients = torch.zeros_like(self.weights)
        sums = torch.empty(program.sums)
        layer_kernel.backward(
            *self._arguments(program, found, batch, self._batches), slopes.numpy(), numpy.uint64(program.plane),
            *_arrays(gradients, self._scratch, sums),
        )  # fmt: skip
        parts = torch.split(gradients, [shape[1:].numel() for shape in self.shapes], 1)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _lay(layers: LayerList, x: Tensor, planes: Tensor) -> None:
    """Write samples ``(S, B, C, H, W)`` into planes ``(S, N, B)``."""
    x = x.permute(0, 2, 3, 4, 1)
    geometry = layers.unfolded
    if geometry is None:
        planes.copy_(x.flatten(1, 3))
        return
    (top, left), (down, right), (far, wider) = geometry.padding, geometry.stride, geometry.dilation
    (rows, columns), (tall, wide) = geometry.out, geometry.kernel
    x = functional.pad(x, (0, 0, left, left, top, top))
    planes = planes.view(len(x), x.shape[1], tall, wide, rows, columns, -1)
    for i in range(tall):
        for j in range(wide):
            last_row, last_column = i * far + (rows - 1) * down + 1, j * wider + (columns - 1) * right + 1
            planes[:, :, i, j] = x[:, :, i * far : last_row : down, j * wider : last_column : right]


def _arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    return [tensor.numpy() for tensor in tensors]
