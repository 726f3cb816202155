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
def forward(
    x, w1, scales1, w2, scales2, head, bias, training, statistics1, statistics2, h1, p, chosen, h2, f, out, logits
):
    """Logits (K, B, classes) of K networks on padded samples ``x`` (S, C, (H + 2) * (W + 2) * B); S divides K.

    ``w1`` (K, C1, C, 9), ``w2`` (K, C2, C1, 9), ``head`` (K, classes, features) and ``bias`` are the weights;
    ``scales`` (2, K, C): BatchNorm's weight and bias. ``statistics`` (2, K, C): mean and variance, read, or in
    training filled. The activations ``h1`` (K, C1, H, W, B), ``p`` (padded, zeros in its border), ``chosen``, ``h2``
    and ``f`` are kept for `backward`; with one row they are scratch, as is ``out`` (classes, B). The planes of ``h1``
    and ``h2`` are even in number: there may be one more than channels.
    """
    epsilon = numpy.float32(1e-5)
    height, width, batch = numpy.uint64(h1.shape[2]), numpy.uint64(h1.shape[3]), numpy.uint64(h1.shape[4])
    rows, columns = height // TWO, width // TWO
    tall, wide = numpy.uint64(f.shape[2]), numpy.uint64(f.shape[3])
    each = logits.shape[0] // x.shape[0]
    for k in range(logits.shape[0]):
        kept = min(k, h1.shape[0] - 1)
        samples = x[k // each]
        first = h1[kept].reshape(h1.shape[1], -1)
        pooled, mark = p[kept], chosen[kept]
        for c in range(w1.shape[1]):
            if c % 2 == 0:
                convolve(samples, w1[k], c, first, c, height, width, batch)
            if training:
                statistics(first, c, statistics1[0, k], statistics1[1, k], c)
            scale = scales1[0, k, c] / numpy.sqrt(statistics1[1, k, c] + epsilon)
            shift = scales1[1, k, c] - statistics1[0, k, c] * scale
            _pooled(first, c, scale, shift, pooled, mark, height, width, batch)
        second, features = h2[kept].reshape(h2.shape[1], -1), f[kept].reshape(f.shape[1], -1)
        for c in range(w2.shape[1]):
            if c % 2 == 0:
                convolve(pooled, w2[k], c, second, c, rows, columns, batch)
            if training:
                statistics(second, c, statistics2[0, k], statistics2[1, k], c)
            scale = scales2[0, k, c] / numpy.sqrt(statistics2[1, k, c] + epsilon)
            shift = scales2[1, k, c] - statistics2[0, k, c] * scale
            _averaged(second, c, scale, shift, features, rows, columns, tall, wide, batch)
        for o in range(out.shape[0]):
            for s in range(batch):
                out[o, s] = bias[k, o]
        product(head[k], features.reshape(-1, batch), out)
        for s in range(batch):
            for o in range(out.shape[0]):
                logits[k, s, o] = out[o, s]


@fast_kernel
def _second_norm(h, plane, g, mean, variance, weight, bias, slopes, k, padded, height, width, batch):
    """Back through ReLU and BatchNorm: the gradient on ``h[plane]`` into padded ``padded[plane]``.

    ``g[0]``, of H * W * B, is the gradient on the ReLU; ``slopes`` (2, K, C) gets those on BatchNorm's weight and bias.
    """
    inverse = numpy.float32(1) / numpy.sqrt(variance + numpy.float32(1e-5))
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
    inverse = numpy.float32(1) / numpy.sqrt(variance + numpy.float32(1e-5))
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
    x, w1, scales1, w2, scales2, head, statistics1, statistics2, h1, p, chosen, h2, f, given,
    d1, slopes1, d2, slopes2, d_head, d_bias, logits, df, g, padded1, padded2,
):  # fmt: skip
    """Gradients ``d1``, ``slopes1``, ``d2``, ``slopes2``, ``d_head``, ``d_bias`` from ``given`` (K, B, classes).

    The arguments before are those of `forward`, filled by it in training, those behind are scratch: ``logits``
    (classes, B), ``df`` (features, B), ``g`` (2, H // 2 * W // 2 * B), and with zeros in their borders ``padded1``
    (2, (H + 2) * (W + 2) * B) and ``padded2``, of as many planes as ``h2``. It comes from outside since numba's own
    arrays begin anywhere in a cache line, which halves the speed.
    """
    height, width, batch = numpy.uint64(h1.shape[2]), numpy.uint64(h1.shape[3]), numpy.uint64(h1.shape[4])
    rows, columns = height // TWO, width // TWO
    tall, wide = numpy.uint64(f.shape[2]), numpy.uint64(f.shape[3])
    networks, _, classes = given.shape
    each = networks // x.shape[0]
    features = df.shape[0]
    turned = numpy.empty((w2.shape[2], w2.shape[1], 9), numpy.float32)
    across = numpy.empty((features, classes), numpy.float32)
    for k in range(networks):
        for s in range(batch):
            for o in range(classes):
                logits[o, s] = given[k, s, o]
        for o in range(classes):
            d_bias[k, o] = logits[o].sum()
            for n in range(features):
                across[n, o] = head[k, o, n]
        products(logits, f[k].reshape(-1, batch), d_head[k])
        df[:] = 0
        product(across, logits, df)
        planes = df.reshape(f.shape[1], -1)
        first, second = h1[k].reshape(h1.shape[1], -1), h2[k].reshape(h2.shape[1], -1)
        for c in range(w2.shape[1]):
            _spread(planes, c, g, rows, columns, tall, wide, batch)
            mean, variance = statistics2[0, k, c], statistics2[1, k, c]
            weight, bias = scales2[0, k, c], scales2[1, k, c]
            _second_norm(second, c, g, mean, variance, weight, bias, slopes2, k, padded2, rows, columns, batch)
        for c in range(0, w2.shape[1], 2):
            correlate(p[k], padded2, c, c, d2[k], rows, columns, batch)
        _turned(w2[k], turned)
        for c in range(w1.shape[1]):
            if c % 2 == 0:
                convolve(padded2, turned, c, g, 0, rows, columns, batch)
            mean, variance, weight = statistics1[0, k, c], statistics1[1, k, c], scales1[0, k, c]
            of = c % 2
            _first_norm(first, c, g, of, chosen[k], mean, variance, weight, slopes1, k, padded1, height, width, batch)
            if of == 1 or c == w1.shape[1] - 1:
                correlate(x[k // each], padded1, 0, c - of, d1[k], height, width, batch)
