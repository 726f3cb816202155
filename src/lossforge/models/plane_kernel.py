"""Convolutions, statistics and matrix products on a CPU, along samples: see `small_cnn_kernel`.

All numbers are float32. Samples are the innermost axis: planes of images are ``(C, H * W * B)``, so that loops run
along samples and become vector instructions however few channels there are. What a convolution reads has a border of
zeros: ``(C, (H + 2) * (W + 2) * B)``.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler

kernel = compiler()
fast_kernel = compiler("reassoc")

# Indices are unsigned: numba would look at every signed one that it cannot prove, whether it counts from the end, and
# that look keeps a loop from becoming vector instructions. One signed number among them makes the sum a float.
ONE, TWO, FOUR = numpy.uint64(1), numpy.uint64(2), numpy.uint64(4)


@kernel
def convolve(x, w, channel, out, place, height, width, batch):
    """Two outputs, from ``channel`` on, of the 3×3 convolution of padded ``x`` with ``w`` (out, in, 9).

    They are planes ``place`` and ``place + 1`` of ``out``. Two read ``x`` once; after an odd last one comes its double.
    """
    pitch, row = (width + TWO) * batch, width * batch
    second, beside = min(channel + 1, w.shape[0] - 1), place + 1
    for i in range(height):
        to = i * row
        for q in range(row):
            out[place, to + q] = 0
        for q in range(row):
            out[beside, to + q] = 0
        for source in range(w.shape[1]):
            w0, w1, w2 = w[channel, source, 0], w[channel, source, 1], w[channel, source, 2]
            w3, w4, w5 = w[channel, source, 3], w[channel, source, 4], w[channel, source, 5]
            w6, w7, w8 = w[channel, source, 6], w[channel, source, 7], w[channel, source, 8]
            v0, v1, v2 = w[second, source, 0], w[second, source, 1], w[second, source, 2]
            v3, v4, v5 = w[second, source, 3], w[second, source, 4], w[second, source, 5]
            v6, v7, v8 = w[second, source, 6], w[second, source, 7], w[second, source, 8]
            a0 = i * pitch
            a1, a2 = a0 + batch, a0 + TWO * batch
            a3, a6 = a0 + pitch, a0 + TWO * pitch
            a4, a5, a7, a8 = a3 + batch, a3 + TWO * batch, a6 + batch, a6 + TWO * batch
            for q in range(row):
                x0, x1, x2 = x[source, a0 + q], x[source, a1 + q], x[source, a2 + q]
                x3, x4, x5 = x[source, a3 + q], x[source, a4 + q], x[source, a5 + q]
                x6, x7, x8 = x[source, a6 + q], x[source, a7 + q], x[source, a8 + q]
                y, z = out[place, to + q], out[beside, to + q]
                y += w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + w4 * x4 + w5 * x5 + w6 * x6 + w7 * x7 + w8 * x8
                z += v0 * x0 + v1 * x1 + v2 * x2 + v3 * x3 + v4 * x4 + v5 * x5 + v6 * x6 + v7 * x7 + v8 * x8
                out[place, to + q] = y
                out[beside, to + q] = z


@fast_kernel
def correlate(x, g, plane, channel, out, height, width, batch):
    """The gradient on the weights of two outputs, ``out[channel]`` (in, 9) and the next, that read padded ``x``.

    ``g`` has the gradients on these outputs in its planes ``plane`` and ``plane + 1``, padded.
    """
    pitch = (width + TWO) * batch
    # One run over all rows: what lies between them is zero in g.
    length, start = (height - ONE) * pitch + width * batch, pitch + batch
    o1, o2, o3, o6 = batch, TWO * batch, pitch, TWO * pitch
    o4, o5, o7, o8 = o3 + batch, o3 + TWO * batch, o6 + batch, o6 + TWO * batch
    zero, second, beside = numpy.float32(0), min(channel + 1, out.shape[0] - 1), plane + 1
    for source in range(x.shape[0]):
        s0, s1, s2, s3, s4, s5, s6, s7, s8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
        t0, t1, t2, t3, t4, t5, t6, t7, t8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
        for q in range(length):
            d, e = g[plane, start + q], g[beside, start + q]
            x0, x1, x2 = x[source, q], x[source, o1 + q], x[source, o2 + q]
            x3, x4, x5 = x[source, o3 + q], x[source, o4 + q], x[source, o5 + q]
            x6, x7, x8 = x[source, o6 + q], x[source, o7 + q], x[source, o8 + q]
            s0, s1, s2 = s0 + d * x0, s1 + d * x1, s2 + d * x2
            s3, s4, s5 = s3 + d * x3, s4 + d * x4, s5 + d * x5
            s6, s7, s8 = s6 + d * x6, s7 + d * x7, s8 + d * x8
            t0, t1, t2 = t0 + e * x0, t1 + e * x1, t2 + e * x2
            t3, t4, t5 = t3 + e * x3, t4 + e * x4, t5 + e * x5
            t6, t7, t8 = t6 + e * x6, t7 + e * x7, t8 + e * x8
        out[second, source, 0], out[second, source, 1], out[second, source, 2] = t0, t1, t2
        out[second, source, 3], out[second, source, 4], out[second, source, 5] = t3, t4, t5
        out[second, source, 6], out[second, source, 7], out[second, source, 8] = t6, t7, t8
        # Last, so that where there is no second one the first stands.
        out[channel, source, 0], out[channel, source, 1], out[channel, source, 2] = s0, s1, s2
        out[channel, source, 3], out[channel, source, 4], out[channel, source, 5] = s3, s4, s5
        out[channel, source, 6], out[channel, source, 7], out[channel, source, 8] = s6, s7, s8


@fast_kernel
def statistics(x, plane, mean, variance, channel):
    """Mean and (biased) variance of a plane."""
    count = x.shape[1]
    total = numpy.float32(0)
    for q in range(count):
        total += x[plane, q]
    middle = total / numpy.float32(count)
    # About the mean: no digits are lost in the square.
    total, squares = numpy.float32(0), numpy.float32(0)
    for q in range(count):
        d = x[plane, q] - middle
        total += d
        squares += d * d
    shift = total / numpy.float32(count)
    mean[channel] = middle + shift
    variance[channel] = max(squares / numpy.float32(count) - shift * shift, numpy.float32(0))


@kernel
def product(w, x, out):
    """``out`` (M, B) += ``w`` (M, N) times ``x`` (N, B)."""
    inner, batch = x.shape
    whole = inner - inner % 8
    for m in range(out.shape[0]):
        for n in range(0, whole, 8):
            w0, w1, w2, w3 = w[m, n], w[m, n + 1], w[m, n + 2], w[m, n + 3]
            w4, w5, w6, w7 = w[m, n + 4], w[m, n + 5], w[m, n + 6], w[m, n + 7]
            for s in range(batch):
                out[m, s] += (
                    w0 * x[n, s]
                    + w1 * x[n + 1, s]
                    + w2 * x[n + 2, s]
                    + w3 * x[n + 3, s]
                    + w4 * x[n + 4, s]
                    + w5 * x[n + 5, s]
                    + w6 * x[n + 6, s]
                    + w7 * x[n + 7, s]
                )
        for n in range(whole, inner):
            last = w[m, n]
            for s in range(batch):
                out[m, s] += last * x[n, s]


@fast_kernel
def products(g, x, out):
    """``out`` (M, N): scalar products of the rows of ``g`` (M, B) and of ``x`` (N, B)."""
    rows, batch = g.shape
    whole = rows - rows % 4
    zero = numpy.float32(0)
    for n in range(x.shape[0]):
        for m in range(0, whole, 4):
            s0, s1, s2, s3 = zero, zero, zero, zero
            for s in range(batch):
                value = x[n, s]
                s0 += g[m, s] * value
                s1 += g[m + 1, s] * value
                s2 += g[m + 2, s] * value
                s3 += g[m + 3, s] * value
            out[m, n], out[m + 1, n], out[m + 2, n], out[m + 3, n] = s0, s1, s2, s3
        for m in range(whole, rows):
            s0 = zero
            for s in range(batch):
                s0 += g[m, s] * x[n, s]
            out[m, n] = s0
