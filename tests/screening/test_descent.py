"""The descent: what it asks of free logits and of a small network, and what it costs to be unsure."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.screening import descent, descent_kernel
from lossforge.screening.descent import descend, descents, network, train_network
from lossforge.screening.settings import ScreenSettings

SETTINGS = ScreenSettings()
BRIER = "(y_true - y_pred)**2"


def losses(*formulas: str) -> Interpreter:
    return Interpreter([parse_formula(formula) for formula in formulas])


def test_descent_on_free_logits_is_gradient_descent() -> None:
    # The same in plain numpy, for cross-entropy, whose gradient is y_pred - y_true.
    start, labels = descent.free_logits(10)
    z = start[0].astype(numpy.float64)
    for index in range(SETTINGS.descent_steps):
        shares = numpy.exp(z - z.max(1, keepdims=True))
        gradient = shares / shares.sum(1, keepdims=True) - numpy.eye(10)[labels]
        z -= (
            gradient
            * SETTINGS.step
            * 2
            * (1 - index / SETTINGS.descent_steps)
            / numpy.sqrt(numpy.square(gradient).mean())
        )
        short = ScreenSettings(descent_steps=index + 1)
        if index + 1 == SETTINGS.descent_steps:
            reached = descend(losses(CROSS_ENTROPY), 10, short, numpy.ones(1))
            assert reached[0] == (z.argmax(1) == labels).mean()


def test_the_small_network_is_trained_by_adam() -> None:
    # The same in torch, with autograd.
    import torch

    x, labels, w1, w2 = network(10, 2)
    weights = [torch.tensor(w1, requires_grad=True), torch.tensor(w2, requires_grad=True)]
    inputs, target = torch.from_numpy(x.T.copy()), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(weights, betas=(0.9, 0.99), eps=1e-8)
    scale = None
    steps = SETTINGS.network_steps
    for index in range(steps):
        logits = torch.relu(inputs @ weights[0].T) @ weights[1].T
        logits.retain_grad()
        loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        scale = scale or (labels.size * 10) ** 0.5 / float(logits.grad.norm())  # type: ignore[union-attr]
        done = (index + 1) / steps
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(done / 0.3, (1 - done) / 0.7 + 1 / steps)
        for weight in weights:
            weight.grad *= scale  # type: ignore[operator]
        optimizer.step()
    logits = torch.relu(inputs @ weights[0].T) @ weights[1].T
    expected = float((logits.argmax(1) == target).float().mean())
    one = ScreenSettings(network_steps=steps)
    both = [float(train_network(losses(CROSS_ENTROPY), 10, one, numpy.ones(1))[0])]
    assert expected > 0.9
    assert both[0] == pytest.approx(expected, abs=0.05)


def test_the_wrong_sign_reaches_nothing() -> None:
    pool = losses(CROSS_ENTROPY, BRIER)
    for measure in (descend, train_network):
        assert (measure(pool, 10, SETTINGS, numpy.ones(2)) >= 0.9).all()
        assert (measure(pool, 10, SETTINGS, -numpy.ones(2)) <= 0.1).all()


def test_only_the_unsure_train_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(pool: Interpreter, *arguments: Any) -> Any:
        asked.append(len(pool))
        return train_network(pool, *arguments)

    monkeypatch.setattr(descent, "train_network", counted)
    sure, hopeless, unsure = CROSS_ENTROPY, "y_true * cos(20 * y_pred)", "y_true * (y_pred - 0.05)**2"
    found = descents(losses(sure, hopeless, unsure), SETTINGS)
    assert asked == [1]
    assert [one.passed for one in found] == [True, False, False]
    assert "small network" not in found[1].reason
    assert "a small network learns" in found[2].reason


def test_a_second_network_is_trained_where_it_can_change_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    kernel = descent_kernel.train_network

    def counted(*arguments: Any) -> None:
        asked.append(len(arguments[-1]))
        kernel(*arguments)

    monkeypatch.setattr(descent_kernel, "train_network", counted)
    pool = losses(CROSS_ENTROPY, "sqrt(abs(y_true + 0.44 + y_pred))", BRIER)
    reached = train_network(pool, 10, SETTINGS, numpy.ones(3))
    assert asked == [3, 2]
    assert reached[1] < 0.6
    # Where nothing is needed, both are trained: those that could be enough have the same mean.
    both = train_network(pool, 10, ScreenSettings(descent_accuracy=0.0), numpy.ones(3))
    assert asked == [3, 2, 3, 3]
    assert both[[0, 2]].tolist() == reached[[0, 2]].tolist()


def test_a_second_chance_is_taken() -> None:
    # Bounded as it is, it leaves a few free logits behind, and trains networks to the accuracy of cross-entropy.
    formula = "y_true * min(0.942, 1 - y_pred)"
    reached = descend(losses(formula), 10, SETTINGS, numpy.ones(1))[0]
    assert reached < SETTINGS.descent_accuracy
    assert descents(losses(formula), SETTINGS)[0].passed
    assert not descents(losses(formula), ScreenSettings(network_steps=0))[0].passed


@pytest.mark.parametrize("classes", [2, 3, 31, 32, 100])
def test_any_number_of_classes_can_be_descended(classes: int) -> None:
    settings = ScreenSettings(classes=(classes,))
    assert descend(losses(CROSS_ENTROPY), classes, settings, numpy.ones(1))[0] == 1
    assert train_network(losses(CROSS_ENTROPY), classes, settings, numpy.ones(1))[0] > 2 / classes - 0.01
