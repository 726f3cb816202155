"""The interpreter's blocks on a CPU, compiled by numba: softmax, program, and gradient on the logits.

Samples are taken in blocks, one row of the table of registers for each value. Where there are many classes a
block holds its samples as rows, else as columns, so that loops run along the longer side and become vector
instructions.
"""

from __future__ import annotations

import numpy

from lossforge.expression.class_kernel import peaks, sums
from lossforge.expression.jit import compiler
from lossforge.expression.primitives import LOG_Y_PRED
from lossforge.expression.program_kernel import run_program
from lossforge.expression.vector_math import exp, log

BLOCK = 1280
"""Elements of a block, about: a block's registers stay in the nearer caches."""
ROWS_FROM = 32
"""From this many classes on, a block holds samples as rows."""

LEAST_LOG = numpy.float32(LOG_Y_PRED[0])

compiled = compiler()


@compiled
def shift(r, d, x, row, by_rows):
    """d = x + row, one number a sample."""
    samples = row.shape[0]
    classes = r.shape[1] // samples
    if by_rows:
        for s in range(samples):
            number = row[s]
            for c in range(classes):
                r[d, s * classes + c] = r[x, s * classes + c] + number
    else:
        for c in range(classes):
            for s in range(samples):
                r[d, c * samples + s] = r[x, c * samples + s] + row[s]


@compiled
def add_scaled(r, d, x, row, by_rows):
    """d += x * row, one number a sample."""
    samples = row.shape[0]
    classes = r.shape[1] // samples
    if by_rows:
        for s in range(samples):
            number = row[s]
            for c in range(classes):
                r[d, s * classes + c] += r[x, s * classes + c] * number
    else:
        for c in range(classes):
            for s in range(samples):
                r[d, c * samples + s] += r[x, c * samples + s] * row[s]


@compiled
def scale(r, d, row, by_rows):
    """d /= row, one number a sample."""
    samples = row.shape[0]
    classes = r.shape[1] // samples
    if by_rows:
        for s in range(samples):
            number = 1 / row[s]
            for c in range(classes):
                r[d, s * classes + c] *= number
    else:
        for c in range(classes):
            for s in range(samples):
                r[d, c * samples + s] /= row[s]


@compiled
def fill(r, d, number):
    """d = number."""
    for i in range(r.shape[1]):
        r[d, i] = number


@compiled
def softmax(r, z, by_rows, row):
    """Fill registers 0 (probabilities) and 2 (their logarithms) from the logits; register 1 is left alone."""
    peaks(r, z, by_rows, row)
    for s in range(row.shape[0]):
        row[s] = -row[s]
    shift(r, 2, z, row, by_rows)
    for i in range(r.shape[1]):
        r[0, i] = exp(r[2, i])
    sums(r, 0, by_rows, row)
    scale(r, 0, row, by_rows)
    for s in range(row.shape[0]):
        row[s] = -log(row[s])
    shift(r, 2, 2, row, by_rows)
    for i in range(r.shape[1]):
        # As in the modules: a masked class has the logit -inf.
        r[2, i] = max(r[2, i], LEAST_LOG)


@compiled
def independent(r, z):
    """Fill registers 0 and 2 as `softmax` does, but each class on its own: the sigmoid and its logarithm."""
    one = r.dtype.type(1)
    for i in range(r.shape[1]):
        x = r[z, i]
        small = exp(-abs(x))
        r[2, i] = max(min(x, one - one) - log(one + small), LEAST_LOG)
        r[0, i] = (one if x >= 0 else small) / (one + small)


@compiled
def leaves(r, z, by_rows, row, of_one):
    """Fill registers 0 and 2 from the logits, by the head."""
    if of_one:
        independent(r, z)
    else:
        softmax(r, z, by_rows, row)


@compiled
def loss_and_gradient(
    code, numbers, first, last, outputs, constants, by_rows, r, row, value, slope, progress, shares, of_one
):
    """Run one program on a block: elementwise loss and the gradient on the logits, into two registers.

    ``of_one``: the program's gradient is that on the logits, as where each class has a probability of its own.
    """
    run_program(code, numbers, first, last, r, row, by_rows, progress, shares)
    loss, g = outputs[0], outputs[1]
    if loss >= 0:
        for i in range(r.shape[1]):
            r[value, i] = r[loss, i]
    else:
        fill(r, value, constants[0])
    if g >= 0:
        for i in range(r.shape[1]):
            r[slope, i] = 0 if r[2, i] <= LEAST_LOG else r[g, i]
    else:
        for i in range(r.shape[1]):
            r[slope, i] = 0 if r[2, i] <= LEAST_LOG else constants[1]
    if not of_one and (g >= 0 or constants[1] != 0):
        sums(r, slope, by_rows, row)
        for s in range(row.shape[0]):
            row[s] = -row[s]
        add_scaled(r, slope, 0, row, by_rows)


@compiled
def place(matrix, k, start, r, d, by_rows, samples):
    """Copy samples ``start`` ... of matrix k into a block; samples beyond the last one repeat it."""
    rows, classes = matrix.shape[1], matrix.shape[2]
    k = min(k, matrix.shape[0] - 1)
    for s in range(samples):
        source = min(start + s, rows - 1)
        if by_rows:
            for c in range(classes):
                r[d, s * classes + c] = matrix[k, source, c]
        else:
            for c in range(classes):
                r[d, c * samples + s] = matrix[k, source, c]


@compiled
def take(r, x, matrix, k, start, by_rows, samples):
    """Copy a block's samples into matrix k."""
    rows, classes = matrix.shape[1], matrix.shape[2]
    for s in range(min(samples, rows - start)):
        if by_rows:
            for c in range(classes):
                matrix[k, start + s, c] = r[x, s * classes + c]
        else:
            for c in range(classes):
                matrix[k, start + s, c] = r[x, c * samples + s]


@compiled
def run(
    code,
    numbers,
    starts,
    outputs,
    constants,
    slots,
    logits,
    labels,
    y_true,
    smoothing,
    told,
    loss,
    gradient,
    terms,
):
    """K programs on logits ``(K or 1, N, C)``.

    ``labels`` (K or 1, N) class indices, or with no columns: then ``y_true`` (K or 1, N, C) are the targets.
    ``smoothing`` (K,) mixes targets with 1/C (with 1/2 where each class is a yes or no of its own, ``of_one``).
    ``told`` (K or 1, 2 + C) has ``of_one`` as 0 or 1, the progress, and the classes' shares: one array, since each
    costs a call something. Fills ``loss`` (K, N), summed over classes, ``gradient`` (K, N, C), and ``terms`` (K, N, C)
    unless it has no rows.
    """
    losses, rows, classes = gradient.shape
    by_rows = classes >= ROWS_FROM
    samples = max(1, BLOCK // classes) if by_rows else max(16, BLOCK // classes // 16 * 16)
    samples = max(1, min(rows, samples))
    r = numpy.empty((slots, samples * classes), numbers.dtype)
    z, value, slope = slots - 3, slots - 2, slots - 1
    row = numpy.empty(samples, numbers.dtype)
    for k in range(losses):
        known = told[min(k, told.shape[0] - 1)]
        of_one, now, share = known[0] != 0, known[1], known[2:]
        off = smoothing[k] / (2 if of_one else classes)
        for start in range(0, rows, samples):
            place(logits, k, start, r, z, by_rows, samples)
            if labels.shape[1] > 0:
                fill(r, 1, off)
                for s in range(min(samples, rows - start)):
                    mark = labels[min(k, labels.shape[0] - 1), start + s]
                    r[1, s * classes + mark if by_rows else mark * samples + s] = 1 - smoothing[k] + off
            else:
                place(y_true, k, start, r, 1, by_rows, samples)
                if smoothing[k] != 0:
                    for i in range(r.shape[1]):
                        r[1, i] = r[1, i] * (1 - smoothing[k]) + off
            leaves(r, z, by_rows, row, of_one)
            first, last = starts[k], starts[k + 1]
            loss_and_gradient(
                code,
                numbers,
                first,
                last,
                outputs[k],
                constants[k],
                by_rows,
                r,
                row,
                value,
                slope,
                now,
                share,
                of_one,
            )
            take(r, slope, gradient, k, start, by_rows, samples)
            sums(r, value, by_rows, row)
            for s in range(min(samples, rows - start)):
                loss[k, start + s] = row[s]
            if terms.shape[0] > 0:
                take(r, value, terms, k, start, by_rows, samples)
