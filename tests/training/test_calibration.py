"""Temperatures and what they leave of a miscalibration, against scipy, scikit-learn and torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from lossforge.losses.heads import HEADS
from lossforge.training.calibration import halves, scaled_metrics, temperature
from lossforge.training.metrics import metrics_of_test_part

Batch = tuple[torch.Tensor, torch.Tensor]


def batch(samples: int, classes: int, size: float, seed: int) -> Batch:
    """Logits ``(N, C)`` that know something of the classes ``(N,)``."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (samples,), generator=generator)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return size * (logits + 1.5 * torch.nn.functional.one_hot(target, classes)), target


def scipys(logits: torch.Tensor, target: torch.Tensor) -> float:
    """The temperature by scipy: least cross-entropy of targets mixed with one sample's worth of doubt."""
    doubt = 1 / (len(target) + 1)

    def loss(log_temperature: float) -> float:
        scaled = logits / numpy.exp(log_temperature)
        return float(torch.nn.functional.cross_entropy(scaled, target, label_smoothing=doubt))

    return float(numpy.exp(minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize("size", [0.02, 1.0, 40.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_temperature_is_the_one_that_an_optimiser_finds(classes: int, size: float) -> None:
    logits, target = batch(300, classes, size, seed=classes)
    assert float(temperature(logits, target)) == pytest.approx(scipys(logits, target), rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_a_temperature_goes_with_the_logits(classes: int, size: float, seed: int) -> None:
    logits, target = batch(40, classes, 1.0, seed)
    expected = size * float(temperature(logits, target))
    assert float(temperature(size * logits, target)) == pytest.approx(expected, rel=1e-6)
    # What is added to every logit of a sample changes no probability.
    assert float(temperature(size * (logits + 3), target)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
def test_figures_are_those_of_each_half_at_the_others_temperature(classes: int) -> None:
    logits, target = batch(400, classes, 5.0, seed=1)
    found = scaled_metrics(logits, target)
    first = halves(target)
    by_half = [scipys(logits[half], target[half]) for half in (first, ~first)]
    divided = torch.where(first[:, None], logits / by_half[1], logits / by_half[0])
    probabilities = torch.softmax(divided, 1)
    assert found["temperature"] == pytest.approx((by_half[0] * by_half[1]) ** 0.5, rel=1e-4)
    assert found["negative_log_likelihood_scaled"] == pytest.approx(log_loss(target, probabilities), abs=1e-5)
    error = multiclass_calibration_error(probabilities, target, classes, n_bins=15)
    assert found["calibration_error_scaled"] == pytest.approx(float(error), abs=2e-3)
    before = metrics_of_test_part(logits, target)
    assert before["negative_log_likelihood"] > before["negative_log_likelihood_scaled"] + 0.1
    assert before["calibration_error"] > before["calibration_error_scaled"]


def test_one_logit_is_two_of_which_the_first_is_nothing() -> None:
    logits, target = batch(200, 2, 3.0, seed=2)
    one = (logits[:, 1:] - logits[:, :1]).float()
    two = torch.cat([torch.zeros_like(one), one], 1)
    found, expected = scaled_metrics(one, target, HEADS["binary"]), scaled_metrics(two, target)
    assert found == pytest.approx(expected, abs=2e-6)


def test_halves_have_every_class_alike_and_follow_a_fixed_rule() -> None:
    target = torch.tensor([3, 0, 0, 1, 0, 1, 3, 0, 1, 1])
    first = halves(target)
    for label, count in ((0, 4), (1, 4), (3, 2)):
        assert int((first & (target == label)).sum()) == count // 2
    assert torch.equal(first, halves(target))
    assert first.tolist() == [True, True, False, True, True, False, False, False, True, False]


def cases() -> dict[str, Batch]:
    target = torch.arange(20) % 2
    right = torch.nn.functional.one_hot(target, 2).double() * 8 - 4
    one_wrong = right.clone()
    one_wrong[3] *= -1
    return {
        "all right": (right, target),
        "one wrong": (one_wrong, target),
        "all wrong": (-right, target),
        "all alike": (torch.full((20, 2), 7.0).double(), target),
        "huge": (1e30 * right, target),
        "tiny": (1e-30 * right, target),
        "one class": (right, torch.zeros(20, dtype=torch.long)),
        "few": (right[:4], target[:4]),
    }


@pytest.mark.parametrize("name", cases())
def test_figures_stay_finite_whatever_the_logits_are(name: str) -> None:
    logits, target = cases()[name]
    found = scaled_metrics(logits, target)
    assert all(numpy.isfinite(value) for value in found.values())
    assert 0 <= found["calibration_error_scaled"] <= 1
    if name == "one wrong":  # among others that are surely right: without a doubt its loss would have no end
        assert found["negative_log_likelihood_scaled"] < 0.6
    if name == "all wrong":  # the best that is left of it is not to believe it
        assert found["negative_log_likelihood_scaled"] == pytest.approx(numpy.log(2), abs=0.01)
    if name == "all alike":
        assert found["temperature"] == 1


def test_fewer_samples_than_two_halves_have_no_temperature() -> None:
    logits, target = batch(3, 2, 1.0, seed=0)
    assert scaled_metrics(logits, target) == {}


def test_sigmoids_have_no_temperature_of_a_class() -> None:
    logits, target = batch(40, 3, 1.0, seed=0)
    labels: Any = torch.nn.functional.one_hot(target, 3)
    for wanted in (target, labels):
        assert "temperature" not in metrics_of_test_part(logits, wanted, HEADS["sigmoid"])
