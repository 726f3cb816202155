"""The closed-form gradient of a loss is that of its plain operations, for every target, argument and way to call it."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from tests.helpers.conditioning import CLASSES, Tally, batch, one_hot, truth
from tests.helpers.trees import law, short_constants, trees
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from lossforge.expression.tree import Expression
from lossforge.losses.closed_form import ClosedForm, plain_operations_needed
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.library import CROSS_ENTROPY

DTYPES = [torch.float32, torch.float64]
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64)
FORMULAS = {
    "cross-entropy": CROSS_ENTROPY,
    "brier": "(y_true - y_pred)**2",
    "focal": "-y_true * (1 - y_pred)**2 * log(y_pred)",
    "nothing at 0": "y_true * exp(-y_pred)",
    "nothing at 1": "(1 - y_true) * exp(y_pred)",
    "same everywhere": "log(y_pred)**2",
    "guarded": "y_true / (y_pred - 0.5) + log(y_true - y_pred) * sqrt(1.5 - y_pred)",
    "kinked": "max(0.3, sin(y_pred)) * aq(y_true, y_pred) + abs(y_true - y_pred) * erf(min(y_pred, y_true))",
    "masked twice": "max(min(-max(y_pred * y_true, 0.1), -0.2), -0.9)",
    "constant": "2",
    "target alone": "y_true",
    "flat": "sign(y_pred - 0.3) * y_true",
}
every_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
SHAPES = {"batch": (12, CLASSES), "image": (3, CLASSES, 4, 2), "sequence": (2, CLASSES, 6), "unbatched": (CLASSES,)}


def plain(criterion: ExpressionLoss, logits: Tensor, target: Tensor) -> Tensor:
    """The loss by plain operations, as an export computes it."""
    return DropInLoss.unscaled(criterion, logits, target)


def gradient_of(value: Tensor, logits: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True, materialize_grads=True)
    return gradient


def inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, class indices and soft targets."""
    generator = torch.Generator().manual_seed(3)
    dim = 0 if len(shape) == 1 else 1
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    indices = torch.randint(CLASSES, shape[:dim] + shape[dim + 1 :], generator=generator)
    soft = torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), dim)
    return logits.to(dtype).requires_grad_(), indices, soft.to(dtype)


@pytest.mark.parametrize("searched", [False, True], ids=["any constants", "as a search draws them"])
def test_it_computes_the_expression_by_classes_and_by_probabilities(searched: bool) -> None:
    tally = Tally()

    @given(trees(max_leaves=10, numbers=short_constants() if searched else None))
    @law(500)
    def check(tree: Expression) -> None:
        criterion = ExpressionLoss(tree, reduction="none")
        for dtype in DTYPES:
            logits, indices, soft = batch(dtype)
            logits.requires_grad_()
            for target, y_true in ((indices, one_hot(indices, dtype)), (soft, soft)):
                expected = truth(tree, logits.detach(), y_true, dtype)
                tally.add(expected.settled)
                value = criterion(logits, target)
                gradient = gradient_of(value, logits)
                assert value.isfinite().all()
                assert gradient.isfinite().all()
                assert not expected.wrong(value.detach(), gradient).any()

    check()
    assert tally.share > 0.85


@every_formula
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_argument_acts_as_on_plain_operations(formula: str, shape: tuple[int, ...]) -> None:
    logits, indices, soft = inputs(shape)
    for reduction, smoothing, weight, ignored, class_mean in itertools.product(
        ("mean", "sum", "none"), (0.0, 0.1, 1.0), (None, WEIGHT), (-100, 2), (False, True)
    ):
        criterion = ExpressionLoss(
            formula,
            reduction=reduction,
            label_smoothing=smoothing,
            weight=weight,
            ignore_index=ignored,
            class_mean=class_mean,
        )
        for target in (indices, soft):
            found, expected = criterion(logits, target), plain(criterion, logits, target)
            case = f"{reduction} {smoothing} {weight} {ignored} {class_mean} {target.dtype}"
            torch.testing.assert_close(
                found.detach(), expected.detach(), rtol=1e-9, atol=1e-12, equal_nan=True, msg=case
            )
            gradients = gradient_of(found, logits), gradient_of(expected, logits)
            torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-11, equal_nan=True, msg=case)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_plain_operations_is_torchs(reduction: str, weight: Tensor | None, smoothing: float) -> None:
    # The module runs torch's own; its export, and torch.compile, run these.
    arguments: dict[str, Any] = {"reduction": reduction, "weight": weight, "label_smoothing": smoothing}
    for shape in SHAPES.values():
        logits, indices, soft = inputs(shape)
        for target in (indices, soft):
            for ignored in (-100, 2):
                criterion = ExpressionLoss(CROSS_ENTROPY, ignore_index=ignored, **arguments)
                # torch refuses one beside probabilities, for which it means nothing.
                theirs = -100 if target is soft else ignored
                expected = functional.cross_entropy(logits, target, ignore_index=theirs, **arguments)
                for found in (plain(criterion, logits, target), criterion(logits, target)):
                    torch.testing.assert_close(found, expected, equal_nan=True)
                    torch.testing.assert_close(
                        gradient_of(found, logits), gradient_of(expected, logits), equal_nan=True
                    )


@every_formula
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_batch_that_is_all_ignored_has_no_gradient(formula: str, reduction: str) -> None:
    logits = inputs((12, CLASSES))[0]
    target = torch.full((12,), -100)
    for weight in (None, WEIGHT):
        criterion = ExpressionLoss(formula, reduction=reduction, weight=weight)
        found, expected = criterion(logits, target), plain(criterion, logits, target)
        assert torch.equal(found.isnan(), expected.isnan())
        assert bool(found.isnan().all()) == (reduction == "mean")
        if reduction != "mean":
            assert not found.any()
            assert not gradient_of(found, logits).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, indices, soft = inputs((12, CLASSES), dtype)
    criterion = ExpressionLoss(FORMULAS["focal"], weight=WEIGHT.float())
    for target in (indices, soft):
        wide = logits.detach().float().requires_grad_()
        value = criterion(logits, target)
        assert torch.equal(value, criterion(wide, target.float() if target.is_floating_point() else target))
        assert gradient_of(value, logits).dtype == dtype
        torch.testing.assert_close(
            gradient_of(value, logits).float(), gradient_of(criterion(wide, target), wide), rtol=1e-2, atol=1e-3
        )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_every_integer_type_is_an_index(dtype: torch.dtype) -> None:
    logits, indices, _ = inputs((12, CLASSES))
    criterion = ExpressionLoss(FORMULAS["brier"])
    assert torch.equal(criterion(logits, indices.to(dtype)), criterion(logits, indices))


@pytest.mark.parametrize("index", [CLASSES, -1, 1000])
def test_a_class_that_does_not_exist_is_refused(index: int) -> None:
    logits = inputs((2, CLASSES))[0]
    with pytest.raises(ValueError, match=rf"in \[0, {CLASSES}\), .* but one is {index}$"):
        ExpressionLoss(FORMULAS["brier"])(logits, torch.tensor([0, index]))


SMOOTH = ["cross-entropy", "brier", "focal", "nothing at 0", "same everywhere", "guarded", "constant", "target alone"]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_can_be_differentiated_again(name: str) -> None:
    logits, indices, soft = inputs((3, CLASSES))
    logits = (logits.detach() / 3).requires_grad_()
    for target, weight in ((indices, None), (soft, WEIGHT), (indices.where(indices != 1, -100), WEIGHT)):
        criterion = ExpressionLoss(FORMULAS[name], weight=weight, reduction="none")
        assert torch.autograd.gradcheck(lambda z: criterion(z, target), logits)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda z: criterion(z, target), logits)  # noqa: B023


@every_formula
def test_the_first_gradient_is_the_same_whether_or_not_it_is_differentiated_again(formula: str) -> None:
    logits, indices, soft = inputs((12, CLASSES))
    for target in (indices, soft):
        for weight in (None, WEIGHT):
            value = ExpressionLoss(formula, weight=weight)(logits, target) ** 2
            (once,) = torch.autograd.grad(value, logits, retain_graph=True)
            (twice,) = torch.autograd.grad(value, logits, create_graph=True)
            torch.testing.assert_close(once, twice, rtol=1e-9, atol=1e-12)


@every_formula
def test_second_derivatives_are_those_of_plain_operations(formula: str) -> None:
    logits, indices, soft = inputs((2, CLASSES))
    for target in (indices, soft):
        criterion = ExpressionLoss(formula)
        # Squared: the loss has a gradient of its own in it too.
        found = torch.autograd.functional.hessian(lambda z: criterion(z, target) ** 2, logits)  # noqa: B023
        expected = torch.autograd.functional.hessian(lambda z: plain(criterion, z, target) ** 2, logits)  # noqa: B023
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_many_gradients_at_once_are_those_one_by_one() -> None:
    logits, indices, soft = inputs((4, CLASSES))
    for target in (indices, soft):
        criterion = ExpressionLoss(FORMULAS["focal"], reduction="none")
        each = torch.autograd.functional.jacobian(lambda z: criterion(z, target), logits)  # noqa: B023
        at_once = torch.autograd.functional.jacobian(lambda z: criterion(z, target), logits, vectorize=True)  # noqa: B023
        torch.testing.assert_close(at_once, each)


def test_a_graph_that_is_kept_gives_its_gradient_again() -> None:
    logits, indices, _ = inputs((12, CLASSES))
    value = ExpressionLoss(FORMULAS["focal"])(logits, indices)
    first, second = (torch.autograd.grad(value, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["cross-entropy", "brier", "focal", "guarded"])
def test_targets_and_weights_that_require_a_gradient_get_one(name: str) -> None:
    logits, _, soft = inputs((12, CLASSES))
    weight = WEIGHT.clone().requires_grad_()
    soft.requires_grad_()
    criterion = ExpressionLoss(FORMULAS[name], weight=weight, label_smoothing=0.1)
    assert plain_operations_needed(soft, None)
    assert plain_operations_needed(None, weight)
    found = torch.autograd.grad(criterion(logits, soft), (logits, soft, weight))
    expected = torch.autograd.grad(plain(criterion, logits, soft), (logits, soft, weight))
    for one, other in zip(found, expected, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)
    fixed = ExpressionLoss(FORMULAS[name], weight=WEIGHT, label_smoothing=0.1)
    torch.testing.assert_close(torch.autograd.grad(fixed(logits, soft.detach()), logits)[0], found[0])


@every_formula
def test_torch_func_sees_through_it(formula: str) -> None:
    logits, indices, soft = inputs((12, CLASSES))
    criterion = ExpressionLoss(formula)
    z = logits.detach()
    for target in (indices, soft):
        gradient = gradient_of(criterion(logits, target), logits)
        torch.testing.assert_close(torch.func.grad(lambda x: criterion(x, target))(z), gradient)  # noqa: B023
        rows = torch.vmap(torch.func.grad(criterion))(z, target)
        torch.testing.assert_close(rows / len(z), gradient)
        torch.testing.assert_close(torch.vmap(criterion)(z, target).mean(), criterion(z, target))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:FutureWarning"
)  # torch's own, in the first dual_level
@every_formula
def test_it_can_be_differentiated_forward(formula: str) -> None:
    logits, indices, soft = inputs((12, CLASSES))
    criterion = ExpressionLoss(formula)
    direction = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view(logits.shape)
    for target in (indices, soft):
        slope = (gradient_of(criterion(logits, target), logits) * direction).sum()
        with forward_ad.dual_level():
            dual = criterion(forward_ad.make_dual(logits.detach(), direction), target)
            tangent = forward_ad.unpack_dual(dual).tangent
        torch.testing.assert_close(torch.zeros_like(slope) if tangent is None else tangent, slope)


@pytest.mark.parametrize("name", ["cross-entropy", "focal", "guarded", "masked twice", "constant"])
def test_it_compiles_into_one_graph(name: str) -> None:
    logits, indices, soft = inputs((12, CLASSES))
    for target in (indices, soft):
        torch.compiler.reset()
        criterion = ExpressionLoss(FORMULAS[name], weight=WEIGHT, ignore_index=1)
        compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
        found = compiled(logits, target)
        torch.testing.assert_close(found, criterion(logits, target))
        torch.testing.assert_close(gradient_of(found, logits), gradient_of(criterion(logits, target), logits))


@every_formula
def test_without_gradients_the_value_is_the_same(formula: str) -> None:
    logits, indices, soft = inputs((12, CLASSES))
    criterion = ExpressionLoss(formula, ignore_index=1)
    for target in (indices, soft):
        expected = criterion(logits, target).detach()
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                value = criterion(logits, target)
                assert not value.requires_grad
                assert torch.equal(value, expected)
        with torch.inference_mode():
            assert torch.equal(criterion(logits * 1, target), expected)
        assert torch.equal(criterion(logits.detach(), target), expected)
        assert not criterion(logits.detach(), target).requires_grad


def test_inputs_are_left_as_they_were() -> None:
    logits, indices, soft = inputs((12, CLASSES))
    before = [part.detach().clone() for part in (logits, indices, soft)]
    for formula in [*FORMULAS.values(), "y_pred", "log(y_pred)"]:
        for target in (indices, soft):
            gradient_of(ExpressionLoss(formula, weight=WEIGHT)(logits, target), logits)
    for part, was in zip((logits, indices, soft), before, strict=True):
        assert torch.equal(part, was)


def test_a_change_of_the_logits_in_place_is_noticed() -> None:
    logits, indices, _ = inputs((12, CLASSES))
    z = logits * 1
    value = ExpressionLoss(FORMULAS["brier"])(z, indices)
    z.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


DEPENDENT = [formula for name, formula in FORMULAS.items() if name not in ("constant", "target alone", "flat")]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_logits_that_diverged_give_a_loss_that_is_not_finite(bad: float, dtype: torch.dtype) -> None:
    logits, indices, soft = inputs((12, CLASSES), dtype)
    with torch.no_grad():
        logits[0, 1] = bad
    for formula in DEPENDENT:
        criterion = ExpressionLoss(formula, reduction="none")
        for target in (indices, soft):
            value = criterion(logits, target)
            assert not value[0].isfinite(), formula
            assert value[1:].isfinite().all()
            assert not plain(criterion, logits, target)[0].isfinite()


def test_the_function_alone_sums_over_its_dimension() -> None:
    logits, indices, _ = inputs((3, CLASSES, 4, 2))
    criterion = ExpressionLoss(FORMULAS["focal"], reduction="none")
    tree = criterion._expression
    moved = ClosedForm.apply(logits.movedim(1, -1), indices, tree, 3, None, None)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(moved, criterion(logits, indices))
    torch.testing.assert_close(gradient_of(moved, logits), gradient_of(criterion(logits, indices), logits))
