"""Stratified, seeded parts of a data set, and label noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from lossforge.errors import DataError
from lossforge.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Samples ``x``, float32 of shape ``(N, C, H, W)``, and class indices ``y``, int64 of shape ``(N,)``."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class TaskData:
    """The three parts of a task. Only validation (`lossforge.validation`) reads ``test``."""

    train: Part
    validation: Part
    test: Part
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a sample, ``(C, H, W)``."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    def pooled(self) -> Part:
        """Training and validation parts together: what a re-validation trains on."""
        import torch

        parts = (self.train, self.validation)
        return Part(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


Indices = numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]


def stratified_parts(labels: Indices, sizes: tuple[int, int, int], seed: int) -> tuple[Indices, Indices, Indices]:
    """Indices of train, validation and test with these sizes, each with the classes in proportion.

    The samples are lined up class by class, shuffled within each, and the parts are dealt evenly along
    that line; so a class's share of a part is off by less than four samples, and of an ordinary one by less than two.
    """
    total = len(labels)
    if sum(sizes) > total:
        raise DataError(
            f"train + validation + test = {sum(sizes)} samples, but the data set has {total}; make the parts smaller"
        )
    generator = numpy.random.Generator(numpy.random.PCG64(derive_seed(seed, "split")))
    line = numpy.lexsort((generator.random(total), labels))
    owner = _interleave(total, sizes)
    train, validation, test = (numpy.sort(line[owner == part]) for part in range(3))
    return train, validation, test


def _interleave(total: int, sizes: tuple[int, int, int]) -> Indices:
    """Owner (0, 1, 2; 3 for none) of each of ``total`` places, spread evenly."""
    shares = (*sizes, total - sum(sizes))
    places = numpy.concatenate([(numpy.arange(size) + 0.5) / max(size, 1) for size in shares])
    owners = numpy.repeat(numpy.arange(4), shares)
    return owners[numpy.argsort(places, kind="stable")]


def noisy_labels(labels: Tensor, noise: float, classes: int, seed: int) -> Tensor:
    """Replace a share ``noise`` of the labels, exactly, by classes drawn at random (the true one included)."""
    import torch

    if noise == 0:
        return labels
    generator = torch.Generator().manual_seed(seed)
    count = round(noise * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    noisy = labels.clone()
    noisy[chosen] = torch.randint(classes, (count,), generator=generator)
    return noisy
