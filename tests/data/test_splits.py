from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lossforge.data.splits import Part, TaskData, noisy_labels, stratified_parts
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


@settings(deadline=None, max_examples=40)
@given(count=st.integers(0, 300), noise=st.floats(0, 1), seed=SEEDS)
def test_the_share_of_noise_is_exact(count: int, noise: float, seed: int) -> None:
    # With so many classes a label drawn at random is never the true one.
    labels = torch.arange(count)
    noisy = noisy_labels(labels, noise, 2**40, seed)
    assert int((noisy != labels).sum()) == round(noise * count)


def test_noise_draws_every_class_the_true_one_included() -> None:
    labels = torch.zeros(10_000, dtype=torch.int64)
    counts = torch.bincount(noisy_labels(labels, 0.8, 4, 0), minlength=4)
    assert counts.sum() == 10_000
    assert all(1_850 < int(count) < 2_150 for count in counts[1:])


def test_noise_is_seeded_and_leaves_the_callers_state() -> None:
    labels = torch.arange(200) % 10
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = noisy_labels(labels, 0.5, 10, 2**63 - 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(first, noisy_labels(labels, 0.5, 10, 2**63 - 1))
    assert not torch.equal(first, noisy_labels(labels, 0.5, 10, 1))


def test_the_true_labels_are_not_changed() -> None:
    labels = torch.arange(100) % 10
    before = labels.clone()
    assert not torch.equal(noisy_labels(labels, 0.9, 10, 0), before)
    assert torch.equal(labels, before)
    assert torch.equal(noisy_labels(labels, 0.0, 10, 0), before)


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


def test_noise_in_several_labels_leaves_each_as_frequent_as_it_was() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(1000, 3, generator=generator) < torch.tensor([0.5, 0.2, 0.02])).long()
    noisy = noisy_labels(rows, 0.4, 3, seed=5)
    assert noisy.sum(0).tolist() == rows.sum(0).tolist()
    assert noisy_labels(rows, 0.4, 3, seed=5).equal(noisy)
    assert not noisy_labels(rows, 0.4, 3, seed=6).equal(noisy)
    # Of the 40 % that are dealt out anew, 2 p (1 - p) come out as the other value.
    changed = (noisy != rows).float().mean(0)
    assert torch.allclose(changed, 0.4 * 2 * rows.float().mean(0) * (1 - rows.float().mean(0)), atol=0.03)
    assert noisy_labels(rows, 0.0, 3, seed=5).equal(rows)
