"""The descents of the funnel, compiled by numba: on free logits, and of a small network's weights.

Each loss goes alone through the same steps, so a verdict does not depend on which other losses were asked about.
"""

from __future__ import annotations

import math

import numpy

from lossforge.expression.class_kernel import peaks, sums
from lossforge.expression.cpu_kernel import ROWS_FROM, add_scaled, leaves, loss_and_gradient, place, take
from lossforge.expression.jit import compiler

compiled = compiler()
compile_sums = compiler("reassoc")


@compiled
def _mark(r, y_true, samples, classes, by_rows):
    """Fill register 1 with targets (N, C)."""
    for s in range(samples):
        for c in range(classes):
            r[1, s * classes + c if by_rows else c * samples + s] = y_true[s, c]


@compiled
def _reached(z, y_true, of_one):
    """Share of samples whose largest logit, z (N, C), is the true class's.

    Where each class has a probability of its own (``of_one``): the mean of two shares, of logits above 0 where the
    target is 1, and of others elsewhere.
    """
    arrived = 0
    above, below, ones = 0, 0, 0
    for s in range(z.shape[0]):
        best = 0
        for c in range(z.shape[1]):
            best = c if z[s, c] > z[s, best] else best
            ones += y_true[s, c] == 1
            above += y_true[s, c] == 1 and z[s, c] > 0
            below += y_true[s, c] != 1 and z[s, c] <= 0
        arrived += y_true[s, best] == 1
    if of_one:
        return (above / max(1, ones) + below / max(1, z.size - ones)) / 2
    return arrived / z.shape[0]


@compiled
def _move(r, z, slope, scratch, length, by_rows, row):
    """z -= length * gradient of unit root mean square."""
    samples = row.shape[0]
    for i in range(r.shape[1]):
        r[scratch, i] = abs(r[slope, i])
    peaks(r, scratch, by_rows, row)
    largest = row.max()
    if not 0 < largest < math.inf:
        return False
    # Divided first, or the square of a large gradient would overflow float32.
    for i in range(r.shape[1]):
        r[slope, i] = r[slope, i] / largest
        r[scratch, i] = r[slope, i] * r[slope, i]
    sums(r, scratch, by_rows, row)
    scale = -length / math.sqrt(row.sum() / r.shape[1])
    for s in range(samples):
        row[s] = scale
    add_scaled(r, z, slope, row, by_rows)
    return True


@compiled
def descend(code, numbers, starts, outputs, constants, slots, start, y_true, steps, step, sign, of_one, reached):
    """Gradient descent of K losses on free logits from ``start`` (1, N, C); ``reached`` (K,): the share that arrives.

    ``y_true`` (N, C) are the targets, 0 and 1. ``sign`` (K,): -1 descends -f. Each step moves the logits by ``step``
    (root mean square) on average: it shrinks to zero, or a loss whose minimum is not one-hot would circle around it.
    ``of_one``: each class has a probability of its own.
    """
    samples, classes = start.shape[1], start.shape[2]
    by_rows = classes >= ROWS_FROM
    r = numpy.empty((slots, samples * classes), numbers.dtype)
    z, value, slope = slots - 3, slots - 2, slots - 1
    row = numpy.empty(samples, numbers.dtype)
    final = numpy.empty((1, samples, classes), numbers.dtype)
    shares = numpy.full(classes, 1 / classes).astype(numbers.dtype)
    _mark(r, y_true, samples, classes, by_rows)
    for k in range(len(starts) - 1):
        place(start, 0, 0, r, z, by_rows, samples)
        for index in range(steps):
            leaves(r, z, by_rows, row, of_one)
            now = numbers.dtype.type(index / max(1, steps - 1))
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
                shares,
                of_one,
            )
            if not _move(r, z, slope, value, sign[k] * step * 2 * (1 - index / steps), by_rows, row):
                break
        take(r, z, final, 0, 0, by_rows, samples)
        reached[k] = _reached(final[0], y_true, of_one)


@compiled
def _forward(x, w1, w2, hidden, r, z):
    """Logits, classes x samples in register z, of x (D, N): w2 (C, H) times the positive part of w1 (H, D) times x."""
    samples = x.shape[1]
    for h in range(w1.shape[0]):
        for s in range(samples):
            hidden[h, s] = 0
        for d in range(w1.shape[1]):
            weight = w1[h, d]
            for s in range(samples):
                hidden[h, s] += weight * x[d, s]
        for s in range(samples):
            hidden[h, s] = max(hidden[h, s], 0)
    for c in range(w2.shape[0]):
        scores = r[z, c * samples : (c + 1) * samples]
        scores[:] = 0
        for h in range(w2.shape[1]):
            weight = w2[c, h]
            for s in range(samples):
                scores[s] += weight * hidden[h, s]


@compile_sums
def _products(a, b, out):
    """out (I, J): scalar products of the rows of a (I, N) and of b (J, N)."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = a[i, 0] * b[j, 0]
            for s in range(1, a.shape[1]):
                total += a[i, s] * b[j, s]
            out[i, j] = total


@compiled
def _backward(x, w2, hidden, slope, g1, g2, back):
    """Gradients g1 (H, D) and g2 (C, H) for the gradient ``slope`` (C, N) on the logits."""
    samples = x.shape[1]
    for h in range(w2.shape[1]):
        for s in range(samples):
            back[h, s] = 0
        for c in range(w2.shape[0]):
            weight = w2[c, h]
            for s in range(samples):
                back[h, s] += weight * slope[c, s]
        for s in range(samples):
            back[h, s] = back[h, s] if hidden[h, s] > 0 else 0
    _products(back, x, g1)
    _products(slope, hidden, g2)


@compiled
def _adam(w, g, first, second, rate, index):
    """One step of Adam (betas 0.9 and 0.99) on a matrix."""
    one = w.dtype.type(1)
    a, b = w.dtype.type(0.9), w.dtype.type(0.99)
    length = w.dtype.type(rate / (1 - 0.9 ** (index + 1)))
    correction = w.dtype.type(1 / (1 - 0.99 ** (index + 1)))
    floor = w.dtype.type(1e-8)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            first[i, j] = a * first[i, j] + (one - a) * g[i, j]
            second[i, j] = b * second[i, j] + (one - b) * g[i, j] * g[i, j]
            w[i, j] -= length * first[i, j] / (math.sqrt(second[i, j] * correction) + floor)


@compiled
def train_network(
    code, numbers, starts, outputs, constants, slots, x, y_true, w1, w2, steps, rate, norm, sign, of_one, reached
):
    """Train a network of one hidden layer, weights w1 (H, D) and w2 (C, H), with each of K losses by Adam.

    ``x`` (D, N) and ``y_true`` (N, C) are its data, all one batch; the gradient on the logits has the norm ``norm`` at
    the start. The rate rises over three tenths of the steps and falls to zero. ``reached`` (K,) is the accuracy on
    the data; logits that are not finite count as nothing learnt. ``sign`` (K,): -1 trains with -f. ``of_one``: each
    class has a probability of its own.
    """
    samples, classes = x.shape[1], w2.shape[0]
    r = numpy.empty((slots, samples * classes), numbers.dtype)
    z, value, slope = slots - 3, slots - 2, slots - 1
    row = numpy.empty(samples, numbers.dtype)
    final = numpy.empty((1, samples, classes), numbers.dtype)
    hidden, back = (
        numpy.empty((w1.shape[0], samples), numbers.dtype),
        numpy.empty((w1.shape[0], samples), numbers.dtype),
    )
    g1, g2 = numpy.empty_like(w1), numpy.empty_like(w2)
    gradient = r[slope].reshape(classes, samples)
    shares = numpy.full(classes, 1 / classes).astype(numbers.dtype)
    _mark(r, y_true, samples, classes, False)
    for k in range(len(starts) - 1):
        v1, v2 = w1.copy(), w2.copy()
        m1, m2, s1, s2 = numpy.zeros_like(w1), numpy.zeros_like(w2), numpy.zeros_like(w1), numpy.zeros_like(w2)
        scale = 0.0
        for index in range(steps):
            _forward(x, v1, v2, hidden, r, z)
            leaves(r, z, False, row, of_one)
            now = numbers.dtype.type(index / max(1, steps - 1))
            first, last = starts[k], starts[k + 1]
            loss_and_gradient(
                code,
                numbers,
                first,
                last,
                outputs[k],
                constants[k],
                False,
                r,
                row,
                value,
                slope,
                now,
                shares,
                of_one,
            )
            if index == 0:
                total = 0.0
                for i in range(r.shape[1]):
                    total += float(r[slope, i]) ** 2
                scale = sign[k] * norm / math.sqrt(total) if 0 < total < math.inf else 0.0
            for i in range(r.shape[1]):
                r[slope, i] = r[slope, i] * scale
            _backward(x, v2, hidden, gradient, g1, g2, back)
            done = (index + 1) / steps
            length = rate * min(done / 0.3, (1 - done) / 0.7 + 1 / steps)
            _adam(v1, g1, m1, s1, length, index)
            _adam(v2, g2, m2, s2, length, index)
        _forward(x, v1, v2, hidden, r, z)
        take(r, z, final, 0, 0, False, samples)
        reached[k] = _reached(final[0], y_true, of_one) if math.isfinite(final.sum()) else 0.0
