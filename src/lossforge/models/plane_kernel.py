"""BatchNorm, activations, additions and pooling on a CPU, along samples: see `convolution_kernel` for how planes lie.

Of B samples the numbers are ``runs`` runs of ``length`` that begin ``pitch`` apart: one run where B is a multiple of
16, else one for each pixel. What is between them belongs to no sample, and has no part in statistics and gradients.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler
from lossforge.expression.vectors import add, fma, larger, load, splat, store, subtract, where_positive, where_same
from lossforge.models.convolution_kernel import FOUR, LANES, ONE, THREE, TWO, kernel

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
def largest(x, at, scale, shift, rectified, tables, table, out, to, padded):
    """The largest ``x * scale + shift`` of each window, and ReLU of it if ``rectified``; NaN where one is NaN.

    The table: see `layer_tables.windows`.
    """
    factor, term = splat(scale), splat(shift)
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        y, first, last = to + tables[entry], tables[entry + TWO], tables[entry + THREE]
        for s in range(numpy.uint64(0), padded, LANES):
            best = fma(load(x, at + tables[first] + s), factor, term)
            for place in range(first + ONE, last):
                best = larger(best, fma(load(x, at + tables[place] + s), factor, term))
            store(out, y + s, where_positive(best, best) if rectified else best)


@kernel
def behind_largest(x, at, scale, shift, rectified, tables, table, y, of, g, given, out, to, padded):
    """Add the gradient ``g`` on each window's largest number to ``out`` where it came from, the first of equals."""
    factor, term = splat(scale), splat(shift)
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        for s in range(numpy.uint64(0), padded, LANES):
            best, left = load(y, of + tables[entry] + s), load(g, given + tables[entry] + s)
            left = where_positive(best, left) if rectified else left
            for place in range(tables[entry + TWO], tables[entry + THREE]):
                value = fma(load(x, at + tables[place] + s), factor, term)
                found = where_same(value, best, left)
                left = subtract(left, found)
                target = to + tables[place] + s
                store(out, target, add(load(out, target), found))


@kernel
def averaged(x, at, tables, table, out, to, padded):
    """The sum of each window of a plane over its divisor."""
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        y, share = to + tables[entry], splat(numpy.float32(1) / numpy.float32(tables[entry + ONE]))
        for s in range(numpy.uint64(0), padded, LANES):
            total = splat(ZERO)
            for place in range(tables[entry + TWO], tables[entry + THREE]):
                total = fma(load(x, at + tables[place] + s), share, total)
            store(out, y + s, total)


@kernel
def behind_averaged(tables, table, g, given, out, to, padded):
    """Add the gradient ``g`` on each window's mean to ``out``."""
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        share = splat(numpy.float32(1) / numpy.float32(tables[entry + ONE]))
        for s in range(numpy.uint64(0), padded, LANES):
            slope = load(g, given + tables[entry] + s)
            for place in range(tables[entry + TWO], tables[entry + THREE]):
                target = to + tables[place] + s
                store(out, target, fma(slope, share, load(out, target)))
