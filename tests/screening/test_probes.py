"""The probe: finite, not zero, not spiked, in every precision that the space trains in."""

from __future__ import annotations

import numpy
import pytest

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening.probes import MODERATE, probe_reasons, round_to, run, screen_probe
from lossforge.screening.settings import ScreenSettings

SPIKED = "y_true / y_pred"


def reasons(formulas: list[str], **settings: object) -> list[str]:
    return probe_reasons(Interpreter([parse_formula(formula) for formula in formulas]), ScreenSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_probe_spans_moderate_extreme_and_everything_between(classes: int) -> None:
    data = screen_probe(classes)
    assert data.logits.shape == (len(data.labels), classes)
    assert data.labels.min() >= 0
    assert data.labels.max() < classes
    assert numpy.abs(data.logits[:MODERATE]).max() < 6
    assert (numpy.abs(data.logits) == 50).all(axis=1).sum() == 16
    true_minus_best = data.logits[-122:-61, 0] - data.logits[-122:-61, 1:].max(axis=1)
    assert (true_minus_best.min(), true_minus_best.max()) == (-30, 30)
    assert numpy.diff(numpy.sort(true_minus_best)).max() <= 1


def test_a_narrow_spike_is_seen() -> None:
    # Flat at probabilities below 1e-6 and at moderate ones, steep in between.
    (reason,) = reasons(["y_true * exp(-2 * log(y_pred))"], max_gradient=1e6)
    assert "times its usual size" in reason
    assert reasons([CROSS_ENTROPY, "(y_true - y_pred)**2"], max_gradient=1e6) == ["", ""]


def test_float16_refuses_what_it_cannot_hold() -> None:
    assert reasons([SPIKED], precisions=("float32", "bfloat16")) == [""]
    (reason,) = reasons(["y_true * exp(-2 * log(y_pred))"], precisions=("float16",))
    assert reason.endswith("which float16 cannot hold")
    assert reasons([f"1000000 * {CROSS_ENTROPY}"], precisions=("float16",)) == [""]


def test_many_losses_are_probed_as_each_alone() -> None:
    formulas = [CROSS_ENTROPY, "sign(y_pred - y_true)", SPIKED, "y_true * sin(y_pred)"] * 40
    settings = {"classes": (3, 1000), "max_gradient": 1e3}
    one = {formula: reasons([formula], **settings)[0] for formula in set(formulas)}
    assert reasons(formulas, **settings) == [one[formula] for formula in formulas]
    assert one["sign(y_pred - y_true)"] == "the gradient is zero"


def test_rounding_is_that_of_the_type() -> None:
    values = numpy.array([1.0, 1.0009765, 70000.0, 1e-9], numpy.float32)
    assert round_to(values, "float32") is values
    assert round_to(values, "float16").tolist() == [1.0, 1.0009765625, numpy.inf, 0.0]
    assert round_to(values, "bfloat16").tolist() == [1.0, 1.0, 70144.0, pytest.approx(1e-9, rel=1e-2)]


def test_the_gradient_is_that_of_the_sum_on_the_logits() -> None:
    data = screen_probe(4)
    _, gradient = run(Interpreter([parse_formula(CROSS_ENTROPY)]), data.logits[:MODERATE], data.labels[:MODERATE])
    shares = numpy.exp(data.logits[:MODERATE])
    expected = shares / shares.sum(1, keepdims=True) - numpy.eye(4)[data.labels[:MODERATE]]
    numpy.testing.assert_allclose(gradient[0], expected, atol=1e-6)
