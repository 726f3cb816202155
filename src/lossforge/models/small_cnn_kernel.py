"""SmallCNN forward and backward on a CPU, one network after the other, so that each stays in the nearer caches.

All numbers are float32. Samples are the innermost axis: planes of images are ``(C, H * W * B)``, so that loops run along
samples and become vector instructions however few channels there are. What a convolution reads has a border of zeros:
``(C, (H + 2) * (W + 2) * B)``.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler

kernel = compiler()
fast_kernel = compiler("reassoc")

# Indices are unsigned: numba would look at every signed one that it cannot prove, whether it counts from the end, and
# that look keeps a loop from becoming vector instructions. One signed number among them makes the sum a float.
_ONE, _TWO, _FOUR = numpy.uint64(1), numpy.uint64(2), numpy.uint64(4)


@kernel
def _convolve(x, w, channel, out, place, height, width, batch):
    """Two outputs, from ``channel`` on, of the 3×3 convolution of padded ``x`` with ``w`` (out, in, 9).

    They are planes ``place`` and ``place + 1`` of ``out``. Two read ``x`` once; after an odd last one comes its double.
    """
    pitch, row = (width + _TWO) * batch, width * batch
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
            a1, a2 = a0 + batch, a0 + _TWO * batch
            a3, a6 = a0 + pitch, a0 + _TWO * pitch
            a4, a5, a7, a8 = a3 + batch, a3 + _TWO * batch, a6 + batch, a6 + _TWO * batch
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
def _correlate(x, g, plane, channel, out, height, width, batch):
    """The gradient on the weights of two outputs, ``out[channel]`` (in, 9) and the next, that read padded ``x``.

    ``g`` has the gradients on these outputs in its planes ``plane`` and ``plane + 1``, padded.
    """
    pitch = (width + _TWO) * batch
    # One run over all rows: what lies between them is zero in g.
    length, start = (height - _ONE) * pitch + width * batch, pitch + batch
    o1, o2, o3, o6 = batch, _TWO * batch, pitch, _TWO * pitch
    o4, o5, o7, o8 = o3 + batch, o3 + _TWO * batch, o6 + batch, o6 + _TWO * batch
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
def _statistics(x, plane, mean, variance, channel):
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
def _product(w, x, out):
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
def _products(g, x, out):
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


@kernel
def _pooled(h, plane, scale, shift, p, chosen, height, width, batch):
    """ReLU of the largest of four normalised numbers, into padded ``p``; ``chosen``: which of them, or 4 for none."""
    rows, columns = height // _TWO, width // _TWO
    for i in range(rows):
        for j in range(columns):
            upper = (_TWO * i * width + _TWO * j) * batch
            lower = upper + width * batch
            to, mark = ((i + _ONE) * (columns + _TWO) + j + _ONE) * batch, (i * columns + j) * batch
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
        top, bottom = a * height // rows, ((a + _ONE) * height + rows - _ONE) // rows
        for b in range(columns):
            left, right = b * width // columns, ((b + _ONE) * width + columns - _ONE) // columns
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
        top, bottom = a * height // rows, ((a + _ONE) * height + rows - _ONE) // rows
        for b in range(columns):
            left, right = b * width // columns, ((b + _ONE) * width + columns - _ONE) // columns
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
    and ``f`` are kept for `backward`; with one row they are scratch, as is ``out`` (classes, B). Of ``h1`` and ``h2`` the planes are even in number.
    """
    epsilon = numpy.float32(1e-5)
    height, width, batch = numpy.uint64(h1.shape[2]), numpy.uint64(h1.shape[3]), numpy.uint64(h1.shape[4])
    rows, columns = height // _TWO, width // _TWO
    tall, wide = numpy.uint64(f.shape[2]), numpy.uint64(f.shape[3])
    each = logits.shape[0] // x.shape[0]
    for k in range(logits.shape[0]):
        kept = min(k, h1.shape[0] - 1)
        samples = x[k // each]
        first = h1[kept].reshape(h1.shape[1], -1)
        pooled, mark = p[kept], chosen[kept]
        for c in range(w1.shape[1]):
            if c % 2 == 0:
                _convolve(samples, w1[k], c, first, c, height, width, batch)
            if training:
                _statistics(first, c, statistics1[0, k], statistics1[1, k], c)
            scale = scales1[0, k, c] / numpy.sqrt(statistics1[1, k, c] + epsilon)
            shift = scales1[1, k, c] - statistics1[0, k, c] * scale
            _pooled(first, c, scale, shift, pooled, mark, height, width, batch)
        second, features = h2[kept].reshape(h2.shape[1], -1), f[kept].reshape(f.shape[1], -1)
        for c in range(w2.shape[1]):
            if c % 2 == 0:
                _convolve(pooled, w2[k], c, second, c, rows, columns, batch)
            if training:
                _statistics(second, c, statistics2[0, k], statistics2[1, k], c)
            scale = scales2[0, k, c] / numpy.sqrt(statistics2[1, k, c] + epsilon)
            shift = scales2[1, k, c] - statistics2[0, k, c] * scale
            _averaged(second, c, scale, shift, features, rows, columns, tall, wide, batch)
        for o in range(out.shape[0]):
            for s in range(batch):
                out[o, s] = bias[k, o]
        _product(head[k], features.reshape(-1, batch), out)
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
    total, product = numpy.float32(0), numpy.float32(0)
    for q in range(g.shape[1]):
        value, given = h[plane, q], g[0, q]
        given = numpy.float32(0) if value * scale + shift <= 0 else given
        g[0, q] = given
        total += given
        product += given * (value - mean)
    product *= inverse
    slopes[0, k, plane], slopes[1, k, plane] = product, total
    count = numpy.float32(g.shape[1])
    constant, slope = scale * total / count, scale * inverse * product / count
    for i in range(height):
        start, to = i * width * batch, ((i + _ONE) * (width + _TWO) + _ONE) * batch
        for q in range(width * batch):
            padded[plane, to + q] = scale * g[0, start + q] - constant - slope * (h[plane, start + q] - mean)


@fast_kernel
def _first_norm(h, plane, g, of, chosen, mean, variance, weight, slopes, k, padded, height, width, batch):
    """Back through pooling and BatchNorm: from ``g[of]``, of H // 2 * W // 2 * B, to the gradient in ``padded[of]``."""
    rows, columns = height // _TWO, width // _TWO
    inverse = numpy.float32(1) / numpy.sqrt(variance + numpy.float32(1e-5))
    total, product = numpy.float32(0), numpy.float32(0)
    for i in range(rows):
        for j in range(columns):
            upper, start = (_TWO * i * width + _TWO * j) * batch, (i * columns + j) * batch
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
                product += given * (value - mean)
    product *= inverse
    slopes[0, k, plane], slopes[1, k, plane] = product, total
    count, scale = numpy.float32(h.shape[1]), weight * inverse
    constant, slope = scale * total / count, scale * inverse * product / count
    for i in range(height):
        start, to = i * width * batch, ((i + _ONE) * (width + _TWO) + _ONE) * batch
        for q in range(width * batch):
            padded[of, to + q] = -constant - slope * (h[plane, start + q] - mean)
    for i in range(rows):
        for j in range(columns):
            start = (i * columns + j) * batch
            for number in range(_FOUR):
                row, column = _TWO * i + number // _TWO + _ONE, _TWO * j + number % _TWO + _ONE
                to, mark = (row * (width + _TWO) + column) * batch, numpy.int32(number)
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
    (classes, B), ``df`` (features, B), ``g`` (2, H//2 * W//2 * B), ``padded1`` (2, (H + 2) * (W + 2) * B) and ``padded2``
    (C2 or one more, ...) with zeros in their borders. It comes from outside since numba's own arrays begin anywhere
    in a cache line, which halves the speed.
    """
    height, width, batch = numpy.uint64(h1.shape[2]), numpy.uint64(h1.shape[3]), numpy.uint64(h1.shape[4])
    rows, columns = height // _TWO, width // _TWO
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
        _products(logits, f[k].reshape(-1, batch), d_head[k])
        df[:] = 0
        _product(across, logits, df)
        planes = df.reshape(f.shape[1], -1)
        first, second = h1[k].reshape(h1.shape[1], -1), h2[k].reshape(h2.shape[1], -1)
        for c in range(w2.shape[1]):
            _spread(planes, c, g, rows, columns, tall, wide, batch)
            mean, variance = statistics2[0, k, c], statistics2[1, k, c]
            weight, bias = scales2[0, k, c], scales2[1, k, c]
            _second_norm(second, c, g, mean, variance, weight, bias, slopes2, k, padded2, rows, columns, batch)
        for c in range(0, w2.shape[1], 2):
            _correlate(p[k], padded2, c, c, d2[k], rows, columns, batch)
        _turned(w2[k], turned)
        for c in range(w1.shape[1]):
            if c % 2 == 0:
                _convolve(padded2, turned, c, g, 0, rows, columns, batch)
            mean, variance, weight = statistics1[0, k, c], statistics1[1, k, c], scales1[0, k, c]
            of = c % 2
            _first_norm(first, c, g, of, chosen[k], mean, variance, weight, slopes1, k, padded1, height, width, batch)
            if of == 1 or c == w1.shape[1] - 1:
                _correlate(x[k // each], padded1, 0, c - of, d1[k], height, width, batch)
