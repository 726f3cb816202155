"""BatchNorm, activations, additions and pooling on a CPU, along samples: see `convolution_kernel` for how planes lie.

Of B samples the numbers are ``runs`` runs of ``length`` that begin ``pitch`` apart: one run where B is a multiple of
16, else one for each pixel. What is between them belongs to no sample and is never written here.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler
from lossforge.models.convolution_kernel import FOUR, ONE, THREE, TWO, kernel

fast_kernel = compiler("reassoc")
ZERO = numpy.float32(0)


@fast_kernel
def statistics(x, at, runs, length, pitch):
    """Mean and (biased) variance of a plane."""
    count, total = numpy.float32(runs * length), ZERO
    for run in range(runs):
        start = at + run * pitch
        for q in range(length):
            total += x[start + q]
    middle = total / count
    # About the mean: no digits are lost in the square.
    total, squares = ZERO, ZERO
    for run in range(runs):
        start = at + run * pitch
        for q in range(length):
            d = x[start + q] - middle
            total += d
            squares += d * d
    shift = total / count
    return middle + shift, max(squares / count - shift * shift, ZERO)


@kernel
def combined(x, at, scale, shift, second, beside, rectified, out, to, runs, length, pitch):
    """``out`` = ``x * scale + shift``, plus ``beside`` if there is a ``second``; of it ReLU if ``rectified``."""
    for run in range(runs):
        a, b, y = at + run * pitch, beside + run * pitch, to + run * pitch
        if second:
            for q in range(length):
                out[y + q] = x[a + q] * scale + shift + x[b + q]
        elif rectified:
            for q in range(length):
                value = x[a + q] * scale + shift
                # Not "value > 0": NaN must stay NaN.
                out[y + q] = ZERO if value <= 0 else value
        else:
            for q in range(length):
                out[y + q] = x[a + q] * scale + shift
        if second and rectified:
            for q in range(length):
                value = out[y + q]
                out[y + q] = ZERO if value <= 0 else value


@fast_kernel
def behind(x, at, middle, rectified, y, of, g, given, out, to, runs, length, pitch):
    """Back through `combined`'s ReLU: ``out`` gets what is left of the gradient ``g``.

    Returned are its sum, and the sum of its products with ``x - middle``. ``y``, from ``of`` on, came of it.
    """
    total, moment = ZERO, ZERO
    for run in range(runs):
        a, b, c, d = at + run * pitch, of + run * pitch, given + run * pitch, to + run * pitch
        if rectified:
            for q in range(length):
                value = ZERO if y[b + q] <= 0 else g[c + q]
                out[d + q] = value
                total += value
                moment += value * (x[a + q] - middle)
        else:
            for q in range(length):
                value = g[c + q]
                out[d + q] = value
                total += value
                moment += value * (x[a + q] - middle)
    return total, moment


@kernel
def spread(x, at, middle, g, given, scale, constant, slope, adding, out, to, runs, length, pitch):
    """``scale * g - constant - slope * (x - middle)`` into ``out``, or added to it: back through BatchNorm."""
    for run in range(runs):
        a, c, d = at + run * pitch, given + run * pitch, to + run * pitch
        if adding:
            for q in range(length):
                out[d + q] += scale * g[c + q] - constant - slope * (x[a + q] - middle)
        else:
            for q in range(length):
                out[d + q] = scale * g[c + q] - constant - slope * (x[a + q] - middle)


@kernel
def accumulated(g, given, adding, out, to, runs, length, pitch):
    """A plane of ``g`` into ``out``, or added to it."""
    for run in range(runs):
        c, d = given + run * pitch, to + run * pitch
        if adding:
            for q in range(length):
                out[d + q] += g[c + q]
        else:
            for q in range(length):
                out[d + q] = g[c + q]


@kernel
def largest(x, at, tables, table, out, to, batch):
    """The largest number of each window of a plane; NaN where one is NaN. The table: see `layer_tables.windows`."""
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        y, first, last = to + tables[entry], tables[entry + TWO], tables[entry + THREE]
        start = at + tables[first]
        for s in range(batch):
            out[y + s] = x[start + s]
        for place in range(first + ONE, last):
            start = at + tables[place]
            for s in range(batch):
                value, best = x[start + s], out[y + s]
                # Not "value > best": NaN must stay NaN.
                out[y + s] = best if value <= best or best != best else value


@kernel
def behind_largest(x, at, tables, table, y, of, g, given, out, to, left, batch):
    """Add the gradient ``g`` on each window's largest number to ``out`` where it came from, the first of equals.

    ``left`` (B,) is scratch.
    """
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        largest_at, start = of + tables[entry], given + tables[entry]
        for s in range(batch):
            left[s] = g[start + s]
        for place in range(tables[entry + TWO], tables[entry + THREE]):
            source, target = at + tables[place], to + tables[place]
            for s in range(batch):
                # NaN is the largest where it is.
                found = x[source + s] == y[largest_at + s] or x[source + s] != x[source + s]
                value = left[s] if found else ZERO
                left[s] = ZERO if found else left[s]
                out[target + s] += value


@kernel
def averaged(x, at, tables, table, out, to, batch):
    """The sum of each window of a plane over its divisor."""
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        y, share = to + tables[entry], numpy.float32(1) / numpy.float32(tables[entry + ONE])
        for s in range(batch):
            out[y + s] = ZERO
        for place in range(tables[entry + TWO], tables[entry + THREE]):
            start = at + tables[place]
            for s in range(batch):
                out[y + s] += x[start + s] * share


@kernel
def behind_averaged(tables, table, g, given, out, to, batch):
    """Add the gradient ``g`` on each window's mean to ``out``."""
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        start, share = given + tables[entry], numpy.float32(1) / numpy.float32(tables[entry + ONE])
        for place in range(tables[entry + TWO], tables[entry + THREE]):
            target = to + tables[place]
            for s in range(batch):
                out[target + s] += g[start + s] * share
