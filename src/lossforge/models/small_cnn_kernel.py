"""SmallCNN forward and backward on a CPU, one network after the other, so that each stays in the nearer caches.

Planes lie as in `plane_kernel`: samples are the innermost axis.
"""

from __future__ import annotations

import numpy

from lossforge.models.plane_kernel import (
    FOUR,
    ONE,
    TWO,
    convolve,
    correlate,
    fast_kernel,
    kernel,
    product,
    products,
    statistics,
)

EPSILON = numpy.float32(1e-5)


@kernel
def _pooled(h, plane, scale, shift, p, chosen, height, width, batch):
    """ReLU of the largest of four normalised numbers, into padded ``p``; ``chosen``: which of them, or 4 for none."""
    rows, columns = height // TWO, width // TWO
    for i in range(rows):
        for j in range(columns):
            upper = (TWO * i * width + TWO * j) * batch
            lower = upper + width * batch
            to, mark = ((i + ONE) * (columns + TWO) + j + ONE) * batch, (i * columns + j) * batch
            for s in range(batch):
                first, second = h[plane, upper + s], h[plane, upper + batch + s]
                third, fourth = h[plane, lower + s], h[plane, lower + batch + s]
                first, second = first * scale + shift, second * scale + shift
                third, fourth = third * scale + shift, fourth * scale + shift
                best = second if second > first else first
                which = numpy.int32(1) if second > first else numpy.int32(0)
                which = numpy.int32(2) if third > best else which
                best = third if third > best else best
                which = numpy.int32(3) if fourth > best else which
                best = fourth if fourth > best else best
                # Not "best > 0": NaN must stay NaN.
                p[plane, to + s] = numpy.float32(0) if best <= 0 else best
                chosen[plane, mark + s] = numpy.int32(4) if best <= 0 else which


@kernel
def _averaged(h, plane, scale, shift, f, height, width, rows, columns, batch):
    """ReLU of normalised numbers, averaged over ``rows`` × ``columns`` windows as torch's adaptive pooling has them."""
    if rows == height and columns == width:
        # Windows of one pixel: one run over all.
        for q in range(h.shape[1]):
            value = h[plane, q] * scale + shift
            f[plane, q] = numpy.float32(0) if value <= 0 else value
        return
    for a in range(rows):
        top, bottom = a * height // rows, ((a + ONE) * height + rows - ONE) // rows
        for b in range(columns):
            left, right = b * width // columns, ((b + ONE) * width + columns - ONE) // columns
            to = (a * columns + b) * batch
            share = numpy.float32(1) / numpy.float32((bottom - top) * (right - left))
            for s in range(batch):
                f[plane, to + s] = 0
            for i in range(top, bottom):
                for j in range(left, right):
                    start = (i * width + j) * batch
                    for s in range(batch):
                        value = h[plane, start + s] * scale + shift
                        value = numpy.float32(0) if value <= 0 else value
                        f[plane, to + s] += value * share


@kernel
def _spread(df, plane, g, height, width, rows, columns, batch):
    """The gradient ``g[0]``, of H * W * B, on what was averaged, from that on the averages."""
    if rows == height and columns == width:
        for q in range(g.shape[1]):
            g[0, q] = df[plane, q]
        return
    for q in range(g.shape[1]):
        g[0, q] = 0
    for a in range(rows):
        top, bottom = a * height // rows, ((a + ONE) * height + rows - ONE) // rows
        for b in range(columns):
            left, right = b * width // columns, ((b + ONE) * width + columns - ONE) // columns
            start = (a * columns + b) * batch
            share = numpy.float32(1) / numpy.float32((bottom - top) * (right - left))
            for i in range(top, bottom):
                for j in range(left, right):
                    to = (i * width + j) * batch
                    for s in range(batch):
                        g[0, to + s] += df[plane, start + s] * share


@kernel
def _normal(scales, statistic, k, c):
    """What a channel of network k is multiplied with, and what is added then, by BatchNorm."""
    scale = scales[0, k, c] / numpy.sqrt(statistic[1, k, c] + EPSILON)
    return scale, scales[1, k, c] - statistic[0, k, c] * scale


@kernel
def _first_layer(x, w, scales, statistic, k, training, h, p, chosen, height, width, batch):
    """Network k up to its first ReLU: the convolution ``h`` (C1, H * W * B), padded ``p``, and ``chosen``."""
    for c in range(w.shape[1]):
        if c % 2 == 0:
            convolve(x, w[k], c, h, c, height, width, batch)
        if training:
            statistics(h, c, statistic[0, k], statistic[1, k], c)
        scale, shift = _normal(scales, statistic, k, c)
        _pooled(h, c, scale, shift, p, chosen, height, width, batch)


@kernel
def forward(
    working, x, w1, scales1, w2, scales2, head, bias, statistics1, statistics2, training, h2, logits,
    size, h1, p, chosen, f, out,
):  # fmt: skip
    """Logits (K, B, classes) of K networks on padded samples ``x`` (S, C, (H + 2) * (W + 2) * B); S divides K.

    What is not ``working`` (K,) is passed over. The weights are ``w1`` (K, C1, C, 9), ``w2`` (K, C2, C1, 9), ``head``
    (K, classes, features) and ``bias``; ``scales`` (2, K, C): BatchNorm's weight and bias. ``statistics`` (2, K, C):
    mean and variance, read, or in training filled. ``h2`` (K, C2, H // 2 * W // 2 * B), the second convolution, is
    kept for `backward`; with one row it is scratch. ``size`` is H, W, and rows and columns of the features.

    The rest is scratch: ``h1`` (C1, H * W * B), ``p`` (C1, ...) with zeros in its border, ``chosen``, ``f`` (C2, ...)
    and ``out`` (classes, B). The planes of ``h1`` and ``h2`` are even in number: there may be one more than channels.
    """
    height, width, tall, wide = size
    rows, columns, batch = height // TWO, width // TWO, numpy.uint64(out.shape[1])
    each = logits.shape[0] // x.shape[0]
    for k in range(logits.shape[0]):
        if not working[k]:
            continue
        _first_layer(x[k // each], w1, scales1, statistics1, k, training, h1, p, chosen, height, width, batch)
        second = h2[min(k, h2.shape[0] - 1)]
        for c in range(w2.shape[1]):
            if c % 2 == 0:
                convolve(p, w2[k], c, second, c, rows, columns, batch)
            if training:
                statistics(second, c, statistics2[0, k], statistics2[1, k], c)
            scale, shift = _normal(scales2, statistics2, k, c)
            _averaged(second, c, scale, shift, f, rows, columns, tall, wide, batch)
        for o in range(out.shape[0]):
            for s in range(batch):
                out[o, s] = bias[k, o]
        product(head[k], f.reshape(-1, out.shape[1]), out)
        for s in range(batch):
            for o in range(out.shape[0]):
                logits[k, s, o] = out[o, s]


@fast_kernel
def _second_norm(h, plane, g, mean, variance, weight, bias, slopes, k, padded, height, width, batch):
    """Back through ReLU and BatchNorm: the gradient on ``h[plane]`` into padded ``padded[plane]``.

    ``g[0]``, of H * W * B, is the gradient on the ReLU; ``slopes`` (2, K, C) gets those on BatchNorm's weight and bias.
    """
    inverse = numpy.float32(1) / numpy.sqrt(variance + EPSILON)
    scale = weight * inverse
    shift = bias - mean * scale
    total, moment = numpy.float32(0), numpy.float32(0)
    for q in range(g.shape[1]):
        value, given = h[plane, q], g[0, q]
        given = numpy.float32(0) if value * scale + shift <= 0 else given
        g[0, q] = given
        total += given
        moment += given * (value - mean)
    moment *= inverse
    slopes[0, k, plane], slopes[1, k, plane] = moment, total
    count = numpy.float32(g.shape[1])
    constant, slope = scale * total / count, scale * inverse * moment / count
    for i in range(height):
        start, to = i * width * batch, ((i + ONE) * (width + TWO) + ONE) * batch
        for q in range(width * batch):
            padded[plane, to + q] = scale * g[0, start + q] - constant - slope * (h[plane, start + q] - mean)


@fast_kernel
def _first_norm(h, plane, g, of, chosen, mean, variance, weight, slopes, k, padded, height, width, batch):
    """Back through pooling and BatchNorm: from ``g[of]``, of H // 2 * W // 2 * B, to the gradient in ``padded[of]``."""
    rows, columns = height // TWO, width // TWO
    inverse = numpy.float32(1) / numpy.sqrt(variance + EPSILON)
    total, moment = numpy.float32(0), numpy.float32(0)
    for i in range(rows):
        for j in range(columns):
            upper, start = (TWO * i * width + TWO * j) * batch, (i * columns + j) * batch
            lower = upper + width * batch
            for s in range(batch):
                # All are read before one is chosen: a read that may not happen is not vectorised.
                which, given = chosen[plane, start + s], g[of, start + s]
                first, second = h[plane, upper + s], h[plane, upper + batch + s]
                third, fourth = h[plane, lower + s], h[plane, lower + batch + s]
                value = second if which == 1 else first
                value = third if which == 2 else value
                value = fourth if which == 3 else value
                given = numpy.float32(0) if which == 4 else given
                total += given
                moment += given * (value - mean)
    moment *= inverse
    slopes[0, k, plane], slopes[1, k, plane] = moment, total
    count, scale = numpy.float32(h.shape[1]), weight * inverse
    constant, slope = scale * total / count, scale * inverse * moment / count
    for i in range(height):
        start, to = i * width * batch, ((i + ONE) * (width + TWO) + ONE) * batch
        for q in range(width * batch):
            padded[of, to + q] = -constant - slope * (h[plane, start + q] - mean)
    for i in range(rows):
        for j in range(columns):
            start = (i * columns + j) * batch
            for number in range(FOUR):
                row, column = TWO * i + number // TWO + ONE, TWO * j + number % TWO + ONE
                to, mark = (row * (width + TWO) + column) * batch, numpy.int32(number)
                for s in range(batch):
                    given = scale * g[of, start + s]
                    padded[of, to + s] += given if chosen[plane, start + s] == mark else numpy.float32(0)


@kernel
def _turned(w, out):
    """Weights (out, in, 9) as the way back reads them: (in, out, 9), and from the last to the first."""
    for c in range(w.shape[0]):
        for source in range(w.shape[1]):
            for tap in range(9):
                out[source, c, tap] = w[c, source, 8 - tap]


@kernel
def backward(
    working, x, w1, scales1, w2, scales2, head, statistics1, statistics2, h2, given,
    d1, slopes1, d2, slopes2, d_head, d_bias, size, h1, p, chosen, f, out, df, g, padded1, padded2,
):  # fmt: skip
    """Gradients ``d1``, ``slopes1``, ``d2``, ``slopes2``, ``d_head``, ``d_bias`` from ``given`` (K, B, classes).

    The arguments before and ``size`` are those of `forward`, filled by it in training. What is first computed is
    computed again, which takes less time than to write it down for all networks and to read it back.

    The rest is scratch, as in `forward`; and ``df`` (features, B), ``g`` (2, H // 2 * W // 2 * B), and with zeros in
    their borders ``padded1`` (2, ...) and ``padded2``, of as many planes as ``h2`` has. It comes from outside since
    numba's own arrays begin anywhere in a cache line, which halves the speed.
    """
    height, width, tall, wide = size
    rows, columns, batch = height // TWO, width // TWO, numpy.uint64(out.shape[1])
    networks, _, classes = given.shape
    each = networks // x.shape[0]
    turned = numpy.empty((w2.shape[2], w2.shape[1], 9), numpy.float32)
    across = numpy.empty((df.shape[0], classes), numpy.float32)
    for k in range(networks):
        if not working[k]:
            continue
        samples, second = x[k // each], h2[k]
        _first_layer(samples, w1, scales1, statistics1, k, False, h1, p, chosen, height, width, batch)
        for c in range(w2.shape[1]):
            scale, shift = _normal(scales2, statistics2, k, c)
            _averaged(second, c, scale, shift, f, rows, columns, tall, wide, batch)
        for s in range(batch):
            for o in range(classes):
                out[o, s] = given[k, s, o]
        for o in range(classes):
            d_bias[k, o] = out[o].sum()
            for n in range(df.shape[0]):
                across[n, o] = head[k, o, n]
        products(out, f.reshape(-1, out.shape[1]), d_head[k])
        df[:] = 0
        product(across, out, df)
        planes = df.reshape(f.shape[0], -1)
        for c in range(w2.shape[1]):
            _spread(planes, c, g, rows, columns, tall, wide, batch)
            mean, variance = statistics2[0, k, c], statistics2[1, k, c]
            weight, bias = scales2[0, k, c], scales2[1, k, c]
            _second_norm(second, c, g, mean, variance, weight, bias, slopes2, k, padded2, rows, columns, batch)
        for c in range(0, w2.shape[1], 2):
            correlate(p, padded2, c, c, d2[k], rows, columns, batch)
        _turned(w2[k], turned)
        for c in range(w1.shape[1]):
            if c % 2 == 0:
                convolve(padded2, turned, c, g, 0, rows, columns, batch)
            mean, variance, weight = statistics1[0, k, c], statistics1[1, k, c], scales1[0, k, c]
            of = c % 2
            _first_norm(h1, c, g, of, chosen, mean, variance, weight, slopes1, k, padded1, height, width, batch)
            if of == 1 or c == w1.shape[1] - 1:
                correlate(samples, padded1, 0, c - of, d1[k], height, width, batch)
