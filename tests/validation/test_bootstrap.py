"""Intervals over seeds and test images: how often they hold the truth, and what they say of more images."""

from __future__ import annotations

import numpy
import pytest
from numpy.typing import NDArray

from lossforge.validation.bootstrap import ImageInterval, over_seeds_and_images
from lossforge.validation.statistics import PairedDifference, paired_difference

Table = NDArray[numpy.float64]


def over_seeds(table: Table) -> PairedDifference:
    return paired_difference(table.mean(1).tolist(), resolution=1 / table.shape[1])


def over_both(table: Table) -> ImageInterval:
    return over_seeds_and_images(table, over_seeds(table))


def drawn(count: int, seeds: int, images: int, spread: tuple[float, float, float], first: int = 0) -> Table:
    """Differences of correctness ``(count, seeds, images)``: two losses that see an image alike but for three effects.

    ``spread`` is of seeds, images and both at once, on a scale where an image is right above 0.
    """
    generator = numpy.random.default_rng(first)
    of_seed, of_image, of_both = spread
    common = 1.2 + generator.normal(size=(count, 1, images)) + 0.3 * generator.normal(size=(count, seeds, images))
    other = (
        of_seed * generator.normal(size=(count, seeds, 1))
        + of_image * generator.normal(size=(count, 1, images))
        + of_both * generator.normal(size=(count, seeds, images))
    )
    return (common + other > 0).astype(float) - (common > 0)


@pytest.mark.parametrize(
    ("seeds", "spread"),
    [(8, (0.1, 0.5, 0.5)), (8, (0.3, 0.3, 0.5)), (8, (0.02, 0.6, 0.1)), (16, (0.1, 0.5, 0.3))],
)
def test_two_thousand_studies_hold_the_truth_where_seeds_and_images_vary(
    seeds: int, spread: tuple[float, float, float]
) -> None:
    # The truth is that of very many seeds and images; 500 studies of each kind, 2,000 in all.
    truth = float(drawn(1, 400, 40_000, spread, first=1).mean())
    tables = drawn(500, seeds, 150, spread, first=2)
    found = [over_both(table) for table in tables]
    assert sum(one.low <= truth <= one.high for one in found) >= 0.93 * len(found)
    # An interval over seeds alone speaks of these images: it is the shorter, and misses the truth on others.
    alone = [over_seeds(table) for table in tables]
    assert all(a.low <= b.low and b.high <= a.high for a, b in zip(found, alone, strict=True))


def test_seeds_alone_miss_the_truth_of_other_images() -> None:
    truth = float(drawn(1, 400, 40_000, (0.02, 0.6, 0.1), first=1).mean())
    alone = [over_seeds(table) for table in drawn(500, 8, 150, (0.02, 0.6, 0.1), first=2)]
    assert sum(one.low <= truth <= one.high for one in alone) < 0.8 * len(alone)


def test_the_width_is_that_of_the_analysis_of_variance() -> None:
    generator = numpy.random.default_rng(0)
    widths = []
    for _ in range(50):
        table = generator.normal(size=(30, 1)) * 0.1 + generator.normal(size=300) * 0.5
        table = table + generator.normal(size=(30, 300))
        found = over_seeds_and_images(table, paired_difference(table.mean(1).tolist(), resolution=1e-9))
        widths.append(found.high - found.low)
    exact = 2 * 1.96 * (0.1**2 / 30 + 0.5**2 / 300 + 1 / (30 * 300)) ** 0.5
    assert numpy.mean(widths) == pytest.approx(exact, rel=0.05)


def test_the_draws_never_vary() -> None:
    (table,) = drawn(1, 8, 150, (0.1, 0.5, 0.5))
    assert over_both(table) == over_both(table)
    # Whole numbers add up to the same in any order, so the order of the images says nothing but by the draws.
    turned = over_both(-table)
    again = over_both(table)
    assert (turned.low, turned.high) == pytest.approx((-again.high, -again.low))


def test_the_images_that_are_named_settle_it() -> None:
    generator = numpy.random.default_rng(3)

    def study(images: int) -> Table:
        of_image = numpy.sign(generator.normal(size=images) - 1.8) * (generator.random(images) < 0.3)
        return numpy.broadcast_to(of_image, (8, images)) * (generator.random((8, images)) < 0.9)

    base = study(2_000)[:, :200]
    table = base - base.mean() + 0.03
    found = over_both(table)
    assert found.low < 0 < over_seeds(table).low
    assert found.images == 200
    needed = found.images_to_settle
    assert needed is not None
    assert 200 < needed < 200_000
    # As many images of the same kind: the same columns, repeated.
    repeated = numpy.tile(table, (1, -(-needed // 200)))
    assert over_both(repeated).low > 0
    half = numpy.tile(table, (1, needed // 400))
    assert over_both(half).low < 0


def test_where_seeds_are_too_few_no_number_of_images_settles_it() -> None:
    generator = numpy.random.default_rng(0)
    table = numpy.where(numpy.arange(8) % 2, 0.3, -0.28)[:, None] + generator.normal(size=(8, 300)) * 0.01
    found = over_both(table)
    assert found.low < 0 < found.high
    assert found.images_to_settle is None


def test_what_is_settled_needs_no_more_images() -> None:
    (table,) = drawn(1, 8, 150, (0.05, 0.1, 0.1))
    assert over_both(table + 0.5).images_to_settle == 150


def test_equal_differences_have_the_width_of_the_seeds_interval() -> None:
    table = numpy.zeros((8, 100))
    alone, found = over_seeds(table), over_both(table)
    assert (found.low, found.high) == (alone.low, alone.high)
    assert found.low < 0 < found.high


@pytest.mark.parametrize("shape", [(1, 10), (8, 1), (8, 0)])
def test_one_of_either_is_no_sample(shape: tuple[int, int]) -> None:
    alone = paired_difference([0.0, 0.1], resolution=0.1)
    with pytest.raises(ValueError, match="two seeds and two images or more"):
        over_seeds_and_images(numpy.zeros(shape), alone)
