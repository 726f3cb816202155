from __future__ import annotations

import numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lossforge.data.splits import stratified_parts

Rows = NDArray[numpy.int64]
SEEDS = st.integers(0, 2**31)


@st.composite
def divisions(draw: st.DrawFn) -> tuple[Rows, tuple[int, int, int]]:
    """Rows of labels, of any shares, and sizes of three parts."""
    count, labels = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    generator = numpy.random.default_rng(draw(SEEDS))
    rows = (generator.random((count, labels)) < generator.random(labels)).astype(numpy.int64)
    first = draw(st.integers(0, count))
    second = draw(st.integers(0, count - first))
    return rows, (first, second, draw(st.integers(0, count - first - second)))


@settings(deadline=None, max_examples=100)
@given(divisions(), SEEDS)
def test_parts_are_disjoint_of_the_sizes_asked_and_the_same_each_time(
    division: tuple[Rows, tuple[int, int, int]], seed: int
) -> None:
    rows, sizes = division
    parts = stratified_parts(rows, sizes, seed)
    together = numpy.concatenate(parts)
    assert tuple(map(len, parts)) == sizes
    assert len(numpy.unique(together)) == len(together)
    numpy.random.seed(3)
    assert all(map(numpy.array_equal, parts, stratified_parts(rows, sizes, seed)))


def test_rare_labels_are_divided_more_evenly_than_by_chance() -> None:
    generator = numpy.random.default_rng(0)
    shares = numpy.array([0.4, 0.2, 0.05, 0.02, 0.01])
    rows = (generator.random((1000, 5)) < shares).astype(numpy.int64)
    sizes = (600, 150, 250)

    def off(parts: tuple[NDArray[numpy.int64], ...]) -> float:
        """Largest difference from a label's proportion, in samples."""
        return max(
            float(numpy.abs(rows[part].sum(0) - rows.sum(0) * size / 1000).max())
            for part, size in zip(parts, sizes, strict=True)
        )

    found = max(off(stratified_parts(rows, sizes, seed)) for seed in range(5))
    order = [numpy.split(numpy.random.default_rng(seed).permutation(1000), [600, 750]) for seed in range(5)]
    assert found < 3
    assert found < min(off(tuple(parts)) for parts in order)


def test_a_label_that_two_samples_have_is_in_two_parts() -> None:
    rows = numpy.zeros((100, 2), numpy.int64)
    rows[:50, 0] = rows[[3, 70], 1] = 1
    for seed in range(10):
        train, _, test = stratified_parts(rows, (50, 0, 50), seed)
        assert rows[train, 1].sum() == rows[test, 1].sum() == 1


def test_another_seed_gives_other_parts() -> None:
    rows = (numpy.random.default_rng(1).random((60, 3)) < 0.3).astype(numpy.int64)
    assert len({tuple(stratified_parts(rows, (30, 15, 15), seed)[0].tolist()) for seed in range(5)}) == 5
