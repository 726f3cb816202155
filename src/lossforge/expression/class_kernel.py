"""What the kernels on a CPU do along the classes of a block of samples, compiled by numba.

A block is one row of the table of registers: where ``by_rows`` sample after sample, else class after class, so that
loops run along the longer side. ``row`` has one number a sample.
"""

from __future__ import annotations

from lossforge.expression.jit import compiler

compiled = compiler()
compile_sums = compiler("reassoc")
compile_peaks = compiler("reassoc", "nnan", "nsz")


@compile_sums
def sums(r, x, by_rows, out):
    """Sum over classes of every sample."""
    samples = out.shape[0]
    classes = r.shape[1] // samples
    block = r[x]
    if by_rows:
        for s in range(samples):
            part = block[s * classes : (s + 1) * classes]
            total = part[0]
            for c in range(1, classes):
                total += part[c]
            out[s] = total
    else:
        out[:] = block[:samples]
        for c in range(1, classes):
            part = block[c * samples : (c + 1) * samples]
            for s in range(samples):
                out[s] += part[s]


@compile_peaks
def peaks(r, x, by_rows, out):
    """Largest over classes of every sample."""
    samples = out.shape[0]
    classes = r.shape[1] // samples
    block = r[x]
    if by_rows:
        for s in range(samples):
            part = block[s * classes : (s + 1) * classes]
            peak = part[0]
            for c in range(1, classes):
                peak = max(peak, part[c])
            out[s] = peak
    else:
        out[:] = block[:samples]
        for c in range(1, classes):
            part = block[c * samples : (c + 1) * samples]
            for s in range(samples):
                out[s] = max(out[s], part[s])


@compiled
def spread(r, d, row, by_rows):
    """d = row in every class."""
    samples = row.shape[0]
    classes = r.shape[1] // samples
    if by_rows:
        for s in range(samples):
            number = row[s]
            for c in range(classes):
                r[d, s * classes + c] = number
    else:
        for c in range(classes):
            for s in range(samples):
                r[d, c * samples + s] = row[s]


@compiled
def mark_largest(r, d, x, samples, by_rows):
    """d = 1 at the first class where x is largest, 0 elsewhere."""
    classes = r.shape[1] // samples
    step, stride = (1, classes) if by_rows else (samples, 1)
    for i in range(r.shape[1]):
        r[d, i] = 0
    for s in range(samples):
        first = s * stride
        best = first
        for c in range(1, classes):
            place = first + c * step
            if r[x, place] > r[x, best]:
                best = place
        r[d, best] = 1


@compiled
def lay_out(r, d, values, samples, by_rows):
    """d = values (C,) of the classes, in every sample."""
    classes = values.shape[0]
    if by_rows:
        for s in range(samples):
            for c in range(classes):
                r[d, s * classes + c] = values[c]
    else:
        for c in range(classes):
            number = values[c]
            for s in range(samples):
                r[d, c * samples + s] = number
