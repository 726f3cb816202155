"""Programs: what an expression computes, its canonical and simplified forms compute too, with only guards that act."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from tests.helpers.conditioning import Tally, batch, one_hot, truth
from tests.helpers.reference import on_logits
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.adjoint import joint_program
from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import BOUND
from lossforge.expression.program import INPUTS, Lowering, Program, ProgramBuilder, value_program
from lossforge.expression.simplify import simplified
from lossforge.expression.tree import CONSTANT, Expression

DTYPES = [torch.float32, torch.float64]


def of_targets(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with one-hot targets, and again with soft ones."""
    logits, indices, soft = batch(dtype)
    return torch.cat([logits, logits]), torch.cat([one_hot(indices, dtype), soft])


@pytest.mark.parametrize("searched", [False, True], ids=["any constants", "as a search draws them"])
def test_a_program_and_its_canonical_form_compute_the_expression(searched: bool) -> None:
    tally = Tally()

    @given(trees(max_leaves=10, numbers=short_constants() if searched else None))
    @law(450)
    def check(tree: Expression) -> None:
        form = canonical_form(tree)
        for dtype in DTYPES:
            logits, y_true = of_targets(dtype)
            expected = truth(tree, logits, y_true, dtype)
            tally.add(expected.settled)
            assert not expected.wrong(*on_logits(tree, logits, y_true)).any()
            rewritten = expected.wrong(*on_logits(form, logits, y_true))
            # (a + b) - a is b only where nothing is held at the bound, and so is c * (d * x) = (c * d) * x.
            if any(node.op == CONSTANT and abs(node.value) >= BOUND for node in form.walk()):
                continue
            if rewritten.any():
                rewritten &= ~(expected.bounded | truth(form, logits, y_true, dtype).bounded)
            assert not rewritten.any(), form

    check()
    assert tally.share > 0.85


def test_a_simplified_form_computes_the_expression() -> None:
    tally = Tally()
    drawn: list[Expression] = []

    @given(trees(max_leaves=7, numbers=short_constants()))
    @law(40)
    def draw(tree: Expression) -> None:
        drawn.append(tree)

    draw()
    for tree, form in zip(drawn, simplified(drawn, 2.0, budget=6.0), strict=True):
        for dtype in DTYPES:
            logits, y_true = of_targets(dtype)
            # The shorter form may be the worse conditioned one: both have to be settled.
            expected, shorter = (truth(each, logits, y_true, dtype) for each in (tree, form))
            compared = expected.settled & shorter.settled
            tally.add(compared)
            wrong = expected.wrong(*on_logits(form, logits, y_true)) & compared
            assert not (wrong & ~(expected.bounded | shorter.bounded)).any(), f"{tree} became {form}"
    assert tally.share > 0.8


def assert_well_formed(program: Program) -> None:
    seen = set()
    used = {end for end in program.outputs if isinstance(end, int)}
    for index, step in enumerate(program.code):
        ends = [end for end in (step.a, step.b) if isinstance(end, int)]
        assert ends, "a step on constants is folded"
        assert all(0 <= end < len(INPUTS) + index for end in ends), "a step reads only what came before it"
        assert (step.op, step.a, step.b) not in seen, "the same step is taken once"
        seen.add((step.op, step.a, step.b))
        used.update(ends)
    assert used >= set(range(len(INPUTS), len(INPUTS) + len(program.code))), "every step is needed"


@given(trees(max_leaves=12))
@law(300)
def test_programs_are_well_formed(tree: Expression) -> None:
    assert_well_formed(value_program(tree))
    for y_true in (None, 0.0, 1.0):
        assert_well_formed(joint_program(tree, y_true))


@given(trees(max_leaves=10))
@law(200)
def test_a_program_for_one_target_does_not_read_the_target(tree: Expression) -> None:
    for y_true in (0.0, 1.0):
        assert not joint_program(tree, y_true).reads(INPUTS.index("y_true"))


def test_a_constant_and_a_register_of_the_same_number_are_not_confused() -> None:
    builder = ProgramBuilder()
    assert builder.emit("mul", 0, 1) != builder.emit("mul", 0, 1.0)
    assert builder.emit("mul", 1.0, 0) == builder.emit("mul", 0, 1.0)
    assert builder.emit("mul", 1, 0) == builder.emit("mul", 0, 1)
    assert builder.emit("sub", 1, 0) != builder.emit("sub", 0, 1)


@pytest.mark.parametrize(
    ("formula", "y_true", "output"),
    [
        ("-y_true * log(y_pred)", 0.0, 0.0),
        ("y_true * y_pred", 1.0, 0),
        ("y_pred + y_true", 0.0, 0),
        ("y_pred - y_true", 0.0, 0),
        ("y_pred / y_true", 1.0, 0),
        ("max(y_true, y_pred)", 1.0, 1.0),
        ("min(y_true, y_pred)", 0.0, 0.0),
        ("y_true * log(y_pred)", 1.0, 2),
        ("sin(y_true) + exp(y_true)", 0.0, 1.0),
    ],
)
def test_what_a_known_target_decides_is_not_computed(formula: str, y_true: float, output: float) -> None:
    program = Lowering(y_true)
    assert program.lower(parse_formula(formula))[0] == output
    assert not program.builder.finish(output if isinstance(output, int) else float(output)).code


def test_a_tree_that_doubles_at_every_level_makes_one_step_a_level() -> None:
    tree = parse_formula("y_pred - y_true")
    for _ in range(40):
        tree = Expression("sin", (Expression("add", (tree, tree)),))
    assert len(value_program(tree).code) == 81
    assert len(joint_program(tree).code) < 400
