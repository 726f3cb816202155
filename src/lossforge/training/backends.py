"""How K replicas of one network run: four back ends behind one interface, and the rule that chooses.

All compute the same; they round differently, so the rule depends on nothing but the network, K, the size of a batch
and the device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import torch
from torch import Tensor, nn

from lossforge.errors import ModelError
from lossforge.models.fused_norm import in_channels_last
from lossforge.models.layer_list import LayerList, fills_vectors

State = dict[str, Tensor]
"""Parameters or buffers by name, each stacked: the first axis is the replica's."""

Idle = Collection[int]
"""Replicas of which nothing is wanted any more. Who can leave them out does so; their logits mean nothing."""

Grouped = Callable[[State, State, Tensor, bool], Tensor]
"""``(parameters, buffers, x (S, B, C, H, W), training) -> logits (K, B, classes)``: a network's ``grouped``.

S divides K: each batch of ``x`` is for K / S replicas in a row.
"""


HEAVY = 25_000_000
"""Weights times pixels of a sample above which a CPU gains nothing from vmap; measured in docs/design-notes.md."""

LARGE = 256
"""Pixels of a sample from which a loop on a CPU runs convolutions in channels_last, BatchNorm and ReLU in one.

Below, what Python takes for them is more than is gained: a step on 8×8 took 1.15 times as long.
"""

TINY = 10_000
"""Weights times pixels of a sample below which vmap's step costs a CPU the same for one network and for a hundred."""

_GAINFUL = {"layers": 16, "grouped": 16, "vmap": 8, "loop": 8}
"""Networks at once from which on a CPU gains little from twice as many; measured in docs/design-notes.md."""
_GAINFUL_HEAVY = {"layers": 2, "grouped": 16, "vmap": 4, "loop": 2}
"""The same for networks above `HEAVY`."""
_GAINFUL_TINY = {**_GAINFUL, "vmap": 128}
"""The same for networks below `TINY`."""


class Backend(Protocol):
    """Runs K replicas of one network."""

    name: str
    shares: bool
    """Whether samples ``(S, B, C, H, W)`` will do, where S divides K and each batch is for K / S lanes in a row."""

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """Logits ``(K, B, ...)`` of ``x``, shape ``(K, B, C, H, W)``, with gradients for ``params``.

        In training, running statistics in ``buffers`` change in place, each replica's by its own samples. Who is
        ``idle`` changes no bit of what the others get.
        """


class LayersBackend:
    """Our own kernels for a CPU, one network after the other, where they know all of its layers."""

    name = "layers"
    shares = True

    def __init__(self, model: nn.Module, layers: LayerList) -> None:
        self._layers = layers
        self._loop = LoopBackend(model)

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """See `Backend.logits`. In another precision than float32 the replicas run in a loop."""
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            whole = x.repeat_interleave(len(next(iter(params.values()))) // len(x), 0)
            return self._loop.logits(params, buffers, whole, training=training, idle=idle)
        from lossforge.models.layers_cpu import logits_on_cpu

        return logits_on_cpu(self._layers, params, buffers, x, training, idle)


class GroupedBackend:
    """The replicas as groups of one convolution, where the network says how."""

    name = "grouped"
    shares = True

    def __init__(self, grouped: Grouped) -> None:
        self._grouped = grouped

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """See `Backend.logits`."""
        return self._grouped(params, buffers, x, training)


class VmapBackend:
    """`torch.func.vmap` over the replicas: every layer once, for all of them. Random layers draw for each apart."""

    name = "vmap"
    shares = False

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """See `Backend.logits`."""
        self._model.train(training)

        def one(params: State, buffers: State, x: Tensor) -> Tensor:
            output: Tensor = torch.func.functional_call(self._model, (params, buffers), (x,))
            return output

        stacked: Tensor = torch.func.vmap(one, randomness="different")(params, buffers, x)
        return stacked


class LoopBackend:
    """One replica after the other: for any network, and for one replica.

    On a CPU a network of convolutions runs in channels_last, with BatchNorm and the ReLU behind it as one operation,
    where that takes each of its BatchNorms (torch's own often rounds worse in channels_last) and samples have `LARGE`
    pixels: faster there for resnet8 and resnet20 (benchmarks/results/backends.md).
    """

    name = "loop"
    shares = False

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._fused = in_channels_last(model)
        self._draws: bool | None = None
        """Whether the network draws random numbers in training; None until it was seen."""

    def one(self, params: State, buffers: State, x: Tensor, *, training: bool) -> Tensor:
        """Logits ``(B, ...)`` of one network on samples ``(B, C, H, W)``; parameters and buffers are its own."""
        model = self._model
        if x.device.type == "cpu" and self._fused is not None and math.prod(x.shape[2:]) >= LARGE:
            model = self._fused
            x = x.contiguous(memory_format=torch.channels_last)
            params = {name: _last(value) for name, value in params.items()}
        model.train(training)
        logits: Tensor = torch.func.functional_call(model, (params, buffers), (x,))
        return logits

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """See `Backend.logits`. Replicas of a network that draws random numbers draw in turn: none is left out."""
        skipped = self.skipped(idle, training=training)
        parts = {name: value.unbind(0) for name, value in params.items()}
        outputs: dict[int, Tensor] = {}
        with self.watched(x.device, training=training):
            for k, samples in enumerate(x.unbind(0)):
                if k in skipped:
                    continue
                state = {name: part[k] for name, part in parts.items()}
                kept = {name: buffer[k] for name, buffer in buffers.items()}
                outputs[k] = self.one(state, kept, samples, training=training)
        nothing = torch.zeros_like(next(iter(outputs.values())))
        return torch.stack([outputs.get(k, nothing) for k in range(len(x))])

    def skipped(self, idle: Idle, *, training: bool) -> Idle:
        """Who can be left out of those of whom nothing is wanted."""
        return idle if not training or self._draws is False else ()

    @contextmanager
    def watched(self, device: torch.device, *, training: bool) -> Iterator[None]:
        """Within it all networks run: the first time in training one sees whether they draw random numbers."""
        if not training or self._draws is not None:
            yield
            return
        before = _random_state(device)
        yield
        self._draws = not torch.equal(before, _random_state(device))


def _last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def make_backend(
    name: str, model: nn.Module, replicas: int, device: str, shape: Sequence[int], batch: int = 64
) -> Backend:
    """The back end of this name for a network (on the meta device), or "rule": as `choose_backend` says.

    Raises ModelError where the network has no grouped form, or a layer that the kernels for a CPU do not know.
    """
    if name == "rule":
        return choose_backend(model, replicas, device, shape, batch)
    if name == "layers":
        if device != "cpu":
            raise ModelError("recipe.backend: 'layers' is for a CPU; use rule, vmap or loop")
        try:
            return _in_layers(model, shape)
        except ModelError as error:
            raise ModelError(f"recipe.backend: 'layers' does not run this network: {error}; use rule") from error
    if name == "grouped":
        grouped: Grouped | None = getattr(model, "grouped", None)
        if grouped is None:
            raise ModelError(
                "recipe.backend: 'grouped' is for networks that have a grouped form, and that is for ReLU alone; use "
                "rule, vmap or loop"
            )
        return GroupedBackend(grouped)
    return VmapBackend(model) if name == "vmap" else LoopBackend(model)


def choose_backend(model: nn.Module, replicas: int, device: str, shape: Sequence[int], batch: int = 64) -> Backend:
    """The back end for a network (on the meta device), K, a kind of device ("cpu", "cuda") and samples ``(C, H, W)``.

    On a CPU our own kernels where they know all of the network's layers and a batch fills their vectors. Elsewhere the
    network's grouped form where it has one. Else the loop for one replica, for a network that vmap cannot run,
    such as one that branches on its values, and on a CPU where weights times pixels pass `HEAVY`. Else vmap.
    """
    if device == "cpu" and fills_vectors(batch):
        with suppress(ModelError):
            return _in_layers(model, shape)
    grouped: Grouped | None = getattr(model, "grouped", None)
    if grouped is not None:
        return GroupedBackend(grouped)
    if replicas == 1 or (device == "cpu" and _is_heavy(model, shape)) or not _runs_under_vmap(model, shape):
        return LoopBackend(model)
    return VmapBackend(model)


def _in_layers(model: nn.Module, shape: Sequence[int]) -> LayersBackend:
    from lossforge.models.layer_trace import layer_list

    return LayersBackend(model, layer_list(model, shape))


def gainful_lanes(backend: str, model: nn.Module, shape: Sequence[int]) -> int:
    """How many networks to train at once on a CPU by a back end: twice as many would gain little, or nothing.

    It depends on the back end, the network and its samples ``(C, H, W)`` alone, never on how many workers there are.
    """
    size = weights_times_pixels(model, shape)
    return (_GAINFUL_HEAVY if size > HEAVY else _GAINFUL_TINY if size < TINY else _GAINFUL)[backend]


def _is_heavy(model: nn.Module, shape: Sequence[int]) -> bool:
    return weights_times_pixels(model, shape) > HEAVY


def weights_times_pixels(model: nn.Module, shape: Sequence[int]) -> int:
    """Weights times pixels of a sample."""
    return sum(weight.numel() for weight in model.parameters()) * math.prod(shape[1:])


def _runs_under_vmap(model: nn.Module, shape: Sequence[int]) -> bool:
    """Whether vmap takes the network, in training and in evaluation; tried without memory or arithmetic.

    A warning counts as a no: vmap warns where it would loop itself, slowly.
    """
    params, buffers = (
        {name: torch.empty(2, *value.shape, dtype=value.dtype, device="meta") for name, value in named}
        for named in (model.named_parameters(), model.named_buffers())
    )
    x = torch.empty(2, 2, *shape, device="meta")
    backend = VmapBackend(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        try:
            for training in (True, False):
                backend.logits(params, buffers, x, training=training)
        except Exception:
            return False
    return True
