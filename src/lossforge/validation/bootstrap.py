"""An interval that lets both vary: the seeds, and the test images.

Over seeds alone an interval speaks of these test images. Whether a gain would be there on others of their kind is a
question to the images: a difference of two losses is a table, a row a seed and a column an image, and both are samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.validation.statistics import PairedDifference, t_quantile

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

DRAWS = 2_000
MOST_IMAGES = 100_000_000
"""Images beyond which none are named."""
_AT_ONCE = 4_000_000
"""Counts that are numbers of eight bytes at one time."""


@dataclass(frozen=True, slots=True)
class ImageInterval:
    """Interval of a mean difference over seeds and test images, in the unit of the differences.

    ``images`` are in the test part; ``images_to_settle`` is how many the interval would leave 0 out with, were mean
    and spread to stay as they are (None: the seeds show nothing on these images either, or are too few for any number).
    """

    low: float
    high: float
    images: int
    images_to_settle: int | None


@dataclass(frozen=True, slots=True)
class _MeanSquares:
    """Of a two-way table without repetition: between seeds, between images, and of the rest."""

    seeds: float
    images: float
    rest: float

    @classmethod
    def of(cls, table: NDArray[numpy.float64]) -> _MeanSquares:
        seeds, images = table.shape
        mean, rows, columns = table.mean(), table.mean(1), table.mean(0)
        rest = table - rows[:, None] - columns + mean
        return cls(
            images * float(((rows - mean) ** 2).sum()) / (seeds - 1),
            seeds * float(((columns - mean) ** 2).sum()) / (images - 1),
            float((rest**2).sum()) / ((seeds - 1) * (images - 1)),
        )

    def error(self, seeds: int, images: int) -> tuple[float, float]:
        """Standard error of the mean of a table of this size, and its degrees of freedom (Satterthwaite 1946).

        Where the unbiased estimate is below that of seeds or images alone, the larger of these stands in for it.
        """
        count = seeds * images
        own, other, rest = self.seeds / count, self.images / count, self.rest / count
        variance = max(own + other - rest, own, other)
        parts = own**2 / (seeds - 1) + other**2 / (images - 1) + rest**2 / ((seeds - 1) * (images - 1))
        least_degrees = min(seeds, images) - 1
        return math.sqrt(variance), max(least_degrees, variance**2 / parts) if parts else least_degrees

    def with_images(self, images: int, now: int) -> _MeanSquares:
        """What they are expected to be for another number of images."""
        return _MeanSquares(self.rest + max(0.0, self.seeds - self.rest) / now * images, self.images, self.rest)


def over_seeds_and_images(
    table: NDArray[numpy.float64], over_seeds: PairedDifference, *, confidence: float = 0.95
) -> ImageInterval:
    """Interval of the mean of a table ``(seeds, images)`` of differences, 2 or more of each.

    Seeds and images are drawn anew, independently (the pigeonhole bootstrap, Owen, Annals of Applied Statistics 1,
    2007, 386-411). Its percentiles are as far from the mean as Student's t asks for: few seeds make a percentile
    interval too short (Hesterberg, The American Statistician 69, 2015, 371-386), and Owen's variance counts what
    varies by seed and image at once three times; so they are scaled to the standard error of the two-way analysis of
    variance. The interval reaches no less far than ``over_seeds``, the same difference on these images alone, which
    must be in the table's unit; so does what the resolution adds to it.

    The draws never vary: the same table has the same interval. Raises ValueError for a table that is too small.
    """
    import numpy
    from scipy.special import ndtri

    seeds, images = table.shape
    if seeds < 2 or images < 2:
        raise ValueError(f"an interval over both needs two seeds and two images or more, not {seeds} and {images}")
    squares, mean = _MeanSquares.of(table), float(table.mean())
    error, degrees = squares.error(seeds, images)
    drawn = _drawn_means(table)
    spread = float(drawn.std())
    low = high = mean
    if spread:
        wider = error / spread * t_quantile((1 + confidence) / 2, degrees) / float(ndtri((1 + confidence) / 2))
        ends = numpy.quantile(drawn - drawn.mean(), [(1 - confidence) / 2, (1 + confidence) / 2])
        low, high = (mean + wider * float(end) for end in ends)
    low, high = min(low, over_seeds.low), max(high, over_seeds.high)

    def settles(count: int) -> bool:
        error, degrees = squares.with_images(count, images).error(seeds, count)
        return abs(mean) > t_quantile((1 + confidence) / 2, degrees) * error

    needed: int | None = images
    if low <= 0 <= high:
        shown = over_seeds.low > 0 or over_seeds.high < 0
        needed = _least(settles, images + 1, MOST_IMAGES) if shown else None
    return ImageInterval(low, high, images, needed)


def _drawn_means(table: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Means ``(DRAWS,)`` of tables whose seeds and images are drawn from this one's, with repetition.

    The counts are whole numbers, and so are sums of differences of correctness: no order of adding changes them.
    """
    import numpy

    seeds, images = table.shape
    of_seeds, of_images = _drawn_counts(seeds, 0), _drawn_counts(images, 1)
    step = max(1, _AT_ONCE // images)
    by_seed = numpy.concatenate(
        [of_images[start : start + step].astype(float) @ table.T for start in range(0, DRAWS, step)]
    )
    means: NDArray[numpy.float64] = (by_seed * of_seeds).sum(1) / (seeds * images)
    return means


@lru_cache(maxsize=4)
def _drawn_counts(count: int, stream: int) -> NDArray[numpy.uint8]:
    """How often each of ``count`` is in each draw, ``(DRAWS, count)``."""
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64([20070601, stream]))
    counts = numpy.empty((DRAWS, count), numpy.uint8)
    for row in counts:
        row[:] = numpy.bincount(generator.integers(count, size=count), minlength=count)
    return counts


def _least(holds: Callable[[int], bool], first: int, last: int) -> int | None:
    """The least whole number from ``first`` to ``last`` for which it holds; None where there is none.

    What holds for one number must hold for all larger ones.
    """
    high = first
    while not holds(high):
        if high >= last:
            return None
        first, high = high + 1, min(2 * high, last)
    while first < high:
        middle = (first + high) // 2
        first, high = (first, middle) if holds(middle) else (middle + 1, high)
    return high
