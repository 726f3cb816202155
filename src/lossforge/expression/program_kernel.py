"""The steps of a program on a CPU, compiled by numba: one loop over a block for each operation.

Functions take the whole table of registers and registers' numbers: a slice for every step would cost more than
the step.
"""

from __future__ import annotations

import math

from lossforge.expression.bytecode import CODE, LAST
from lossforge.expression.class_kernel import lay_out, mark_largest, peaks, spread, sums
from lossforge.expression.jit import compiler
from lossforge.expression.vector_math import erf, exp, log, sine, tanh

_LARGE = 8192.0
"""Beyond this an angle is reduced in float64."""

compiled = compiler()

_ADD = CODE["add"]
_ADD_NUMBER = CODE["add_number"]
_SUB = CODE["sub"]
_SUB_FROM_NUMBER = CODE["sub_from_number"]
_MUL = CODE["mul"]
_MUL_NUMBER = CODE["mul_number"]
_DIV = CODE["div"]
_DIV_NUMBER = CODE["div_number"]
_NUMBER_DIV = CODE["number_div"]
_MAXIMUM = CODE["maximum"]
_MINIMUM = CODE["minimum"]
_NEG = CODE["neg"]
_SQRT = CODE["sqrt"]
_LOG = CODE["log"]
_EXP = CODE["exp"]
_SIN = CODE["sin"]
_COS = CODE["cos"]
_TANH = CODE["tanh"]
_ABS = CODE["abs"]
_SIGN = CODE["sign"]
_SIGMOID = CODE["sigmoid"]
_ERF = CODE["erf"]
_CLAMP_MIN = CODE["clamp_min"]
_CLAMP_MAX = CODE["clamp_max"]
_BOUND = CODE["bound"]
_PROTECT = CODE["protect"]
_GE = CODE["ge"]
_LE = CODE["le"]
_OUTSIDE = CODE["outside"]
_INSIDE = CODE["inside"]
_SHARE = CODE["share"]
_EQUAL = CODE["equal"]
_SUM_C = CODE["sum_c"]
_MAX_C = CODE["max_c"]
_TOP_C = CODE["top_c"]
_STOP = CODE["stop"]
_LOGIT = CODE["logit"]
_N_CLASSES = CODE["n_classes"]
_PROGRESS = CODE["progress"]
_CLASS_SHARE = CODE["class_share"]
_LAST_ARITHMETIC, _LAST_FUNCTION, _LAST_GUARD = (LAST[group] for group in ("arithmetic", "function", "guard"))


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
    elif op == _EQUAL:
        for i in range(n):
            r[d, i] = one if r[x, i] == r[y, i] else zero


@compiled
def _of_classes(op, r, d, x, row, by_rows, progress, shares):
    n = r.shape[1]
    if op == _SUM_C:
        sums(r, x, by_rows, row)
        spread(r, d, row, by_rows)
    elif op == _MAX_C:
        peaks(r, x, by_rows, row)
        spread(r, d, row, by_rows)
    elif op == _TOP_C:
        mark_largest(r, d, x, row.shape[0], by_rows)
    elif op == _STOP:
        for i in range(n):
            r[d, i] = r[x, i]
    elif op == _LOGIT:
        z = r.shape[0] - 3
        for i in range(n):
            r[d, i] = r[z, i]
    elif op == _N_CLASSES:
        for i in range(n):
            r[d, i] = n // row.shape[0]
    elif op == _PROGRESS:
        for i in range(n):
            r[d, i] = progress
    elif op == _CLASS_SHARE:
        lay_out(r, d, shares, row.shape[0], by_rows)


@compiled
def run_program(code, numbers, first, last, registers, row, by_rows, progress, shares):
    """Run the steps from ``first`` to before ``last`` on the table of registers (slots, size).

    ``row`` has room for a number a sample; ``progress`` and ``shares`` (C,) are what such leaves read. The logits are
    the third register from the end.
    """
    one = numbers.dtype.type(1)
    for step in range(first, last):
        op = code[step, 0]
        d, x, y = code[step, 1], code[step, 2], code[step, 3]
        if op <= _LAST_ARITHMETIC:
            _arithmetic(op, registers, d, x, y, numbers[step])
        elif op <= _LAST_FUNCTION:
            _function(op, registers, d, x, one)
        elif op <= _LAST_GUARD:
            _guard(op, registers, d, x, y, numbers[step], one)
        else:
            _of_classes(op, registers, d, x, row, by_rows, progress, shares)
