"""Parts of samples with several labels each, every label as evenly divided as can be.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, *On the Stratification of Multi-Label Data*, ECML PKDD
2011): the rarest label that is left is dealt out first, each of its samples to the part that wants most of it.
"""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from lossforge.data.samples import Labels
from lossforge.seeding import derive_seed


def owners_by_label(rows: Labels, sizes: tuple[int, ...], seed: int) -> NDArray[numpy.int64]:
    """The part ``(N,)`` of each sample, of as many parts as there are ``sizes``; these add up to N and are kept.

    ``rows`` ``(N, C)`` hold 0 and 1. The parts depend on rows, sizes and seed alone.
    """
    total = len(rows)
    generator = numpy.random.Generator(numpy.random.PCG64(derive_seed(seed, "split")))
    # A line of all samples, shuffled: ties fall to whoever stands first in it.
    line = generator.permutation(total)
    room = numpy.array(sizes, dtype=numpy.int64)
    shares = room / max(total, 1)
    wanted = shares[:, None] * rows.sum(axis=0)[None, :]
    owner = numpy.full(total, -1, dtype=numpy.int64)
    left = rows.sum(axis=0)
    while left.any():
        rarest = int(numpy.where(left > 0, left, total + 1).argmin())
        for sample in line[(rows[line, rarest] == 1) & (owner[line] < 0)]:
            # Of equals the part with most room; of those the first.
            score = numpy.where(room > 0, wanted[:, rarest], -numpy.inf)
            best = numpy.flatnonzero(score == score.max())
            part = int(best[numpy.argmax(room[best])])
            owner[sample] = part
            room[part] -= 1
            wanted[part] -= rows[sample]
            left -= rows[sample]
    rest = line[owner[line] < 0]
    owner[rest] = _evenly(room)
    return owner


def _evenly(room: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """A part for each of as many places as there is room, spread evenly."""
    places = numpy.concatenate([(numpy.arange(size) + 0.5) / max(size, 1) for size in room])
    return numpy.repeat(numpy.arange(len(room)), room)[numpy.argsort(places, kind="stable")]
