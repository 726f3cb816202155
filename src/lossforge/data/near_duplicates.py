"""Images that are nearly equal: the same picture saved, scaled or lit in another way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from lossforge.data.duplicate_counts import BAD_FROM
from lossforge.data.duplicates import digests

if TYPE_CHECKING:
    from lossforge.data.duplicates import Parts
    from lossforge.data.splits import Part

_SMALLEST = 16
"""Smaller images of one kind are alike without being one picture."""
_SIDE = 32
"""Side of the grey thumbnails that are compared."""
_LOW = 8
"""Frequencies along each side whose signs are the hash."""
_BITS = _LOW * _LOW - 1
_BITS_APART = 6
"""Largest distance of two hashes up to which their thumbnails are compared."""
_ALIKE = 0.99
"""Correlation of two thumbnails from which they show the same picture."""
_FLAT = 1e-3
"""Share of its largest value below which a thumbnail's deviation shows nothing."""
_AT_ONCE = 256
_PAIRS = 2**16
_KNOWN = 200_000
"""Training samples that are looked among: their thumbnails take 400 MB."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Of the first ``tests`` and ``validations`` samples of their parts, how many look like a training sample.

    What is equal to one in every value is not counted.
    """

    test: int
    validation: int
    tests: int
    validations: int

    @property
    def bad(self) -> bool:
        """Whether they are so many that scores are not to be believed."""
        return self.test >= BAD_FROM * self.tests > 0 or self.validation >= BAD_FROM * self.validations > 0

    @property
    def told(self) -> str:
        """One sentence."""
        return (
            f"{self.test:,} of {self.tests:,} test samples and {self.validation:,} of {self.validations:,} validation "
            "samples look like a training sample (perceptual hash), as copies that were saved or scaled again do"
        )


def near_duplicates(parts: Parts, most: int = 10_000) -> NearDuplicates | None:
    """Look for up to ``most`` samples of the test and the validation part in the training part; None for small images.

    A hash is the signs of the low frequencies of a grey thumbnail (the perceptual hash of N. Krawetz, *Looks Like It*,
    2011); thumbnails of similar hashes are compared by their correlation. Neither sees brightness or contrast. Of the
    training part the first 200,000 are looked at.
    """
    if min(parts.train.x.shape[2:]) < _SMALLEST:
        return None
    train = parts.train.first(_KNOWN)
    known, equal = _Sketches(train), digests(train)
    found = []
    for whole in (parts.test, parts.validation):
        part = whole.first(most)
        alike = known.like(_Sketches(part)).numpy() & ~numpy.isin(digests(part), equal)
        found.append((int(alike.sum()), len(part)))
    (test, tests), (validation, validations) = found
    return NearDuplicates(test, validation, tests, validations)


class _Sketches:
    """Of N images the hashes, -1 or 1, ``(N, 63)``, and grey thumbnails of mean 0 and length 1, ``(N, 1024)``."""

    def __init__(self, part: Part) -> None:
        waves = _cosines()
        hashes, thumbnails = [], []
        for chunk in part.chunks(1024):
            grey = chunk.cpu().float().mean(1, keepdim=True)
            small = functional.interpolate(grey, (_SIDE, _SIDE), mode="bilinear", antialias=True)[:, 0]
            flat = small.flatten(1)
            flat = flat - flat.mean(1, keepdim=True)
            length = flat.norm(dim=1, keepdim=True)
            shown = length > _FLAT * _SIDE * small.abs().amax((1, 2)).clamp(min=1e-30)[:, None]
            thumbnails.append(torch.where(shown, flat / length.clamp(min=1e-30), 0.0).half())
            low = (waves @ small @ waves.T).flatten(1)[:, 1:]
            hashes.append(torch.where(low > low.median(1, keepdim=True).values, 1.0, -1.0))
        self.hashes = torch.cat(hashes)
        self.thumbnails = torch.cat(thumbnails)

    def like(self, others: _Sketches) -> Tensor:
        """Whether each of the others, ``(N,)``, looks like one of these."""
        best = torch.zeros(len(others.hashes))
        for start in range(0, len(best), _AT_ONCE):
            # The product of two hashes is the bits that they share less those that they do not.
            shared = others.hashes[start : start + _AT_ONCE] @ self.hashes.T
            theirs, ours = (shared >= _BITS - 2 * _BITS_APART).nonzero(as_tuple=True)
            for first in range(0, len(ours), _PAIRS):
                their, our = start + theirs[first : first + _PAIRS], ours[first : first + _PAIRS]
                alike = (others.thumbnails[their].float() * self.thumbnails[our].float()).sum(1)
                best.scatter_reduce_(0, their, alike, "amax")
        return best >= _ALIKE


def _cosines() -> Tensor:
    """The first waves of the discrete cosine transform, ``(8, 32)``."""
    place = torch.arange(_SIDE) + 0.5
    return torch.stack([torch.cos(math.pi * frequency * place / _SIDE) for frequency in range(_LOW)])
