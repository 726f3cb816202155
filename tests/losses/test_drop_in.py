"""A formula as a module: cross-entropy written out is torch's own, and every loss is a drop-in for it."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import lossforge
from lossforge.errors import FormulaError
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import LOG_Y_PRED
from lossforge.losses.compiled import ExpressionLoss, LossSpec
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.heads import LEAST_LOG
from lossforge.losses.library import CROSS_ENTROPY

CLASSES = 5
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0])
SHAPES = {"batch": (8, CLASSES), "image": (3, CLASSES, 4, 2), "sequence": (2, CLASSES, 6), "unbatched": (CLASSES,)}


def test_exports_and_kernels_bound_log_y_pred_alike() -> None:
    # The module is shipped with every export, and so has the number itself.
    assert LOG_Y_PRED[0] == LEAST_LOG


def logits_for(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, spread: float = 100.0) -> Tensor:
    """Logits over ±spread, some moderate and some at the ends."""
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    logits = torch.where(torch.rand(shape, generator=generator) < 0.5, uniform * spread, uniform * 3)
    return torch.where(torch.rand(shape, generator=generator) < 0.1, uniform.sign() * spread, logits).to(dtype)


def indices_for(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(CLASSES, shape[:1] + shape[2:] if len(shape) > 1 else (), generator=generator)


def soft_for(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    return torch.softmax(noise, 0 if len(shape) == 1 else 1).to(dtype)


def value_and_gradient(criterion: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> list[Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    value.sum().backward()
    assert z.grad is not None
    return [value.detach(), z.grad]


def assert_as_torch(logits: Tensor, target: Tensor, tolerance: float = 1e-6, **arguments: Any) -> None:
    ours = value_and_gradient(ExpressionLoss(CROSS_ENTROPY, **arguments), logits, target)

    def torchs(z: Tensor, target: Tensor) -> Tensor:
        weight = arguments.get("weight")
        named = {**arguments, "weight": None if weight is None else weight.to(z.dtype)}
        return functional.cross_entropy(z, target, **named)

    for mine, theirs in zip(ours, value_and_gradient(torchs, logits, target), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_cross_entropy_as_a_formula_is_torchs_on_class_indices(
    shape: tuple[int, ...], reduction: str, smoothing: float, weight: Tensor | None, ignored: int
) -> None:
    arguments: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing, "weight": weight}
    assert_as_torch(logits_for(shape), indices_for(shape), ignore_index=ignored, **arguments)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_cross_entropy_as_a_formula_is_torchs_on_probabilities(
    shape: tuple[int, ...], reduction: str, smoothing: float, weight: Tensor | None
) -> None:
    arguments: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing, "weight": weight}
    assert_as_torch(logits_for(shape), soft_for(shape), **arguments)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_torchs_in_float32_too(smoothing: float, weight: Tensor | None, reduction: str) -> None:
    arguments: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing, "weight": weight}
    for shape in SHAPES.values():
        logits = logits_for(shape, torch.float32)
        assert_as_torch(logits, indices_for(shape), **arguments)
        assert_as_torch(logits, soft_for(shape, torch.float32), **arguments)


def test_cross_entropy_is_torchs_where_a_target_has_probability_zero() -> None:
    logits = torch.tensor([[1000.0, -1000.0, 0.0], [-1e4, 1e4, 3e4]], requires_grad=True)
    target = torch.tensor([1, 0])
    assert torch.equal(torch.softmax(logits, 1)[[0, 1], target], torch.zeros(2))
    assert_as_torch(logits.detach(), target, reduction="none")


def test_ignored_samples_leave_no_trace() -> None:
    logits = logits_for((8, CLASSES))
    target = indices_for((8, CLASSES))
    target[[1, 4]] = -100
    kept = [0, 2, 3, 5, 6, 7]
    for formula in (CROSS_ENTROPY, "exp(y_true - y_pred)"):
        value, gradient = value_and_gradient(ExpressionLoss(formula), logits, target)
        alone, gradient_alone = value_and_gradient(ExpressionLoss(formula), logits[kept], target[kept])
        torch.testing.assert_close(value, alone)
        torch.testing.assert_close(gradient[kept], gradient_alone)
        assert not gradient[[1, 4]].any()


@pytest.mark.parametrize(("reduction", "value"), [("mean", math.nan), ("sum", 0.0)])
def test_a_batch_that_is_all_ignored_gives_what_torch_gives(reduction: str, value: float) -> None:
    logits, target = torch.randn(3, CLASSES), torch.full((3,), -100)
    assert functional.cross_entropy(logits, target, reduction=reduction).item() == pytest.approx(value, nan_ok=True)
    assert ExpressionLoss(CROSS_ENTROPY, reduction=reduction)(logits, target).item() == pytest.approx(
        value, nan_ok=True
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_empty_batch_gives_what_torch_gives(reduction: str) -> None:
    logits, target = torch.randn(0, CLASSES), torch.zeros(0, dtype=torch.long)
    ours = ExpressionLoss(CROSS_ENTROPY, reduction=reduction)(logits, target)
    torch.testing.assert_close(ours, functional.cross_entropy(logits, target, reduction=reduction), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, target = logits_for((8, CLASSES), dtype), indices_for((8, CLASSES))
    soft = soft_for((8, CLASSES), dtype)
    for arguments in ({}, {"weight": WEIGHT}, {"weight": WEIGHT.to(dtype), "label_smoothing": 0.1}):
        for given in (target, soft):
            criterion = ExpressionLoss(CROSS_ENTROPY, **arguments)
            value, gradient = value_and_gradient(criterion, logits, given)
            exact = given.float() if given.is_floating_point() else given
            expected, expected_gradient = value_and_gradient(criterion, logits.float(), exact)
            assert value.dtype == torch.float32
            assert gradient.dtype == dtype
            assert torch.equal(value, expected)
            torch.testing.assert_close(gradient, expected_gradient.to(dtype))


def test_a_loss_keeps_float64() -> None:
    value = ExpressionLoss(CROSS_ENTROPY, weight=WEIGHT)(logits_for((8, CLASSES)), indices_for((8, CLASSES)))
    assert value.dtype == torch.float64


def test_it_works_under_autocast() -> None:
    layer = nn.Linear(4, CLASSES)
    images, target = torch.randn(6, 4), torch.randint(CLASSES, (6,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(images)
        assert logits.dtype == torch.bfloat16
        ours, torchs = ExpressionLoss(CROSS_ENTROPY)(logits, target), functional.cross_entropy(logits, target)
    torch.testing.assert_close(ours, torchs.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("class_mean", [False, True])
def test_any_formula_is_summed_or_averaged_over_classes(class_mean: bool) -> None:
    logits, soft = logits_for((4, CLASSES, 3), spread=4.0), soft_for((4, CLASSES, 3))
    probabilities = torch.softmax(logits, 1)
    terms = (soft - probabilities) ** 2 * WEIGHT.view(1, CLASSES, 1)
    expected = terms.mean(1) if class_mean else terms.sum(1)
    for reduction, reduced in {"none": expected, "sum": expected.sum(), "mean": expected.mean()}.items():
        criterion = ExpressionLoss(
            "(y_true - y_pred)**2", class_mean=class_mean, weight=WEIGHT.double(), reduction=reduction
        )
        torch.testing.assert_close(criterion(logits, soft), reduced)


def test_label_smoothing_mixes_the_target_with_the_uniform_one() -> None:
    logits, target = logits_for((8, CLASSES), spread=4.0), indices_for((8, CLASSES))
    mixed = functional.one_hot(target, CLASSES).double() * 0.7 + 0.3 / CLASSES
    for formula in (CROSS_ENTROPY, "abs(y_true - y_pred)"):
        smoothed = ExpressionLoss(formula, label_smoothing=0.3)(logits, target)
        torch.testing.assert_close(smoothed, ExpressionLoss(formula)(logits, mixed))


def test_a_constant_loss_has_the_shape_of_any_other() -> None:
    logits, target = logits_for((8, CLASSES)), indices_for((8, CLASSES))
    assert ExpressionLoss("2", reduction="none")(logits, target).tolist() == [10.0] * 8


MISFITS: dict[str, tuple[Tensor, Tensor, str]] = {
    "one target too few": (
        torch.randn(4, 5),
        torch.zeros(3, dtype=torch.long),
        r"shape \(4,\), not int64 of shape \(3,\)",
    ),
    "target with a class axis": (torch.randn(4, 5), torch.zeros(4, 5, dtype=torch.long), r"integers of shape \(4,\)"),
    "target of a column": (torch.randn(4, 5), torch.zeros(4, 1, dtype=torch.long), r"integers of shape \(4,\)"),
    "image with flat target": (
        torch.randn(2, 5, 3, 3),
        torch.zeros(2, dtype=torch.long),
        r"integers of shape \(2, 3, 3\), not int64 of shape \(2,\)",
    ),
    "unbatched with batched target": (torch.randn(5), torch.zeros(1, dtype=torch.long), r"integers of shape \(\)"),
    "float indices": (torch.randn(4, 5), torch.zeros(4), r"logits' shape \(4, 5\), not float32 of shape \(4,\)"),
    "probabilities of other classes": (torch.randn(4, 5), torch.rand(4, 6), r"probabilities must have the logits'"),
    "boolean target": (torch.randn(4, 5), torch.zeros(4, dtype=torch.bool), "integers of shape .* not bool"),
    "whole logits": (torch.zeros(4, 5, dtype=torch.long), torch.zeros(4, dtype=torch.long), "must be floating point"),
    "complex logits": (torch.zeros(4, 5, dtype=torch.complex64), torch.zeros(4, dtype=torch.long), "floating point"),
    "no class": (torch.zeros(4, 0), torch.zeros(4, dtype=torch.long), r"a class at least, not float32 of shape"),
    "no class in a picture": (torch.zeros(4, 0, 2), torch.zeros(4, 2, dtype=torch.long), "a class at least"),
    "logits without classes": (torch.tensor(1.0), torch.tensor(0), r"must be floating point, \(N, C\)"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_refused_with_the_expected_shape(kind: str) -> None:
    logits, target, expected = MISFITS[kind]
    for criterion in (lossforge.loss(CROSS_ENTROPY), lossforge.loss("brier", match=True), lossforge.loss("dice")):
        with pytest.raises(ValueError, match=expected):
            criterion(logits, target)


@pytest.mark.parametrize("shape", [(4,), (6,), (1,), (5, 1), ()])
def test_a_weight_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    criterion = ExpressionLoss(CROSS_ENTROPY, weight=torch.ones(shape))
    with pytest.raises(ValueError, match=r"weight must have shape \(5,\)"):
        criterion(torch.randn(2, 5), torch.tensor([0, 1]))


@pytest.mark.parametrize("reduction", ["average", "", "Mean", None])
def test_an_unknown_reduction_is_refused(reduction: Any) -> None:
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none'"):
        ExpressionLoss(CROSS_ENTROPY, reduction=reduction)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan, math.inf])
def test_a_label_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\]"):
        ExpressionLoss(CROSS_ENTROPY, label_smoothing=smoothing)


def test_what_is_no_formula_is_no_loss() -> None:
    with pytest.raises(FormulaError, match="unknown name 'foo'"):
        ExpressionLoss("foo(y_pred)")


def test_the_shell_alone_has_no_formula() -> None:
    with pytest.raises(TypeError, match="DropInLoss has no formula"):
        DropInLoss()(torch.randn(2, 5), torch.tensor([0, 1]))


def saved_and_loaded(criterion: ExpressionLoss) -> ExpressionLoss:
    buffer = io.BytesIO()
    torch.save(criterion, buffer)
    buffer.seek(0)
    loaded: ExpressionLoss = torch.load(buffer, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[ExpressionLoss], ExpressionLoss]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda criterion: pickle.loads(pickle.dumps(criterion)),
    "torch.save": saved_and_loaded,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
def test_a_copy_computes_the_same(way: str, called: bool) -> None:
    criterion = ExpressionLoss(
        "y_true * sin(y_pred) + log(y_pred)**2", class_mean=True, weight=WEIGHT, ignore_index=1, label_smoothing=0.2
    )
    logits, target = logits_for((8, CLASSES), torch.float32), indices_for((8, CLASSES))
    if called:
        criterion(logits, target)
    again = COPIES[way](criterion)
    assert torch.equal(again(logits, target), criterion(logits, target))
    assert again.formula == criterion.formula
    assert (again.ignore_index, again.label_smoothing, again.class_mean) == (1, 0.2, True)


def test_a_deep_copy_has_a_weight_of_its_own() -> None:
    criterion = ExpressionLoss(CROSS_ENTROPY, weight=WEIGHT.clone())
    again = copy.deepcopy(criterion)
    assert again.weight is not None
    again.weight.zero_()
    assert torch.equal(criterion.state_dict()["weight"], WEIGHT)


def test_the_state_is_that_of_torchs_cross_entropy() -> None:
    theirs, ours = nn.CrossEntropyLoss(weight=WEIGHT), ExpressionLoss(CROSS_ENTROPY, weight=torch.ones(CLASSES))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    logits, target = logits_for((8, CLASSES), torch.float32), indices_for((8, CLASSES))
    torch.testing.assert_close(ours(logits, target), theirs(logits, target), rtol=1e-6, atol=1e-6)
    assert ExpressionLoss(CROSS_ENTROPY).state_dict() == nn.CrossEntropyLoss().state_dict()
    assert list(ours.parameters()) == []


def test_the_weight_follows_the_module() -> None:
    criterion = ExpressionLoss(CROSS_ENTROPY, weight=WEIGHT).double()
    assert criterion.weight is not None
    assert criterion.weight.dtype == torch.float64


def test_it_stands_in_a_model_like_any_module() -> None:
    model = nn.ModuleDict({"loss": ExpressionLoss(CROSS_ENTROPY, weight=WEIGHT)})
    assert list(model.state_dict()) == ["loss.weight"]
    assert CROSS_ENTROPY in repr(model)


def test_a_tree_is_as_good_as_its_formula() -> None:
    formula = "max(y_true, 0.5) * exp(-y_pred)"
    logits, target = logits_for((8, CLASSES)), indices_for((8, CLASSES))
    from_tree = ExpressionLoss(parse_formula(formula))
    assert from_tree.formula == formula
    assert torch.equal(from_tree(logits, target), ExpressionLoss(formula)(logits, target))


def test_a_loss_that_needs_no_logarithm_is_the_same_loss() -> None:
    # It then takes softmax instead of the exponential of log-softmax; the difference is rounding.
    logits, target = logits_for((8, CLASSES)), indices_for((8, CLASSES))
    plain = ExpressionLoss("(y_true - y_pred)**2")
    roundabout = ExpressionLoss("(y_true - y_pred)**2 + (log(y_pred) - log(y_pred))")
    assert (plain.uses_log, roundabout.uses_log) == (False, True)
    torch.testing.assert_close(plain(logits, target), roundabout(logits, target), rtol=1e-12, atol=1e-12)


def test_a_description_builds_the_loss_with_its_own_smoothing_unless_told_otherwise() -> None:
    spec = LossSpec("(y_true - y_pred)**2", label_smoothing=0.2, class_mean=True)
    built = spec.build(reduction="sum", weight=WEIGHT)
    assert (built.formula, built.label_smoothing, built.class_mean, built.reduction) == (spec.formula, 0.2, True, "sum")
    assert built.weight is WEIGHT
    assert spec.build(label_smoothing=0.0).label_smoothing == 0.0
