"""Programs as arrays: registers are reused, and none is written while its value is still needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.trees import law, trees

from lossforge.expression.adjoint import joint_program
from lossforge.expression.bytecode import CODE, DEST, OP, OPCODES, A, B, Bytecode, assemble
from lossforge.expression.formula import parse_formula
from lossforge.expression.program import INPUTS, Instruction, Program
from lossforge.expression.tree import Expression

ONE_OPERAND = frozenset(OPCODES) - {"add", "sub", "mul", "div", "maximum", "minimum", "share"}


def meaning(step: Instruction, values: tuple[object, ...]) -> tuple[object, ...]:
    """An instruction as a term of what it reads, its constants where the operands are."""
    ends = tuple(values[end] if isinstance(end, int) else float(end) for end in (step.a, step.b))
    if step.op in ("add", "sub", "mul", "div", "maximum", "minimum", "share"):
        return step.op, *ends
    return step.op, ends[0], float(step.b)


def decoded(op: str, a: object, b: object, number: float) -> tuple[object, ...]:
    """A row as the same term."""
    if op == "add_number":
        return "add", a, number
    if op == "sub_from_number":
        return "sub", number, a
    if op == "number_div":
        return "div", number, a
    if op.endswith("_number"):
        return op.removesuffix("_number"), a, number
    return (op, a, number) if op in ONE_OPERAND else (op, a, b)


def normal(term: tuple[object, ...]) -> tuple[object, ...]:
    """Subtracting a number is adding its opposite; numbers of sums and products stand last."""
    op, a, b = term
    if op == "sub" and isinstance(b, float):
        return "add", a, -b
    return (op, b, a) if op in ("add", "mul") and isinstance(a, float) else term


def assert_same(program: Program, code: Bytecode, k: int) -> None:
    """Run both on names instead of numbers: what arrives at the outputs has to be the same."""
    names: list[object] = list(INPUTS)
    for step in program.code:
        names.append(normal(meaning(step, tuple(names))))
    registers: list[object] = [*INPUTS, *[None] * (code.slots - len(INPUTS))]
    for row in range(code.starts[k], code.starts[k + 1]):
        op, dest, a, b = (int(code.code[row, column]) for column in (OP, DEST, A, B))
        assert dest >= len(INPUTS), "inputs are never overwritten"
        assert dest not in (a, b), "a step never writes what it reads"
        registers[dest] = normal(decoded(OPCODES[op], registers[a], registers[b], float(code.numbers[row])))
    for place, operand in enumerate(program.outputs):
        register = int(code.outputs[k, place])
        if isinstance(operand, float):
            assert (register, float(code.constants[k, place])) == (-1, operand)
        else:
            assert same_term(registers[register], names[operand])


def same_term(one: object, other: object) -> bool:
    """Whether two terms are equal; they share their parts, and written out they would be endless."""
    seen: set[tuple[int, int]] = set()
    left = [(one, other)]
    while left:
        a, b = left.pop()
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            left += list(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


@given(st.lists(trees(max_leaves=20), min_size=1, max_size=4))
@law(300)
def test_reused_registers_hold_what_is_needed(drawn: list[Expression]) -> None:
    programs = [joint_program(tree) for tree in drawn]
    code = assemble(programs)
    assert len(code) == len(drawn)
    for k, program in enumerate(programs):
        assert_same(program, code, k)


@pytest.mark.parametrize("y_true", [None, 0.0, 1.0])
def test_long_programs_take_few_registers(y_true: float | None) -> None:
    formula = "y_pred"
    for number in range(60):
        formula = f"tanh({formula} + 0.{number + 1} * y_true) * y_pred"
    program = joint_program(parse_formula(formula), y_true)
    code = assemble([program])
    assert_same(program, code, 0)
    assert len(program.code) > 200
    # Every forward value is read on the way back; what only the way back makes is reused.
    assert code.slots < 0.8 * len(program.code)


def test_every_opcode_is_numbered_once() -> None:
    assert len(CODE) == len(OPCODES) == len(set(OPCODES))


def test_no_program_makes_no_code() -> None:
    code = assemble([])
    assert (len(code), code.code.shape, code.outputs.shape, code.slots) == (0, (0, 4), (0, 2), len(INPUTS))


def test_a_loss_that_is_a_number_has_no_steps() -> None:
    code = assemble([joint_program(parse_formula(formula)) for formula in ("2", "y_true", "log(y_pred)")])
    assert code.code.shape == (0, 4)
    assert code.outputs.tolist() == [[-1, -1], [1, -1], [2, -1]]
    assert code.constants.tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
