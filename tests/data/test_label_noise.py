"""Labels made wrong: how many, which, and as what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe, first_lines
from lossforge.data.label_noise import confused_labels, instance_labels, noisy_labels, wrong_labels
from lossforge.data.noise_kinds import SYMMETRIC
from lossforge.data.splits import Part, TaskData
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import TaskSection

SEEDS = st.integers(0, 2**63 - 1)


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


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(0, 40), min_size=3, max_size=3), noise=st.floats(0, 1), seed=SEEDS)
def test_of_each_class_exactly_its_share_is_taken_for_the_other(counts: list[int], noise: float, seed: int) -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
    noisy = confused_labels(labels, noise, (2, 1, 0), seed)
    for source, target in ((0, 2), (2, 0)):
        own = noisy[labels == source]
        assert int((own == target).sum()) == round(noise * counts[source])
        assert int((own == source).sum()) == counts[source] - round(noise * counts[source])
    assert torch.equal(noisy[labels == 1], labels[labels == 1])


def digits(**keys: object) -> TaskData:
    return load_task(TaskSection(data="digits", **keys), "cpu")  # type: ignore[arg-type]


def test_instance_noise_has_its_mean_rate_and_errs_alike_on_samples_that_are_alike() -> None:
    part = digits().train
    twice = Part(torch.cat([part.x, part.x + 1e-4]), torch.cat([part.y, part.y]))
    noisy = instance_labels(twice, 0.5, 10, seed=3)
    wrong = noisy != twice.y
    assert float(wrong.double().mean()) == pytest.approx(0.5, abs=0.03)
    first, second = noisy.chunk(2)
    both = wrong[: len(part)] & wrong[len(part) :]
    # Two draws of another class at random would agree in a ninth of the cases.
    assert float((first == second)[both].double().mean()) > 0.6
    assert torch.equal(noisy, instance_labels(twice, 0.5, 10, seed=3))
    assert not torch.equal(noisy, instance_labels(twice, 0.5, 10, seed=4))
    assert not torch.equal(noisy, noisy_labels(twice.y, 0.5, 10, 3))


def test_instance_noise_is_the_same_for_bytes_and_for_what_they_mean() -> None:
    stored = Part(
        (torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 255).byte(), torch.arange(300) % 3
    )
    scaled = Part(stored.x.float() / 255, stored.y)
    assert torch.equal(instance_labels(stored, 0.3, 3, 1), instance_labels(scaled, 0.3, 3, 1))


def test_symmetric_noise_is_what_it_has_always_been() -> None:
    part = digits().train
    labels = wrong_labels(SYMMETRIC, part, 0.4, 10, seed=7)
    assert labels is not None
    assert torch.equal(labels, noisy_labels(part.y, 0.4, 10, derive_seed(7, "noise")))
    assert wrong_labels(SYMMETRIC, part, 0.0, 10, seed=7) is None


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "symmetric label noise: for every seed 40% of the training labels are drawn anew from all classes, so"),
        ({"noise_kind": "asymmetric"}, "for every seed 40% of '2' as '7', '3' as '8', '5' as '6', '6' as '5', '7' as"),
        ({"noise_kind": "instance"}, "for every seed about 40.0% of the training labels are wrong, by what a sample"),
    ],
)
def test_doctor_and_a_search_tell_what_the_noise_does(keys: dict[str, str], told: str) -> None:
    data = digits(label_noise=0.4, **keys)
    rows = [text for name, state, text in describe(data) if (name, state) == ("labels", "note")]
    assert len(rows) == 1
    assert told in rows[0]
    assert "labels that are scored on are the true ones" in rows[0]
    assert rows[0] in first_lines(data, "accuracy")


def test_without_noise_nothing_is_told() -> None:
    assert digits().labels == ()
    assert digits(noise_kind="asymmetric").labels == ()
