"""BatchNorm, 2×2 max pooling and ReLU in one pass, forward and backward, for channels-last images on a CPU.

In a cohort of small networks these three take more time than the convolutions do, most of it in moving memory. The
arrays are float32 of shape ``(B, H, W, C)``; statistics are taken over all but the channel.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler

_ROWS = 64
"""Rows that are summed in float32 before the sum goes into float64."""

kernel = compiler()
fast_kernel = compiler("reassoc")


@fast_kernel
def statistics(x, mean, variance):
    """Mean and (biased) variance of each channel of ``x``, shape ``(N, C)``."""
    rows, channels = x.shape
    total = numpy.zeros(channels, numpy.float64)
    squares = numpy.zeros(channels, numpy.float64)
    part = numpy.empty((2, channels), numpy.float32)
    for start in range(0, rows, _ROWS):
        part[:] = 0
        for row in range(start, min(start + _ROWS, rows)):
            for c in range(channels):
                d = x[row, c] - x[0, c]  # near the mean: no digits are lost in the square
                part[0, c] += d
                part[1, c] += d * d
        for c in range(channels):
            total[c] += part[0, c]
            squares[c] += part[1, c]
    for c in range(channels):
        shifted = total[c] / rows
        mean[c] = x[0, c] + shifted
        variance[c] = max(squares[c] / rows - shifted * shifted, 0.0)


# Arrays are few in each loop, and what a channel needs is in one of them: LLVM vectorises a loop only where it can
# check at run time, with a handful of comparisons, that what is written is not what is read.


@kernel
def pooled_forward(x, affine, y, chosen):
    """``y`` (B, H // 2, W // 2, C): the ReLU of the largest of four normalised numbers; ``chosen``: which, or 4.

    ``affine`` (2, C) is the factor and the offset that normalise.
    """
    batch, height, width, channels = y.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    first = x[b, 2 * i, 2 * j, c] * affine[0, c] + affine[1, c]
                    second = x[b, 2 * i, 2 * j + 1, c] * affine[0, c] + affine[1, c]
                    third = x[b, 2 * i + 1, 2 * j, c] * affine[0, c] + affine[1, c]
                    fourth = x[b, 2 * i + 1, 2 * j + 1, c] * affine[0, c] + affine[1, c]
                    best = second if second > first else first
                    which = numpy.int32(1) if second > first else numpy.int32(0)
                    which = numpy.int32(2) if third > best else which
                    best = third if third > best else best
                    which = numpy.int32(3) if fourth > best else which
                    best = fourth if fourth > best else best
                    # Not "best > 0": NaN must stay NaN.
                    y[b, i, j, c] = numpy.float32(0) if best <= 0 else best
                    chosen[b, i, j, c] = numpy.int32(4) if best <= 0 else which


@fast_kernel
def pooled_sums(x, statistic, gradient, chosen, sums):
    """``sums`` (2, C): the gradient on normalised numbers, summed, and its product with these, summed.

    ``statistic`` (2, C) is mean and inverse deviation.
    """
    batch, height, width, channels = gradient.shape
    part = numpy.empty((2, channels), numpy.float32)
    for b in range(batch):
        part[:] = 0
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    # All are read before one is chosen: a read that may not happen is not vectorised.
                    which, g = chosen[b, i, j, c], gradient[b, i, j, c]
                    first, second = x[b, 2 * i, 2 * j, c], x[b, 2 * i, 2 * j + 1, c]
                    third, fourth = x[b, 2 * i + 1, 2 * j, c], x[b, 2 * i + 1, 2 * j + 1, c]
                    value = second if which == 1 else first
                    value = third if which == 2 else value
                    value = fourth if which == 3 else value
                    g = numpy.float32(0) if which == 4 else g
                    part[0, c] += g
                    part[1, c] += g * (value - statistic[0, c])
        for c in range(channels):
            sums[0, c] += part[0, c]
            sums[1, c] += part[1, c] * statistic[1, c]


@kernel
def pooled_backward(x, factors, gradient, chosen, out):
    """The gradient ``out`` on ``x``; ``factors`` (4, C): of the gradient, to subtract, of x less its mean, the mean."""
    batch, height, width, channels = gradient.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for place in range(4):
                    row, column = 2 * i + place // 2, 2 * j + place % 2
                    for c in range(channels):
                        g = gradient[b, i, j, c] * factors[0, c]
                        g = g if chosen[b, i, j, c] == place else numpy.float32(0)
                        out[b, row, column, c] = (
                            g - factors[1, c] - factors[2, c] * (x[b, row, column, c] - factors[3, c])
                        )
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                if i >= 2 * height or j >= 2 * width:  # an odd last row or column, which no pool reads
                    for c in range(channels):
                        out[b, i, j, c] = -factors[1, c] - factors[2, c] * (x[b, i, j, c] - factors[3, c])
