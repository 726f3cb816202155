"""A logit of -inf is a class that cannot be: it costs what a very low logit costs, in every form of a loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.helpers.library import ready, shares
from torch import Tensor
from torch.nn import functional

from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.library import LIBRARY, OVER_BATCH, loss, loss_spec
from lossforge.losses.population import PopulationLoss

INF = float("inf")
NAMES = [*LIBRARY, "abs(y_true - y_pred) * log(y_pred)", "sqrt(y_pred) / y_true"]
NORMALISED = {name for name in LIBRARY if "true_c(log(y_pred)) / sum_c(log(y_pred))" in loss_spec(name).formula}
ENDLESS = {"label_smoothing", "baikal", "negative_label_smoothing", "maxsup", "logit_norm", *NORMALISED}
"""Losses that go on changing as the probability of a class that is not the target's goes to 0."""
every_loss = pytest.mark.parametrize("name", NAMES)
LOGITS = torch.tensor([[-INF, 0.0, 1.0, -INF], [2.0, -INF, -1.0, 0.5], [0.0, 0.3, -INF, -INF]], dtype=torch.float64)
INDICES = torch.tensor([2, 0, 1])
SHARES = torch.tensor([[0.0, 0.25, 0.75, 0.0], [0.5, 0.0, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
ONE_HOT = functional.one_hot(INDICES, 4).double()
TARGETS = {"indices": INDICES, "one-hot": ONE_HOT, "shares": SHARES}
every_target = pytest.mark.parametrize("kind", TARGETS)


def value_and_gradient(criterion: Callable[..., Tensor], logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def forms(name: str, target: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Value and gradient by every way that the loss may be asked."""
    criterion = ready(name, 4, reduction="none")
    found = {"itself": value_and_gradient(criterion, LOGITS, target)}
    if isinstance(criterion, ExpressionLoss):
        found["plain operations"] = value_and_gradient(
            lambda z, target: DropInLoss.forward(criterion, z, target), LOGITS, target
        )
    if target.is_floating_point():
        wanting = target.clone().requires_grad_()
        found["a target that needs a gradient"] = value_and_gradient(criterion, LOGITS, wanting)
        if name != "log_ratio":  # of the labels it takes the largest alone
            (slope,) = torch.autograd.grad(criterion(LOGITS, wanting).sum(), wanting)
            assert slope.isfinite().all()
    weighted = ready(name, 4, reduction="none", weight=torch.ones(4).double().requires_grad_())
    found["a weight that needs a gradient"] = value_and_gradient(weighted, LOGITS, target)
    z = LOGITS.clone().requires_grad_()
    (again,) = torch.autograd.grad(criterion(z, target).sum(), z, create_graph=True)
    found["a gradient to be differentiated"] = found["itself"][0], again.detach()
    if name not in LIBRARY or LIBRARY[name].reduction != OVER_BATCH:  # those are no sum of their samples
        found["torch.vmap"] = torch.vmap(criterion)(LOGITS, target), found["itself"][1]
    return found


@every_loss
@every_target
def test_value_and_gradient_are_finite_and_the_same_in_every_form(name: str, kind: str) -> None:
    answers = forms(name, TARGETS[kind])
    value, gradient = answers["itself"]
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    for form, (other, slope) in answers.items():
        torch.testing.assert_close(other, value, msg=lambda text, form=form: f"{form}: {text}")
        torch.testing.assert_close(slope, gradient, msg=lambda text, form=form: f"{form}: {text}")


@pytest.mark.parametrize("name", sorted({*NAMES} - ENDLESS))
@every_target
def test_it_is_what_a_very_low_logit_gives(name: str, kind: str) -> None:
    # Far below what softmax can tell from 0.
    value, gradient = value_and_gradient(ready(name, 4), LOGITS, TARGETS[kind])
    expected, expected_gradient = value_and_gradient(ready(name, 4), LOGITS.clamp(min=-2000), TARGETS[kind])
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_cross_entropy_is_torchs_wherever_torchs_is_finite(dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    expected, slope = value_and_gradient(functional.cross_entropy, logits.float(), INDICES)
    for target in (INDICES, ONE_HOT.to(dtype)):
        value, gradient = value_and_gradient(loss("cross_entropy"), logits, target)
        torch.testing.assert_close(value.float(), expected)
        torch.testing.assert_close(gradient.float(), slope, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("logit", [-INF, -800.0, -3.0, 0.0, 3.0, 800.0, INF])
def test_bce_is_right_at_every_logit(logit: float, target: float) -> None:
    logits, y_true = torch.tensor([[logit]], dtype=torch.float64), torch.tensor([[target]], dtype=torch.float64)
    value, gradient = value_and_gradient(loss("bce"), logits, y_true)
    right = (logit == -INF and target == 0) or (logit == INF and target == 1)
    if right:
        assert value == 0
    else:
        # Infinite where a probability of 0 is asked for some share.
        expected = INF if abs(logit) == INF else functional.binary_cross_entropy_with_logits(logits, y_true)
        torch.testing.assert_close(value, torch.as_tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.sigmoid(logits) - y_true)


def test_bce_has_a_gradient_on_a_certain_target() -> None:
    y_true = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([[2.0, -3.0]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(loss("bce")(logits, y_true), y_true)
    torch.testing.assert_close(slope, -logits)


@every_loss
def test_what_is_ignored_may_have_any_logits(name: str) -> None:
    for nonsense in (-INF, INF, float("nan")):
        logits = torch.cat([LOGITS, torch.full((2, 4), nonsense, dtype=torch.float64)])
        target = torch.cat([INDICES, torch.tensor([-100, -100])])
        torch.testing.assert_close(ready(name, 4)(logits, target), ready(name, 4)(LOGITS, INDICES))


@every_target
def test_a_population_computes_the_same(kind: str) -> None:
    specs = [spec for name in NAMES if not (spec := loss_spec(name)).is_term]
    z = LOGITS.expand(len(specs), -1, -1).clone().requires_grad_()
    values = PopulationLoss(specs)(z, TARGETS[kind], class_share=shares(4)[None])
    (gradients,) = torch.autograd.grad(values.sum(), z)
    for spec, found, slope in zip(specs, values.detach(), gradients, strict=True):
        value, gradient = value_and_gradient(spec.build(class_share=shares(4)), LOGITS, TARGETS[kind])
        torch.testing.assert_close(found, value)
        torch.testing.assert_close(slope, gradient)
