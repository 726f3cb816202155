"""The steps of a program on a CPU, compiled by numba: one loop over a block for each operation.

Functions take the whole table of registers and registers' numbers: a slice for every step would cost more than
the step.
"""

from __future__ import annotations

import math

from lossforge.expression.bytecode import CODE
from lossforge.expression.jit import compiler
from lossforge.expression.vector_math import erf, exp, log, sine, tanh

_LARGE = 8192.0
"""Beyond this an angle is reduced in float64."""

compiled = compiler()

(
    _ADD,
    _ADD_NUMBER,
    _SUB,
    _SUB_FROM_NUMBER,
    _MUL,
    _MUL_NUMBER,
    _DIV,
    _DIV_NUMBER,
    _NUMBER_DIV,
    _MAXIMUM,
    _MINIMUM,
    _NEG,
    _SQRT,
    _LOG,
    _EXP,
    _SIN,
    _COS,
    _TANH,
    _ABS,
    _SIGN,
    _SIGMOID,
    _ERF,
    _CLAMP_MIN,
    _CLAMP_MAX,
    _BOUND,
    _PROTECT,
    _GE,
    _LE,
    _OUTSIDE,
    _INSIDE,
    _SHARE,
) = range(len(CODE))


@compiled
def _wave(r, d, x, quarter):
    """Sine, or with quarter = 1 cosine; a block with large angles one by one in float64."""
    large = 0
    for i in range(r.shape[1]):
        large += abs(r[x, i]) >= _LARGE
    if large == 0:
        for i in range(r.shape[1]):
            r[d, i] = sine(r[x, i], quarter)
    else:
        for i in range(r.shape[1]):
            r[d, i] = math.sin(float(r[x, i])) if quarter == 0 else math.cos(float(r[x, i]))


@compiled
def _arithmetic(op, r, d, x, y, c):
    n = r.shape[1]
    if op == _ADD:
        for i in range(n):
            r[d, i] = r[x, i] + r[y, i]
    elif op == _ADD_NUMBER:
        for i in range(n):
            r[d, i] = r[x, i] + c
    elif op == _SUB:
        for i in range(n):
            r[d, i] = r[x, i] - r[y, i]
    elif op == _SUB_FROM_NUMBER:
        for i in range(n):
            r[d, i] = c - r[x, i]
    elif op == _MUL:
        for i in range(n):
            r[d, i] = r[x, i] * r[y, i]
    elif op == _MUL_NUMBER:
        for i in range(n):
            r[d, i] = r[x, i] * c
    elif op == _DIV:
        for i in range(n):
            r[d, i] = r[x, i] / r[y, i]
    elif op == _DIV_NUMBER:
        for i in range(n):
            r[d, i] = r[x, i] / c
    elif op == _NUMBER_DIV:
        for i in range(n):
            r[d, i] = c / r[x, i]
    elif op == _MAXIMUM:
        for i in range(n):
            r[d, i] = max(r[x, i], r[y, i])
    elif op == _MINIMUM:
        for i in range(n):
            r[d, i] = min(r[x, i], r[y, i])
    elif op == _NEG:
        for i in range(n):
            r[d, i] = -r[x, i]


@compiled
def _function(op, r, d, x, one):
    n = r.shape[1]
    if op == _SQRT:
        for i in range(n):
            r[d, i] = math.sqrt(r[x, i])
    elif op == _LOG:
        for i in range(n):
            r[d, i] = log(r[x, i])
    elif op == _EXP:
        for i in range(n):
            r[d, i] = exp(r[x, i])
    elif op == _SIN:
        _wave(r, d, x, 0)
    elif op == _COS:
        _wave(r, d, x, 1)
    elif op == _TANH:
        for i in range(n):
            r[d, i] = tanh(r[x, i])
    elif op == _ABS:
        for i in range(n):
            r[d, i] = abs(r[x, i])
    elif op == _SIGN:
        for i in range(n):
            r[d, i] = (one if r[x, i] > 0 else one - one) - (one if r[x, i] < 0 else one - one)
    elif op == _SIGMOID:
        for i in range(n):
            r[d, i] = one / (one + exp(-r[x, i]))
    elif op == _ERF:
        for i in range(n):
            r[d, i] = erf(r[x, i])


@compiled
def _guard(op, r, d, x, y, c, one):
    n = r.shape[1]
    zero, half = one - one, one / (one + one)
    if op == _CLAMP_MIN:
        for i in range(n):
            r[d, i] = max(r[x, i], c)
    elif op == _CLAMP_MAX:
        for i in range(n):
            r[d, i] = min(r[x, i], c)
    elif op == _BOUND:
        for i in range(n):
            r[d, i] = min(max(r[x, i], -c), c)
    elif op == _PROTECT:
        for i in range(n):
            r[d, i] = min(r[x, i], -c) if r[x, i] < zero else max(r[x, i], c)
    elif op == _GE:
        for i in range(n):
            r[d, i] = one if r[x, i] >= c else zero
    elif op == _LE:
        for i in range(n):
            r[d, i] = one if r[x, i] <= c else zero
    elif op == _OUTSIDE:
        for i in range(n):
            r[d, i] = one if abs(r[x, i]) >= c else zero
    elif op == _INSIDE:
        for i in range(n):
            r[d, i] = one if abs(r[x, i]) <= c else zero
    elif op == _SHARE:
        for i in range(n):
            r[d, i] = one if r[x, i] > r[y, i] else (half if r[x, i] == r[y, i] else zero)


@compiled
def run_program(code, numbers, first, last, registers):
    """Run the steps from ``first`` to before ``last`` on the table of registers (slots, size)."""
    one = numbers.dtype.type(1)
    for step in range(first, last):
        op = code[step, 0]
        d, x, y = code[step, 1], code[step, 2], code[step, 3]
        if op <= _NEG:
            _arithmetic(op, registers, d, x, y, numbers[step])
        elif op <= _ERF:
            _function(op, registers, d, x, one)
        else:
            _guard(op, registers, d, x, y, numbers[step], one)
