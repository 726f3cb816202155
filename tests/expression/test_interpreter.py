"""The interpreter computes what the emitted code computes, whatever the shapes, and any number of losses at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from scipy import special
from tests.helpers.conditioning import Tally, batch, one_hot, truth
from tests.helpers.trees import law, short_constants, trees
from torch import Tensor

from lossforge.expression.bytecode import CODE
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.program_kernel import run_program
from lossforge.expression.tree import Expression
from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss

DTYPES = [torch.float32, torch.float64]
FORMULAS = [
    "-y_true * log(y_pred)",
    "(y_true - y_pred)**2",
    "2",
    "y_true",
    "y_pred",
    "log(y_pred)",
    "y_true / (y_pred - 0.5) + log(y_true - y_pred) * sqrt(1 - y_pred)",
    "max(0.3, sin(y_pred)) * aq(y_true, y_pred) + sigmoid(y_true) * erf(min(y_pred, y_true))",
    "exp(y_true - y_pred) / (1.2 + cos(6 * y_pred)) - tanh(y_true * y_pred) * abs(y_pred - 0.3)",
    "sign(y_pred - 0.1) * y_true",
]
TREES = [parse_formula(formula) for formula in FORMULAS]


def of_one(tree: Expression, logits: Tensor, target: Tensor, *, terms: bool = True) -> tuple[Tensor, Tensor]:
    value, gradient = Interpreter([tree]).value_and_gradient(logits, target, terms=terms)
    return value[0], gradient[0]


@pytest.mark.parametrize("searched", [False, True], ids=["any constants", "as a search draws them"])
def test_it_computes_the_expression(searched: bool) -> None:
    tally = Tally()

    @given(trees(max_leaves=12, numbers=short_constants() if searched else None))
    @law(500)
    def check(tree: Expression) -> None:
        for dtype in DTYPES:
            logits, indices, soft = batch(dtype)
            for target, y_true in ((indices, one_hot(indices, dtype)), (soft, soft)):
                expected = truth(tree, logits, y_true, dtype)
                tally.add(expected.settled)
                value, gradient = of_one(tree, logits, target)
                assert value.isfinite().all()
                assert gradient.isfinite().all()
                assert not expected.wrong(value, gradient).any()
                summed, same = of_one(tree, logits, target, terms=False)
                assert torch.equal(same, gradient)
                assert not expected.wrong(summed, gradient).any()

    check()
    assert tally.share > 0.85


def random_batch(rows: int, classes: int, dtype: torch.dtype, *k: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + classes)
    logits = torch.randn(*k, rows, classes, generator=generator, dtype=dtype) * 3
    soft = torch.softmax(torch.randn(*k, rows, classes, generator=generator, dtype=dtype), -1)
    return logits, torch.randint(classes, (*k, rows), generator=generator), soft


SHAPES = [(rows, classes) for classes in (1, 2, 3, 31, 32, 33, 100, 1000, 1281) for rows in (1, 2, 45)] + [
    (641, 2),
    (1280, 1),
    (1281, 1),
    (97, 31),
    (401, 10),
    (400, 10),
    (131, 10),
    (12, 100),
    (13, 100),
]


@pytest.mark.parametrize(("rows", "classes"), SHAPES)
def test_every_number_of_samples_and_classes_is_computed_whole(rows: int, classes: int) -> None:
    logits, indices, soft = random_batch(rows, classes, torch.float64)
    for target in (indices, soft):
        value, gradient = Interpreter(TREES).value_and_gradient(logits, target)
        terms, again = Interpreter(TREES).value_and_gradient(logits, target, terms=True)
        assert torch.equal(gradient, again)
        torch.testing.assert_close(terms.sum(2), value)
        for k, tree in enumerate(TREES):
            z = logits.clone().requires_grad_()
            expected = DropInLoss.unscaled(ExpressionLoss(tree, reduction="none"), z, target)
            torch.testing.assert_close(value[k], expected.detach(), rtol=1e-9, atol=1e-12)
            slope = torch.autograd.grad(expected.sum(), z)[0] if expected.requires_grad else torch.zeros_like(z)
            torch.testing.assert_close(gradient[k], slope, rtol=1e-8, atol=1e-10, msg=FORMULAS[k])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (131, 10), (7, 33), (3, 1000)])
def test_many_losses_are_each_as_alone_bit_for_bit(dtype: torch.dtype, rows: int, classes: int) -> None:
    smoothing = [0.1 * (k % 4) for k in range(len(TREES))]
    for k_logits in ((), (len(TREES),)):
        for k_targets in ((), (len(TREES),)):
            logits = random_batch(rows, classes, dtype, *k_logits)[0]
            _, indices, soft = random_batch(rows, classes, dtype, *k_targets)
            for target in (indices, soft):
                together = Interpreter(TREES, smoothing).value_and_gradient(logits, target)
                for k, tree in enumerate(TREES):
                    z = logits[k] if k_logits else logits
                    aim = target[k] if k_targets else target
                    alone = Interpreter([tree], smoothing[k : k + 1]).value_and_gradient(z, aim)
                    for both, one in zip(together, alone, strict=True):
                        assert torch.equal(both[k], one[0])


def test_a_sample_is_the_same_in_every_batch() -> None:
    # A block's last samples are filled up; none may see another.
    logits, indices, soft = random_batch(300, 10, torch.float32)
    for target in (indices, soft):
        whole = Interpreter(TREES).value_and_gradient(logits, target)
        for start, end in ((0, 1), (7, 24), (120, 300)):
            part = Interpreter(TREES).value_and_gradient(logits[start:end], target[start:end])
            for one, other in zip(whole, part, strict=True):
                torch.testing.assert_close(one[:, start:end], other, rtol=1e-5, atol=1e-6)


def test_label_smoothing_mixes_the_target_with_the_uniform_one() -> None:
    logits, indices, soft = random_batch(20, 7, torch.float64)
    for target in (indices, soft):
        value, gradient = Interpreter(TREES, [0.3] * len(TREES)).value_and_gradient(logits, target)
        dense = target if target.is_floating_point() else torch.nn.functional.one_hot(target, 7).double()
        mixed, slope = Interpreter(TREES).value_and_gradient(logits, dense * 0.7 + 0.3 / 7)
        torch.testing.assert_close(value, mixed, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-12)


def test_one_hot_probabilities_are_class_indices_bit_for_bit() -> None:
    for dtype in DTYPES:
        logits, indices, _ = batch(dtype)
        found = Interpreter(TREES).value_and_gradient(logits, indices)
        for one, other in zip(
            found, Interpreter(TREES).value_and_gradient(logits, one_hot(indices, dtype)), strict=True
        ):
            assert torch.equal(one, other)


def test_the_memory_layout_and_integer_type_do_not_matter() -> None:
    logits, indices, soft = random_batch(20, 7, torch.float32)
    expected = Interpreter(TREES).value_and_gradient(logits, indices)[1]
    for z in (logits.t().contiguous().t(), logits.expand(len(TREES), 20, 7), logits.clone().requires_grad_()):
        assert torch.equal(Interpreter(TREES).value_and_gradient(z, indices.int())[1], expected)
    expected = Interpreter(TREES).value_and_gradient(logits, soft)[1]
    assert torch.equal(Interpreter(TREES).value_and_gradient(logits, soft.t().contiguous().t().double())[1], expected)


def test_long_trees_do_not_overwrite_what_they_need() -> None:
    formula = "y_pred"
    for number in range(60):
        formula = f"sin({formula} + 0.{number + 1} * y_true) * (y_pred + cos({number} * y_pred))"
    tree = parse_formula(formula)
    logits, indices, soft = batch(torch.float64)
    for target, y_true in ((indices, one_hot(indices, torch.float64)), (soft, soft)):
        expected = truth(tree, logits, y_true, torch.float64)
        assert not expected.wrong(*of_one(tree, logits, target)).any()
        assert expected.settled.float().mean() > 0.6


MISFITS: dict[str, tuple[Tensor, Tensor, str]] = {
    "logits of one sample": (torch.randn(4), torch.tensor(0), r"logits must be \(N, C\) or \(2, N, C\), not \(4,\)"),
    "logits of other losses": (torch.randn(3, 5, 4), torch.zeros(5).long(), r"not \(3, 5, 4\)"),
    "logits of an image": (torch.randn(2, 5, 4, 4), torch.zeros(5).long(), r"not \(2, 5, 4, 4\)"),
    "a target too few": (torch.randn(5, 4), torch.zeros(4).long(), r"logits \(5, 4\) cannot be \(4,\)"),
    "targets of other losses": (torch.randn(5, 4), torch.zeros(3, 5).long(), "cannot be"),
    "other classes": (torch.randn(5, 4), torch.rand(5, 3), r"cannot be \(5, 3\)"),
    "probabilities of classes alone": (torch.randn(5, 4), torch.rand(4), r"cannot be \(4,\)"),
    "float indices": (torch.randn(5, 4), torch.rand(5), r"cannot be \(5,\)"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_refused(kind: str) -> None:
    logits, target, message = MISFITS[kind]
    with pytest.raises(ValueError, match=message):
        Interpreter(TREES[:2]).value_and_gradient(logits, target)


@pytest.mark.parametrize("index", [4, -1])
def test_a_class_that_does_not_exist_is_refused(index: int) -> None:
    logits, indices, _ = random_batch(5, 4, torch.float32)
    indices[1] = index
    with pytest.raises((ValueError, IndexError)):
        Interpreter(TREES[:2]).value_and_gradient(logits, indices)


def test_a_smoothing_for_other_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        Interpreter(TREES[:2], [0.1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64], ids=str)
def test_logits_of_another_type_are_refused(dtype: torch.dtype) -> None:
    logits, indices, _ = random_batch(5, 4, torch.float32)
    with pytest.raises(ValueError, match="float32 or float64"):
        Interpreter(TREES[:2]).value_and_gradient(logits.to(dtype), indices)


def test_no_sample_has_no_values() -> None:
    logits, indices, _ = random_batch(5, 4, torch.float32)
    value, gradient = Interpreter(TREES[:2]).value_and_gradient(logits[:0], indices[:0])
    assert (value.shape, gradient.shape) == ((2, 0), (2, 0, 4))


def test_no_loss_has_no_values() -> None:
    logits, indices, _ = random_batch(5, 4, torch.float32)
    value, gradient = Interpreter([]).value_and_gradient(logits, indices)
    assert (value.shape, gradient.shape) == ((0, 5), (0, 5, 4))


DEPENDENT = ["-y_true * log(y_pred)", "(y_true - y_pred)**2", "1 / y_pred", "log(1 - y_pred)", "exp(-y_pred)", "y_pred"]
DEPENDENT += ["max(y_pred, 0.5)", "min(y_pred, y_true)", "sqrt(y_pred)", "sigmoid(y_pred)", "tanh(y_pred)"]
DEPENDENT += ["erf(y_pred)", "abs(y_pred - y_true)", "sin(y_pred)", "aq(y_true, y_pred)", "exp(40 * y_pred)"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 4), (40, 4), (3, 40)])
def test_logits_that_diverged_give_a_loss_that_is_not_finite(
    bad: float, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    # By it, a training notices that it diverged.
    logits, indices, _ = random_batch(*shape, dtype)
    logits[0, 1] = bad
    interpreter = Interpreter([parse_formula(formula) for formula in DEPENDENT])
    value, _ = interpreter.value_and_gradient(logits, indices)
    finite = [formula for formula, loss in zip(DEPENDENT, value, strict=True) if loss[0].isfinite()]
    assert finite == []
    assert value[:, 1:].isfinite().all()


def by_kernel(op: str, x: NDArray[Any]) -> NDArray[Any]:
    """One operation of the CPU kernel, in float32 on what is exact in it; the result in float64."""
    registers = numpy.zeros((4, len(x)), numpy.float32)
    registers[0] = x
    code, numbers, row = numpy.array([[CODE[op], 3, 0, 0]], numpy.int32), numpy.zeros(1, numpy.float32), registers[0]
    run_program(code, numbers, 0, 1, registers, row.copy(), False, numpy.float32(0), numpy.ones(1, numpy.float32))
    return registers[3].astype(numpy.float64)


def between(low: float, high: float) -> NDArray[Any]:
    return numpy.random.default_rng(0).uniform(low, high, 20_000).astype(numpy.float32).astype(numpy.float64)


ACCURACY: list[tuple[str, Callable[[NDArray[Any]], NDArray[Any]], NDArray[Any], float]] = [
    ("exp", numpy.exp, between(-110, 88), 1.2e-7),
    ("log", numpy.log, 10 ** between(-6, 12), 1.2e-7),
    ("log", numpy.log, between(0.9, 1.1), 1.2e-7),
    ("sin", numpy.sin, between(-1, 1), 1.5e-7),
    ("cos", numpy.cos, between(-1, 1), 1.5e-7),
    ("tanh", numpy.tanh, between(-1, 1), 2e-7),
    ("tanh", numpy.tanh, between(-90, 90), 2e-7),
    ("erf", special.erf, between(-1, 1), 3e-7),
    ("erf", special.erf, between(-9, 9), 3e-7),
    ("sigmoid", special.expit, between(-5, 5), 2e-7),
    ("sigmoid", special.expit, between(-80, 80), 2e-7),
]


@pytest.mark.parametrize(
    ("op", "exact", "x", "error"), ACCURACY, ids=[f"{row[0]}-{row[2].max():.3g}" for row in ACCURACY]
)
def test_functions_in_float32_are_good_to_a_few_units_in_the_last_place(
    op: str, exact: Callable[[NDArray[Any]], NDArray[Any]], x: NDArray[Any], error: float
) -> None:
    x = x.astype(numpy.float32).astype(numpy.float64)
    expected = exact(x)
    off = numpy.abs(by_kernel(op, x) - expected)
    assert (off <= error * numpy.abs(expected) + 5e-45).all()


@pytest.mark.parametrize("limit", [10.0, 8191.0, 8193.0, 1e5, 1e12])
def test_waves_in_float32_are_right_however_large_the_angle(limit: float) -> None:
    x = between(-limit, limit)
    for op, exact in (("sin", numpy.sin), ("cos", numpy.cos)):
        assert numpy.abs(by_kernel(op, x) - exact(x)).max() < 1.2e-7


def test_functions_are_exact_at_their_fixed_points() -> None:
    assert by_kernel("exp", numpy.zeros(3)).tolist() == [1.0] * 3
    assert by_kernel("log", numpy.ones(3)).tolist() == [0.0] * 3
    assert by_kernel("sigmoid", numpy.zeros(3)).tolist() == [0.5] * 3
    for op in ("sin", "tanh", "erf"):
        assert by_kernel(op, numpy.zeros(3)).tolist() == [0.0] * 3
    for op in ("tanh", "erf"):
        assert by_kernel(op, numpy.array([-1e12, -90.0, 90.0, 1e12])).tolist() == [-1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "op", ["sqrt", "log", "exp", "sin", "cos", "tanh", "sigmoid", "erf", "bound", "protect", "abs"]
)
def test_what_is_not_a_number_stays_so(op: str) -> None:
    assert numpy.isnan(by_kernel(op, numpy.array([math.nan] * 9))).all()


def test_padded_tables_with_the_same_room_become_other_losses_in_place() -> None:
    formulas = ["-y_true * log(y_pred)", "(y_true - y_pred)**2"]
    others = ["sin(max(y_pred, y_true)) / exp(y_pred - y_true)", "exp(y_pred) - 3"]
    first, second = (Interpreter([parse_formula(one) for one in some], [0.0, 0.2]) for some in (formulas, others))
    one, other = first.padded(), second.padded()
    assert one.room == other.room == one.padded().room
    assert first.room != second.room
    logits = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(9) % 5
    for losses in (first, second, first):
        for mine, theirs in zip(one.shared_tables(logits), losses.padded().shared_tables(logits), strict=True):
            mine.copy_(theirs)
        for found, wanted in zip(
            one.value_and_gradient(logits, target), losses.value_and_gradient(logits, target), strict=True
        ):
            assert torch.equal(found, wanted)
