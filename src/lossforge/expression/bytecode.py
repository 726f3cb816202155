"""Programs as arrays: what the interpreters read. Registers are reused as soon as their value is done with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossforge.expression.instructions import GROUPS, INSTRUCTIONS
from lossforge.expression.program import Instruction, Program
from lossforge.expression.protection import INPUTS, Operand

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

OPCODES = tuple(
    opcode for group in GROUPS for kind in INSTRUCTIONS.values() if kind.group == group for opcode in kind.opcodes
)
"""Every opcode, the groups one after the other. Those with a number in their name take a constant for one operand."""
CODE = {name: number for number, name in enumerate(OPCODES)}
"""An opcode's number by its name."""
LAST = {
    group: max(CODE[opcode] for kind in INSTRUCTIONS.values() if kind.group == group for opcode in kind.opcodes)
    for group in GROUPS
}
"""The last opcode's number of each group."""

OP, DEST, A, B = range(4)
"""Columns of `Bytecode.code`."""


@dataclass(frozen=True)
class Bytecode:
    """K programs with two outputs each.

    ``code`` (steps, 4) int32: opcode, destination, two registers; ``numbers`` (steps,) the constant of each
    step; ``starts`` (K + 1,) where each program begins; ``outputs`` (K, 2) registers, -1 for a constant,
    whose value is in ``constants`` (K, 2); ``slots`` is the number of registers. ``needs``: what each program reads
    besides logits and target.
    """

    code: NDArray[numpy.int32]
    numbers: NDArray[numpy.float64]
    starts: NDArray[numpy.int32]
    outputs: NDArray[numpy.int32]
    constants: NDArray[numpy.float64]
    slots: int
    needs: tuple[frozenset[str], ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, places: Sequence[int]) -> Bytecode:
        """The programs at these places, in this order."""
        import numpy

        pieces = [slice(self.starts[place], self.starts[place + 1]) for place in places]
        lengths = [piece.stop - piece.start for piece in pieces]
        empty = slice(0, 0)
        return Bytecode(
            numpy.concatenate([self.code[piece] for piece in pieces or [empty]]),
            numpy.concatenate([self.numbers[piece] for piece in pieces or [empty]]),
            numpy.cumsum([0, *lengths]).astype(numpy.int32),
            self.outputs[list(places)].reshape(-1, 2),
            self.constants[list(places)].reshape(-1, 2),
            self.slots,
            tuple(self.needs[place] for place in places),
        )

    def padded(self) -> Bytecode:
        """The same programs in arrays of their own, with idle steps behind and idle registers: so many are alike."""
        import numpy

        steps = 2 ** max(len(self.numbers) - 1, 32 * len(self) - 1).bit_length()
        more = steps - len(self.numbers)
        return Bytecode(
            numpy.pad(self.code, ((0, more), (0, 0))),
            numpy.pad(self.numbers, (0, more)),
            self.starts.copy(),
            self.outputs.copy(),
            self.constants.copy(),
            -(-self.slots // 32) * 32,
            self.needs,
        )


def _select(step: Instruction) -> tuple[str, tuple[Operand, ...], float]:
    """Opcode, register operands and constant of an instruction."""
    op, a, b, _ = step
    if op in ("add", "sub", "mul", "div"):
        if isinstance(a, int) and isinstance(b, int):
            return op, (a, b), 0.0
        if isinstance(a, int):
            return ("add_number", (a,), -float(b)) if op == "sub" else (f"{op}_number", (a,), float(b))
        assert isinstance(b, int), "an operation on two constants is folded"
        return {
            "add": ("add_number", (b,), a),
            "mul": ("mul_number", (b,), a),
            "sub": ("sub_from_number", (b,), a),
            "div": ("number_div", (b,), a),
        }[op]
    if isinstance(a, int) and isinstance(b, int):
        return op, (a, b), 0.0
    return op, (a,) if isinstance(a, int) else (), float(b)


@dataclass(frozen=True)
class Assembled:
    """One program: its part of every array of `Bytecode`, and how many registers it takes."""

    code: NDArray[numpy.int32]
    numbers: NDArray[numpy.float64]
    outputs: list[int]
    constants: list[float]
    slots: int
    needs: frozenset[str]


def assemble_one(program: Program) -> Assembled:
    """Bytecode of one joint program."""
    import numpy

    last = {
        operand: index
        for index, step in enumerate(program.code)
        for operand in (step.a, step.b)
        if isinstance(operand, int)
    }
    kept = {operand for operand in program.outputs if isinstance(operand, int)}
    place = {register: register for register in range(len(INPUTS))}
    free: list[int] = []
    rows: list[tuple[int, int, int, int]] = []
    numbers: list[float] = []
    slots = len(INPUTS)
    for index, step in enumerate(program.code):
        op, operands, number = _select(step)
        if free:
            dest = free.pop()
        else:
            dest, slots = slots, slots + 1
        registers = [place[int(operand)] for operand in operands]
        # Freed after the destination was taken: a step never writes what it reads.
        for operand in {int(operand) for operand in operands}:
            if last[operand] == index and operand not in kept and operand >= len(INPUTS):
                free.append(place[operand])
        place[len(INPUTS) + index] = dest
        rows.append((CODE[op], dest, *((registers[0], registers[-1]) if registers else (0, 0))))
        numbers.append(number)
    return Assembled(
        numpy.array(rows, dtype=numpy.int32).reshape(-1, 4),
        numpy.array(numbers, dtype=numpy.float64),
        [place[operand] if isinstance(operand, int) else -1 for operand in program.outputs],
        [operand if isinstance(operand, float) else 0.0 for operand in program.outputs],
        slots,
        program.needs,
    )


def join(parts: Sequence[Assembled]) -> Bytecode:
    """Bytecode of K programs that were assembled one by one."""
    import numpy

    lengths = [len(part.numbers) for part in parts]
    return Bytecode(
        numpy.concatenate([numpy.empty((0, 4), numpy.int32), *(part.code for part in parts)]),
        numpy.concatenate([numpy.empty(0), *(part.numbers for part in parts)]),
        numpy.cumsum([0, *lengths]).astype(numpy.int32),
        numpy.array([part.outputs for part in parts], dtype=numpy.int32).reshape(-1, 2),
        numpy.array([part.constants for part in parts], dtype=numpy.float64).reshape(-1, 2),
        max([len(INPUTS), *(part.slots for part in parts)]),
        tuple(part.needs for part in parts),
    )


def assemble(programs: Sequence[Program]) -> Bytecode:
    """Bytecode of K joint programs."""
    return join([assemble_one(program) for program in programs])
