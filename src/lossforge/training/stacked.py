"""Stacked parameters of K networks in one block of memory, so that an optimiser's step is a handful of operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

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

    def norms(self, flat: Tensor) -> Tensor:
        """Norm ``(K,)`` of each replica's part."""
        return torch.stack([row.square().sum(1) for row in self.rows(flat)]).sum(0).sqrt()

    def take(self, flats: Sequence[tuple[Layout, Tensor]], lanes: Sequence[tuple[int, int]]) -> Tensor:
        """A flat vector of this layout, its lanes taken from others': each is (which vector, which lane)."""
        rows = [layout.rows(flat) for layout, flat in flats]
        return torch.cat(
            [
                torch.stack([rows[source][place][lane] for source, lane in lanes]).reshape(-1)
                for place in range(len(self.sizes))
            ]
        )


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked parameters, or their gradients, as one flat vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
