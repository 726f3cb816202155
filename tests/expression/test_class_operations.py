"""Reductions over classes, top_c, stop and the leaves from outside, in every back end, against plain torch."""

from __future__ import annotations

import random

import numpy
import pytest
import torch
from tests.helpers.crossing import FORMULAS, drawn, loss_and_gradient
from torch import Tensor

from lossforge.expression.canonical import canonical_form, canonical_text, fold_constants
from lossforge.expression.elementwise import class_shares, value_and_slope
from lossforge.expression.final_form import final_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signature
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss

PROGRESS = 0.37


def logits_and_targets(classes: int, soft: bool) -> tuple[Tensor, Tensor]:
    """Moderate logits, ±50 and such as give probabilities of exactly 0 and 1; no two logits of a sample are equal."""
    generator = torch.Generator().manual_seed(classes)

    def normal(rows: int, scale: float) -> Tensor:
        return torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale

    tilt = torch.linspace(0, 0.3, classes, dtype=torch.float64)
    extreme = torch.cat([normal(8, 1.0).sign() * 50, torch.eye(classes, dtype=torch.float64) * 2000 - 1000])
    logits = torch.cat([normal(16, 1.5), normal(8, 6.0), extreme + tilt])
    target = torch.randint(classes, (len(logits),), generator=generator)
    y_true = torch.nn.functional.one_hot(target, classes).double()
    return logits, y_true * 0.85 + 0.15 / classes if soft else y_true


def shares(classes: int) -> Tensor:
    return torch.from_numpy(class_shares(classes))


def conditioned(expression: Expression, logits: Tensor, y_true: Tensor, share: Tensor) -> Tensor:
    """Samples whose value and gradient a change of the logits in the eleventh digit does not move much."""
    exact = loss_and_gradient(expression, logits, y_true, PROGRESS, share)
    kept = torch.ones(len(logits), dtype=torch.bool)
    for seed in range(4):
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        value, gradient = loss_and_gradient(expression, logits * (1 + 1e-11 * noise), y_true, PROGRESS, share)
        kept &= (value - exact[0]).abs() <= 1e-8 * (1 + exact[0].abs())
        size = 1 + exact[1].abs().amax(1, keepdim=True)
        kept &= ((gradient - exact[1]).abs() <= 1e-8 * size).all(1)
    return kept


def check(expression: Expression, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], kept: Tensor) -> None:
    value, gradient = (part[kept] for part in found)
    right, slope = (part[kept] for part in expected)
    assert ((value - right).abs() <= 1e-6 * (1 + right.abs())).all(), expression
    assert ((gradient - slope).abs() <= 1e-6 * (1 + slope.abs().amax(1, keepdim=True))).all(), expression


def every_back_end(expression: Expression, logits: Tensor, y_true: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Value and gradient by the interpreter, the closed form, plain operations and numpy; all in float64."""
    share = shares(logits.shape[1])
    found = [Interpreter([expression]).value_and_gradient(logits, y_true, progress=PROGRESS, class_share=share)]
    found[0] = found[0][0][0], found[0][1][0]
    criterion = ExpressionLoss(expression, reduction="none", class_share=share)
    criterion.progress = PROGRESS
    criterion.reached = torch.full((), PROGRESS, dtype=torch.float64)
    for call in (criterion, lambda z, y: DropInLoss.unscaled(criterion, z, y)):
        z = logits.clone().requires_grad_()
        value = call(z, y_true)
        gradient = torch.autograd.grad(value.sum(), z)[0] if value.requires_grad else torch.zeros_like(z)
        found.append((value.detach(), gradient))
    log_p = torch.log_softmax(logits, 1).clamp(min=-1e5).numpy()
    f, g = value_and_slope(expression, numpy.exp(log_p), y_true.numpy(), log_p, PROGRESS)
    slope = g - numpy.exp(log_p) * g.sum(1, keepdims=True)
    total = f[:, 0] if expression.of_sample else f.sum(1)
    return [*found, (torch.from_numpy(total.copy()), torch.from_numpy(slope))]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("classes", [2, 5, 40])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_every_back_end_computes_what_the_formula_says(formula: str, classes: int, soft: bool) -> None:
    expression = parse_formula(formula)
    logits, y_true = logits_and_targets(classes, soft)
    expected = loss_and_gradient(expression, logits, y_true, PROGRESS, shares(classes))
    kept = conditioned(expression, logits, y_true, shares(classes))
    assert kept[:24].sum() >= 20
    for found in every_back_end(expression, logits, y_true):
        check(expression, found, expected, kept)
        assert all(part.isfinite().all() for part in found)


def test_random_trees_of_every_operation_mean_the_same_in_every_back_end() -> None:
    generator, settled = random.Random(5), 0
    logits, y_true = logits_and_targets(4, soft=True)
    for _ in range(250):
        expression = drawn(generator, generator.randint(1, 5))
        expected = loss_and_gradient(expression, logits, y_true, PROGRESS, shares(4))
        kept = conditioned(expression, logits, y_true, shares(4))
        settled += int(kept.sum())
        for found in every_back_end(expression, logits, y_true):
            check(expression, found, expected, kept)
            assert all(part.isfinite().all() for part in found), expression
    assert settled > 0.8 * 250 * len(logits)


def test_rewriting_changes_no_value() -> None:
    generator = random.Random(8)
    logits, y_true = logits_and_targets(3, soft=False)
    for _ in range(250):
        expression = drawn(generator, generator.randint(1, 4))
        expected = loss_and_gradient(expression, logits, y_true, PROGRESS, shares(3))
        kept = conditioned(expression, logits, y_true, shares(3))
        for form in (fold_constants(expression), canonical_form(expression)):
            if form.of_sample == expression.of_sample:
                check(form, loss_and_gradient(form, logits, y_true, PROGRESS, shares(3)), expected, kept)
        assert parse_formula(format_formula(expression)) == expression
        assert canonical_text(canonical_form(expression)) == canonical_text(expression), expression


def test_a_final_form_is_the_same_loss_and_its_own_final_form() -> None:
    for formula in (*FORMULAS, "true_c(log(y_pred)) * 0.333333333333 / sum_c(log(y_pred))"):
        expression = parse_formula(formula)
        form = final_form(expression, soft_targets=False)
        assert form.size <= expression.size
        assert final_form(form, soft_targets=False) == form
        logits, y_true = logits_and_targets(5, soft=False)
        value, gradient = loss_and_gradient(form, logits, y_true, PROGRESS, shares(5))
        right, slope = loss_and_gradient(expression, logits, y_true, PROGRESS, shares(5))
        assert ((value - right).abs() <= 1e-3 * (right.abs() + right.abs().mean())).all(), form
        assert ((gradient - slope).norm(dim=1) <= 1.1e-3 * slope.norm(dim=1) + 1e-9).all(), form


def test_kinds_of_expressions() -> None:
    for text, sample, crosses in (
        ("1.5", False, False),
        ("y_pred * 2", False, False),
        ("sum_c(y_pred)", True, True),
        ("exp(1) * n_classes + progress", True, True),
        ("sum_c(y_pred) * y_true", False, True),
        ("stop(y_pred)", False, True),
        ("stop(2)", False, True),
        ("top_c(y_pred)", False, True),
        ("class_share", False, True),
        ("mean_c(sum_c(y_true))", True, True),
    ):
        expression = parse_formula(text)
        assert (expression.of_sample, expression.crosses_classes) == (sample, crosses), text


def test_ties_go_to_the_first_and_share_the_gradient() -> None:
    logits = torch.zeros(1, 4, dtype=torch.float64)
    target = torch.eye(4, dtype=torch.float64)[:1]
    texts = ("top_c(y_pred) * y_true", "max_c(logit)", "min_c(logit)")
    value, gradient = Interpreter([parse_formula(text) for text in texts]).value_and_gradient(logits, target)
    assert value[0].item() == 1
    assert gradient[0].abs().max() == 0
    # A quarter each, of logits less their mean: nothing is left.
    assert gradient[1:].abs().max() < 1e-15
    logits[0, 3] = -1
    _, gradient = Interpreter([parse_formula("max_c(logit)")]).value_and_gradient(logits, target)
    assert torch.allclose(gradient[0, 0], torch.tensor([1 / 3 - 1 / 4] * 3 + [-1 / 4], dtype=torch.float64))


def test_losses_of_one_gradient_have_one_signature_and_others_do_not() -> None:
    def key(text: str) -> str | None:
        return signature(parse_formula(text))

    nce = key("true_c(log(y_pred)) / sum_c(log(y_pred))")
    assert nce == key("y_true * log(y_pred) / sum_c(log(y_pred))")
    assert nce == key("3 * true_c(log(y_pred)) / mean_c(log(y_pred)) / n_classes + 1")
    assert key("-y_true * log(y_pred)") == key("log_sum_exp_c(logit) - true_c(logit)")
    assert key("-true_c(log(y_pred))") == key("-y_true * log(y_pred)")
    # Such as differ by what is told from outside alone.
    robust = "(1 - {0}) * -y_true * log(y_pred) - {0} * y_true * y_pred"
    keys = {key(robust.format(text)) for text in ("0.5", "progress", "progress**2", "sqrt(progress)")}
    assert len(keys) == 4
    keys = {key(f"-true_c(log(y_pred) * {text})") for text in ("1", "class_share", "sqrt(class_share)")}
    assert len(keys) == 3
    assert key("stop(y_pred) - y_true") is None


def test_what_is_missing_is_said() -> None:
    losses = Interpreter([parse_formula("-progress * true_c(log(y_pred) * class_share)")])
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="depends on progress: give progress="):
        losses.value_and_gradient(logits, target)
    with pytest.raises(ValueError, match="depends on class_share: give class_share="):
        losses.value_and_gradient(logits, target, progress=0.5)
    with pytest.raises(ValueError, match=r"class_share \(3,\) or \(1, 3\), not \(1,\) and \(1, 2\)"):
        losses.value_and_gradient(logits, target, progress=0.5, class_share=torch.ones(2))


def test_each_loss_has_a_progress_of_its_own() -> None:
    losses = Interpreter([parse_formula("-progress * true_c(y_pred)")] * 2)
    value, _ = losses.value_and_gradient(
        torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), progress=torch.tensor([0.0, 1.0])
    )
    assert value[:, 0].tolist() == [0.0, -0.5]
