"""Stacked parameters of K networks in one block of memory, so that an optimiser's step is a handful of operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Layout:
    """Where each parameter of K networks lies in a flat vector.

    Parameter after parameter, and within each, replica after replica: a stacked parameter ``(K, ...)`` is contiguous.

    Args:
        shapes: shape of each parameter, without K.
        lanes: K.
    """

    def __init__(self, shapes: Sequence[torch.Size], lanes: int) -> None:
        self.shapes = list(shapes)
        self.lanes = lanes
        self.sizes = [math.prod(shape) for shape in shapes]
        """Numbers of each parameter in one network."""

    def views(self, flat: Tensor) -> list[Tensor]:
        """The stacked parameters ``(K, ...)`` of a flat vector; they share its memory."""
        parts = torch.split(flat, [self.lanes * size for size in self.sizes])
        return [part.view(self.lanes, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def rows(self, flat: Tensor) -> list[Tensor]:
        """The same as matrices ``(K, size)``."""
        return [part.view(self.lanes, -1) for part in torch.split(flat, [self.lanes * size for size in self.sizes])]

    def spread(self, values: Tensor) -> Tensor:
        """A flat vector that has a replica's value, of ``(K,)``, at each of its numbers."""
        return torch.cat([values[:, None].expand(self.lanes, size).reshape(-1) for size in self.sizes])

    def filled(self, values: Sequence[float], like: Tensor) -> Tensor:
        """A flat vector that has a parameter's value, of one for each parameter, at each of its numbers."""
        sizes = [self.lanes * size for size in self.sizes]
        return torch.cat([like.new_full((size,), value) for size, value in zip(sizes, values, strict=True)])

    def norms(self, flat: Tensor) -> Tensor:
        """Norm ``(K,)`` of each replica's part."""
        return torch.stack([row.square().sum(1) for row in self.rows(flat)]).sum(0).sqrt()


@dataclass(frozen=True, slots=True)
class Flat:
    """A flat ``vector`` and its ``layout``: stacked parameters ``(K, ...)``, or something of each of their numbers."""

    layout: Layout
    vector: Tensor

    @classmethod
    def of(cls, stacked: Sequence[Tensor]) -> Flat:
        """Stacked parameters, each ``(K, ...)``, copied into one block of memory."""
        return cls(Layout([part.shape[1:] for part in stacked], len(stacked[0])), flatten(stacked))

    @property
    def parts(self) -> list[Tensor]:
        """The stacked parameters ``(K, ...)``; they share the vector's memory."""
        return self.layout.views(self.vector)

    def zeros(self) -> Flat:
        """Zeros in the same layout."""
        return Flat(self.layout, torch.zeros_like(self.vector))


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked parameters, or their gradients, as one flat vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
