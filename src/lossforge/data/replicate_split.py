"""How a replicate draws its own training and validation part from a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from lossforge.data.iterative_stratification import owners_by_label
from lossforge.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

Indices = NDArray[numpy.int64]


@dataclass(frozen=True, slots=True)
class ReplicateSplit:
    """How a replicate's parts are drawn.

    ``strata`` are the pool's classes ``(N,)`` or labels ``(N, C)``; ``train`` and ``validation`` say how many samples
    of each class the parts take ``(C,)``: the same for every replicate. Of rows of labels they are one number each.
    """

    strata: Indices
    train: Indices
    validation: Indices

    @property
    def train_size(self) -> int:
        """Samples of a training part."""
        return int(self.train.sum())

    def rows(self, seed: int) -> tuple[Tensor, Tensor]:
        """Places in the pool of the training part ``(n,)`` and of the validation part ``(m,)`` that a seed draws.

        They are sorted, have no place in common, and each class is in both as often as it always is.
        """
        import torch

        seed = derive_seed(seed, "split")
        if self.strata.ndim == 2:
            sizes = int(self.train.sum()), int(self.validation.sum())
            owner = owners_by_label(self.strata, (*sizes, 0, len(self.strata) - sum(sizes)), seed)
            return torch.from_numpy(numpy.flatnonzero(owner == 0)), torch.from_numpy(numpy.flatnonzero(owner == 1))
        generator = numpy.random.Generator(numpy.random.PCG64(seed))
        chosen: tuple[list[Indices], list[Indices]] = ([], [])
        for label, (first, second) in enumerate(zip(self.train, self.validation, strict=True)):
            mixed = generator.permutation(numpy.flatnonzero(self.strata == label))
            chosen[0].append(mixed[second : second + first])
            chosen[1].append(mixed[:second])
        train, validation = (torch.from_numpy(numpy.sort(numpy.concatenate(parts))) for parts in chosen)
        return train, validation
