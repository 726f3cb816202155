"""BatchNorm, an addition and ReLU in one, on a CPU, channels innermost: see `lossforge.models.fused_norm`.

Arrays are float32, ``(rows, width)``: a row holds the channels of a pixel, or of several one after the other, so that
loops along it are long enough to become vector instructions. Sums go over `_BLOCK` rows in float32, and from there in
float64: they are closer to the true ones than sums of all rows in float32.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler

kernel = compiler()

# Indices are unsigned, as in `plane_kernel`: otherwise loops stay scalar.
_BLOCK = numpy.uint64(64)
_ZERO = numpy.float32(0)


@kernel
def statistics(x, mean, variance):
    """Mean and variance (biased) of each column of ``x``."""
    rows, width = numpy.uint64(x.shape[0]), numpy.uint64(x.shape[1])
    around = numpy.zeros(width, numpy.float32)
    # Squares are taken around the mean of some rows: the variance of large numbers would be lost otherwise.
    first = min(rows, _BLOCK)
    for row in range(first):
        for c in range(width):
            around[c] += x[row, c]
    for c in range(width):
        around[c] /= numpy.float32(first)
    sums, squares = numpy.zeros(width, numpy.float64), numpy.zeros(width, numpy.float64)
    part, part_squares = numpy.empty(width, numpy.float32), numpy.empty(width, numpy.float32)
    for start in range(numpy.uint64(0), rows, _BLOCK):
        part[:] = 0
        part_squares[:] = 0
        for row in range(start, min(rows, start + _BLOCK)):
            for c in range(width):
                d = x[row, c] - around[c]
                part[c] += d
                part_squares[c] += d * d
        for c in range(width):
            sums[c] += part[c]
            squares[c] += part_squares[c]
    for c in range(width):
        off = sums[c] / rows
        mean[c] = around[c] + off
        variance[c] = squares[c] / rows - off * off


@kernel
def normalise(x, scale, shift, y):
    """``y = relu(x * scale + shift)``."""
    rows, width = numpy.uint64(x.shape[0]), numpy.uint64(x.shape[1])
    for row in range(rows):
        for c in range(width):
            h = x[row, c] * scale[c] + shift[c]
            y[row, c] = _ZERO if h <= _ZERO else h  # what is no number stays so


@kernel
def normalise_and_add(x, scale, shift, added, y):
    """``y = relu(x * scale + shift + added)``."""
    rows, width = numpy.uint64(x.shape[0]), numpy.uint64(x.shape[1])
    for row in range(rows):
        for c in range(width):
            h = x[row, c] * scale[c] + shift[c] + added[row, c]
            y[row, c] = _ZERO if h <= _ZERO else h


@kernel
def gradient_sums(gradient, x, y, mean, cut, sums, products):
    """``cut`` is the gradient, 0 where ``y`` is not positive; the sums of its columns, and of it times ``x - mean``."""
    rows, width = numpy.uint64(x.shape[0]), numpy.uint64(x.shape[1])
    part, part_products = numpy.empty(width, numpy.float32), numpy.empty(width, numpy.float32)
    for start in range(numpy.uint64(0), rows, _BLOCK):
        part[:] = 0
        part_products[:] = 0
        for row in range(start, min(rows, start + _BLOCK)):
            for c in range(width):
                g = _ZERO if y[row, c] <= _ZERO else gradient[row, c]
                cut[row, c] = g
                part[c] += g
                part_products[c] += g * (x[row, c] - mean[c])
        for c in range(width):
            sums[c] += part[c]
            products[c] += part_products[c]


@kernel
def gradient_on_input(cut, x, mean, factor, constant, slope, found):
    """``found = factor * (cut - constant - (x - mean) * slope)``."""
    rows, width = numpy.uint64(x.shape[0]), numpy.uint64(x.shape[1])
    for row in range(rows):
        for c in range(width):
            found[row, c] = factor[c] * (cut[row, c] - constant[c] - (x[row, c] - mean[c]) * slope[c])
