from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lossforge.data.splits import Part, TaskData, stratified_parts
from lossforge.errors import DataError

SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def divisions(draw: st.DrawFn) -> tuple[list[int], tuple[int, int, int]]:
    """Samples of each class, and the sizes of three parts."""
    counts = draw(st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any))
    rest, sizes = sum(counts), []
    for _ in range(3):
        sizes.append(draw(st.integers(0, rest)))
        rest -= sizes[-1]
    first, second, third = draw(st.permutations(sizes))
    return counts, (first, second, third)


def labels_of(counts: list[int], seed: int = 0) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]:
    labels = numpy.repeat(numpy.arange(len(counts)), counts)
    return numpy.random.default_rng(seed).permutation(labels)


@settings(deadline=None)
@given(division=divisions(), seed=SEEDS)
def test_parts_are_disjoint_and_of_the_sizes_asked(division: tuple[list[int], tuple[int, int, int]], seed: int) -> None:
    counts, sizes = division
    parts = stratified_parts(labels_of(counts), sizes, seed)
    together = numpy.concatenate(parts).tolist()
    assert tuple(len(part) for part in parts) == sizes
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(sum(counts)))


@settings(deadline=None, max_examples=200)
@given(division=divisions(), seed=SEEDS)
@example(division=([50, 3, 50], (100, 1, 1)), seed=0)
def test_a_classs_share_of_a_part_is_off_by_less_than_four_samples(
    division: tuple[list[int], tuple[int, int, int]], seed: int
) -> None:
    counts, sizes = division
    labels = labels_of(counts)
    for part, size in zip(stratified_parts(labels, sizes, seed), sizes, strict=True):
        found = numpy.bincount(labels[part], minlength=len(counts))
        wanted = numpy.array(counts) * size / sum(counts)
        assert numpy.abs(found - wanted).max() < 4


@settings(deadline=None, max_examples=30)
@given(division=divisions(), seed=SEEDS)
def test_parts_depend_on_labels_sizes_and_seed_alone(
    division: tuple[list[int], tuple[int, int, int]], seed: int
) -> None:
    counts, sizes = division
    numpy.random.seed(1)
    first = stratified_parts(labels_of(counts), sizes, seed)
    numpy.random.seed(2)
    second = stratified_parts(labels_of(counts), sizes, seed)
    assert [part.tolist() for part in first] == [part.tolist() for part in second]


def test_another_seed_gives_other_parts_of_the_same_balance() -> None:
    labels = labels_of([40, 40])
    found = [stratified_parts(labels, (40, 20, 20), seed) for seed in range(5)]
    assert len({tuple(train.tolist()) for train, _, _ in found}) == 5
    assert {tuple(numpy.bincount(labels[train]).tolist()) for train, _, _ in found} == {(20, 20)}


def test_every_sample_gets_its_turn_in_every_part() -> None:
    labels = labels_of([10, 10])
    seen: list[set[int]] = [set(), set(), set()]
    for seed in range(60):
        for part, chosen in zip(seen, stratified_parts(labels, (10, 5, 5), seed), strict=True):
            part.update(chosen.tolist())
    assert seen == [set(range(20))] * 3


def test_parts_larger_than_the_data_are_refused() -> None:
    with pytest.raises(DataError, match=r"train \+ validation \+ test = 12 samples, but the data set has 10"):
        stratified_parts(labels_of([5, 5]), (6, 3, 3), 0)


def part(start: int, count: int) -> Part:
    return Part(torch.arange(start, start + count).float().view(count, 1, 1, 1), torch.arange(start, start + count))


def test_pooling_joins_training_and_validation_and_leaves_the_test_out() -> None:
    data = TaskData(part(0, 5), part(5, 3), part(8, 4), classes=12)
    pooled = data.pooled()
    assert pooled.y.tolist() == list(range(8))
    assert pooled.x.flatten().tolist() == list(range(8))
    assert (len(data.train), len(data.validation), len(data.test)) == (5, 3, 4)


def test_the_shape_is_a_samples() -> None:
    data = TaskData(Part(torch.zeros(5, 3, 8, 9), torch.zeros(5)), part(5, 3), part(8, 4), classes=12)
    assert data.shape == (3, 8, 9)
