"""A walk along the table of operations: what a record says is true in every back end, and nothing is missing."""

from __future__ import annotations

import inspect

import numpy
import pytest
import torch
from tests.helpers.crossing import PLAIN, sample_losses
from torch import Tensor

from lossforge.export.latex import latex, words
from lossforge.expression import program_kernel, triton_kernel
from lossforge.expression.bytecode import CODE, assemble
from lossforge.expression.formula import parse_formula
from lossforge.expression.instructions import FROM_OUTSIDE, INSTRUCTIONS
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.program import Instruction, Program
from lossforge.expression.protection import clip
from lossforge.expression.simplify import from_sympy, to_sympy
from lossforge.expression.symbolic_derivative import derivative
from lossforge.expression.tree import Expression, call, constant, format_formula, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.losses.compiled import ExpressionLoss

NAMES = tuple(OPERATIONS)
ELEMENTWISE = [name for name in NAMES if OPERATIONS[name].array is not None]
FACTORS = (1.0, -3.0, 1e-3, 40.0, 1e6, -1e11)


def trees(name: str) -> list[Expression]:
    """The operation of arguments that are ordinary, tiny, large, at the bound and of both signs."""
    found = []
    for index, factor in enumerate(FACTORS):
        first = call("mul", constant(factor), leaf("logit"))
        other = call("add", call("mul", constant(FACTORS[index - 1]), leaf("y_true")), leaf("y_pred"))
        found.append(call(name, *(first, other)[: OPERATIONS[name].arity]))
        if OPERATIONS[name].arity == 2:
            found += [
                call(name, other, first),
                call(name, first, constant(factor)),
                call(name, constant(factor), first),
            ]
    return [call("mul", tree, call("add", leaf("y_true"), leaf("y_pred"))) for tree in found]


def logits_and_targets() -> tuple[Tensor, Tensor]:
    """Ordinary samples, such with logits of ±50, and such with probabilities of exactly 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    ordinary = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    extreme = torch.tensor([[50.0, -50, 49, -48], [-50.0, 50, -49.5, 0.5], [1000.0, -1000, -999, -998]])
    logits = torch.cat([ordinary, extreme.double()])
    target = torch.arange(len(logits)) % 4
    y_true = torch.nn.functional.one_hot(target, 4).double()
    y_true[::3] = 0.7 * y_true[::3] + 0.075
    return logits, y_true


def derivatives(value: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the sum of the values, and that of a weighted sum of it, once more on the logits."""
    if not value.requires_grad:
        return torch.zeros_like(z), torch.zeros_like(z)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True, materialize_grads=True)
    if not first.requires_grad:
        return first, torch.zeros_like(z)
    weight = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).view_as(z)
    (second,) = torch.autograd.grad((first * weight).sum(), z, materialize_grads=True)
    return first.detach(), second


def truth(expression: Expression, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    logits, y_true = logits_and_targets()
    z = (logits * (1 + shift)).requires_grad_()
    value = sample_losses(expression, z, y_true)
    return (value.detach(), *derivatives(value, z))


def test_every_operation_has_a_reference_and_a_whole_record() -> None:
    assert {*NAMES} - {"true_c"} <= {*PLAIN}, "write what a new operation means in tests/helpers/crossing.py"
    for name, record in OPERATIONS.items():
        assert name == record.name
        assert record.meaning
        tree = call(name, *(leaf("y_pred"), leaf("y_true"))[: record.arity])
        assert latex(tree)
        assert words(tree)
        assert parse_formula(format_formula(tree)) == tree
        assert (record.slope is None) == (record.array is None), "an element stands alone, or does not"
    for leaf_name, known in EVERY_LEAF.items():
        assert latex(leaf(leaf_name)) == known.latex
        assert words(leaf(leaf_name)) == known.words


@pytest.mark.parametrize("name", NAMES)
def test_value_first_and_second_derivative_are_right_in_every_back_end(name: str) -> None:
    logits, y_true = logits_and_targets()
    settled = 0
    for expression in trees(name):
        right = truth(expression)
        moved = [truth(expression, shift) for shift in (1e-13, -1e-13, 3e-13)]
        keep = torch.ones(len(logits), dtype=torch.bool)
        for other in moved:
            for a, b in zip(right, other, strict=True):
                far = (a - b).abs() > 1e-6 * (1 + a.abs())
                keep &= ~(far if far.dim() == 1 else far.any(1))
        settled += int(keep.sum())
        z = logits.clone().requires_grad_()
        value = ExpressionLoss(expression, reduction="none")(z, y_true)
        found = (value.detach(), *derivatives(value, z))
        by_data = Interpreter([expression]).value_and_gradient(logits, y_true)
        for label, mine in (("torch", found), ("numba", (by_data[0][0], by_data[1][0]))):
            for order, (part, wanted) in enumerate(zip(mine, right, strict=False)):
                size = 1 + (wanted.abs() if wanted.dim() == 1 else wanted.abs().amax(1, keepdim=True))
                close = ((part - wanted).abs() <= 1e-5 * size)[keep]
                assert close.all(), (label, order, format_formula(expression))
                assert part.isfinite().all() or order == 2, (label, order, format_formula(expression))
    assert settled > 0.6 * len(logits) * len(trees(name)), settled


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_number_array_and_torch_agree(name: str) -> None:
    record = OPERATIONS[name]
    assert record.array is not None
    numbers = [0.0, 1e-9, 1e-6, 0.3, 1.0, 2.7, 26.0, 28.0, 1e5, 1e12]
    values = numpy.array([sign * number for number in numbers for sign in (1.0, -1.0)])
    pairs = numpy.meshgrid(values, values)[: record.arity] if record.arity == 2 else [values]
    arrays = record.array(numpy, *pairs)
    reference = PLAIN[name](*(torch.from_numpy(numpy.ascontiguousarray(part)) for part in pairs)).numpy()
    assert numpy.allclose(arrays, reference, rtol=1e-12, atol=1e-12)
    flat = [part.ravel() for part in pairs]
    for place in range(0, arrays.size, 7):
        one = clip(record.value(*(float(part[place]) for part in flat)))
        assert one == pytest.approx(float(arrays.ravel()[place]), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_parity_and_commutativity_are_what_the_record_says(name: str) -> None:
    record = OPERATIONS[name]
    x, y = numpy.array([-3.3, -0.2, 0.4, 5.0]), numpy.array([0.7, -2.0, 0.1, 3.0])
    assert record.array is not None
    if record.arity == 2:
        same = numpy.array_equal(record.array(numpy, x, y), record.array(numpy, y, x))
        assert same == record.commutative
        return
    value, mirrored = record.array(numpy, x), record.array(numpy, -x)
    assert (record.parity == "even") == numpy.allclose(value, mirrored, atol=0)
    if record.parity == "odd":
        assert numpy.allclose(value, -mirrored, atol=0)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_slope_and_the_form_in_sympy_are_the_operation_s(name: str) -> None:
    points = {"y_pred": 0.41, "y_true": 0.83}
    arguments = [leaf("y_pred"), leaf("y_true")][: OPERATIONS[name].arity]
    tree = call(name, *arguments)

    def at(expression: Expression, p: float) -> float:
        if expression.op in points:
            return p if expression.op == "y_pred" else points["y_true"]
        if not expression.args:
            return expression.value
        return OPERATIONS[expression.op].value(*(at(arg, p) for arg in expression.args))

    step = 1e-6
    rise = (at(tree, points["y_pred"] + step) - at(tree, points["y_pred"] - step)) / (2 * step)
    assert at(derivative(tree), points["y_pred"]) == pytest.approx(rise, rel=1e-6, abs=1e-9)
    back = from_sympy(to_sympy(tree))
    assert at(back, points["y_pred"]) == pytest.approx(at(tree, points["y_pred"]), rel=1e-12)


def test_every_instruction_has_a_line_in_both_kernels() -> None:
    for kernel in (program_kernel, triton_kernel):
        source = inspect.getsource(kernel)
        for name in CODE:
            assert f'CODE["{name}"]' in source, f"{kernel.__name__} does not know the opcode {name}"
    assert {opcode for kind in INSTRUCTIONS.values() for opcode in kind.opcodes} == {*CODE}


@pytest.mark.parametrize("name", [name for name in INSTRUCTIONS if name not in FROM_OUTSIDE])
@pytest.mark.parametrize("classes", [3, 40])
def test_an_instruction_on_a_cpu_is_what_numpy_makes_of_it(name: str, classes: int) -> None:
    values = numpy.array([0.3, 1e-7, 1.7, 0.0, 12.0, 0.5, 3e-6, 2.0, 0.9, 25.0, 1.0])
    a = numpy.resize(values, (5, classes)) * (1 if name in ("sqrt", "log") else -1)
    a[:, ::2] *= -1 if name not in ("sqrt", "log") else 1
    a = numpy.abs(a) + 1e-7 if name in ("sqrt", "log") else a
    kind = INSTRUCTIONS[name]
    takes_number = name in ("clamp_min", "clamp_max", "ge", "le", "bound", "protect", "inside", "outside")
    number = {"bound": 1e12, "inside": 1e12, "protect": 1e-6, "outside": 1e-6}.get(name, 0.4)
    # The first register holds any numbers here: the targets are not looked at. The second is made of the first.
    second: tuple[Instruction, ...] = (Instruction("mul", 1, 0.5), Instruction("add", 3, 0.25))
    step = Instruction(name, 1, number if takes_number else 4)
    losses = Interpreter([])
    losses.bytecode, losses.smoothing = assemble([Program((*second, step), (5, 0.0))]), numpy.zeros(1)
    found, _ = losses.value_and_gradient(torch.zeros(5, classes).double(), torch.from_numpy(a), terms=True)
    b = a * 0.5 + 0.25
    with numpy.errstate(all="ignore"):
        wanted = kind.array(numpy, a, number if takes_number else b)
    assert numpy.allclose(found[0].numpy(), numpy.broadcast_to(wanted, a.shape), rtol=1e-12, atol=1e-12)
