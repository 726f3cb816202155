"""Figures of several labels a sample, against scikit-learn."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor

from lossforge.losses.heads import HEADS
from lossforge.training.label_metrics import average_precision, label_metrics
from lossforge.training.metrics import chance_score, classification_metrics, metrics_of


@st.composite
def samples(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits and labels ``(N, C)``, with equal logits, labels that nobody has, and samples without any."""
    count, labels = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = torch.randn(count, labels, generator=generator)
    if draw(st.booleans()):
        logits = logits.round()
    shares = torch.rand(labels, generator=generator) * draw(st.sampled_from([0.1, 1.0]))
    return logits, (torch.rand(count, labels, generator=generator) < shares).long()


@settings(deadline=None, max_examples=100)
@given(samples())
def test_every_figure_is_scikit_learns(drawn: tuple[Tensor, Tensor]) -> None:
    logits, target = drawn
    true, scores, guessed = target.numpy(), logits.numpy(), (logits > 0).long().numpy()
    found = label_metrics(logits, target)
    assert found["f1_micro"] == pytest.approx(
        reference.f1_score(true, guessed, average="micro", zero_division=0), abs=2e-6
    )
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(true, guessed), abs=2e-6)
    by_label = reference.f1_score(true, guessed, average=None, zero_division=0)
    occurring = (true.sum(0) + guessed.sum(0)) > 0
    macro = by_label[occurring].mean() if occurring.any() else 0.0
    assert found["f1_macro"] == pytest.approx(macro, abs=2e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no sample has a label
        precision = reference.average_precision_score(true, scores, average=None)
    present = true.any(0)
    assert average_precision(logits, target.bool()).tolist() == pytest.approx(precision.tolist(), abs=1e-9)
    mean = precision[present].mean() if present.any() else 0.0
    assert found["mean_average_precision"] == pytest.approx(mean, abs=2e-6)
    known = [
        None if not there else pytest.approx(value, abs=2e-6) for there, value in zip(present, precision, strict=True)
    ]
    assert found["label_average_precision"] == known
    assert json.loads(json.dumps(found)) == found


def test_ranking_alone_decides_average_precision() -> None:
    logits, target = torch.randn(50, 3), torch.rand(50, 3) < 0.3
    target[0] = True
    assert average_precision(logits, target).equal(average_precision(3 * logits - 100, target))
    assert average_precision(target.float(), target).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["mean_average_precision", "f1_micro", "f1_macro"])
def test_what_knows_nothing_is_no_better_than_chance(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    target = (torch.rand(20_000, 4, generator=generator) < torch.tensor([0.6, 0.3, 0.1, 0.02])).long()
    chance = chance_score(target.sum(0), name, len(target))
    always = [torch.zeros(4).index_fill(0, torch.arange(count), 1.0).expand(20_000, 4) for count in range(1, 5)]
    guesses = [*always, torch.rand(20_000, 4, generator=generator)]
    found = max(float(label_metrics(2 * guess - 1, target)[name]) for guess in guesses)  # type: ignore[arg-type]
    assert found == pytest.approx(chance, abs=0.02)


def test_one_class_a_sample_behind_sigmoids_has_the_figures_of_both() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, target = torch.randn(100, 4, generator=generator), torch.arange(100) % 4
    found = metrics_of(logits, target, HEADS["sigmoid"])
    rows = torch.nn.functional.one_hot(target, 4)
    assert {name: found[name] for name in ("accuracy", "f1_micro", "mean_average_precision")} == {
        "accuracy": round(float((logits.argmax(1) == target).double().mean()), 6),
        **{name: label_metrics(logits, rows)[name] for name in ("f1_micro", "mean_average_precision")},
    }
    likelihood = torch.nn.functional.binary_cross_entropy_with_logits(logits, rows.float(), reduction="none").sum(1)
    assert found["negative_log_likelihood"] == pytest.approx(float(likelihood.mean()), abs=2e-6)
    assert metrics_of(logits, rows, HEADS["sigmoid"])["negative_log_likelihood"] == found["negative_log_likelihood"]


def test_a_binary_head_has_the_figures_of_two_classes() -> None:
    generator = torch.Generator().manual_seed(3)
    z, target = torch.randn(200, 1, generator=generator), torch.arange(200) % 2
    both = torch.cat([torch.zeros_like(z), z], 1)
    found, wanted = metrics_of(z, target, HEADS["binary"]), classification_metrics(both, target)
    assert found.pop("confusion_matrix") == wanted.pop("confusion_matrix")
    assert found == pytest.approx(wanted, abs=2e-6)
