"""Convolutions on a CPU, along samples.

Planes of images are ``(C, H * W * B)`` with samples as the innermost axis, so that every vector is 16 samples of one
pixel, however few channels there are. Nothing is padded: pixels with the same taps inside the image are a class, and a
pixel at the border has fewer taps, and less work. Which pixel reads which is written in tables (`layer_tables`), so
that one kernel serves all sizes, strides and paddings, the way back, transposed convolutions and linear layers.
"""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler
from lossforge.expression.vectors import add, fma, load, splat, store, totals, turn

kernel = compiler()

# Indices are unsigned: numba would look at every signed one that it cannot prove, whether it counts from the end, and
# that look keeps a loop from becoming vector instructions. One signed number among them makes the sum a float.
ONE, TWO, THREE, FOUR, LANES = (numpy.uint64(number) for number in (1, 2, 3, 4, 16))


@kernel
def packed(weights, at, bias, biased, outs, channels, taps, across, out):
    """Weights ``(outs, channels, taps)``, or with ``across`` ``(channels, outs, taps)``, as `convolve` reads them.

    That is in groups of four outputs: ``(groups, 4)`` biases, which are 0 unless ``biased``, and ``(groups, channels,
    taps, 4)`` weights. Behind the last output it comes again.
    """
    groups, last = (outs + THREE) // FOUR, outs - ONE
    for o in range(groups * FOUR):
        out[o] = weights[bias + min(o, last)] if biased else numpy.float32(0)
    size = channels * taps
    by_out, by_channel = (taps, outs * taps) if across else (size, taps)
    for group in range(groups):
        first, to = group * FOUR, (groups + group * size) * FOUR
        w0, w1 = at + min(first, last) * by_out, at + min(first + ONE, last) * by_out
        w2, w3 = at + min(first + TWO, last) * by_out, at + min(first + THREE, last) * by_out
        for _ in range(channels if across else ONE):
            for q in range(taps if across else size):
                out[to + FOUR * q], out[to + FOUR * q + ONE] = weights[w0 + q], weights[w1 + q]
                out[to + FOUR * q + TWO], out[to + FOUR * q + THREE] = weights[w2 + q], weights[w3 + q]
            to += FOUR * taps
            w0, w1, w2, w3 = w0 + by_channel, w1 + by_channel, w2 + by_channel, w3 + by_channel


@kernel
def convolve(x, start, plane, channels, weights, taps, tables, table, out, to, out_plane, outs, adding):
    """``out``, planes from ``to`` on, becomes the convolution of ``x``, planes from ``start`` on; see `packed`.

    With ``adding`` it is added to what is there. Sixteen sums, four outputs of four vectors, stay in registers over
    all channels and taps. The table has for each class of pixels where its taps and its tiles of four vectors stand.
    """
    group, biases = channels * taps * FOUR, (outs + THREE) // FOUR * FOUR
    for number in range(tables[table]):
        entry = table + ONE + FOUR * number
        first, last = tables[entry], tables[entry + ONE]
        for tile in range(tables[entry + TWO], tables[entry + THREE], 8):
            f0, f1, f2, f3 = tables[tile], tables[tile + ONE], tables[tile + TWO], tables[tile + THREE]
            f0, f1, f2, f3 = start + f0, start + f1, start + f2, start + f3
            place = tile + FOUR
            t0, t1, t2, t3 = tables[place], tables[place + ONE], tables[place + TWO], tables[place + THREE]
            for o in range(numpy.uint64(0), outs, FOUR):
                # Outputs behind the last are written to the last's place, before it.
                to0 = to + o * out_plane
                to1, to2 = to + min(o + ONE, outs - ONE) * out_plane, to + min(o + TWO, outs - ONE) * out_plane
                to3 = to + min(o + THREE, outs - ONE) * out_plane
                a0 = a1 = a2 = a3 = splat(weights[o])
                b0 = b1 = b2 = b3 = splat(weights[o + ONE])
                c0 = c1 = c2 = c3 = splat(weights[o + TWO])
                d0 = d1 = d2 = d3 = splat(weights[o + THREE])
                w, shift = biases + o // FOUR * group, numpy.uint64(0)
                for _ in range(channels):
                    for tap in range(first, last, 2):
                        at, u = shift + tables[tap + ONE], w + tables[tap]
                        wa, wb = splat(weights[u]), splat(weights[u + ONE])
                        wc, wd = splat(weights[u + TWO]), splat(weights[u + THREE])
                        y = load(x, f0 + at)
                        a0, b0, c0, d0 = fma(wa, y, a0), fma(wb, y, b0), fma(wc, y, c0), fma(wd, y, d0)
                        y = load(x, f1 + at)
                        a1, b1, c1, d1 = fma(wa, y, a1), fma(wb, y, b1), fma(wc, y, c1), fma(wd, y, d1)
                        y = load(x, f2 + at)
                        a2, b2, c2, d2 = fma(wa, y, a2), fma(wb, y, b2), fma(wc, y, c2), fma(wd, y, d2)
                        y = load(x, f3 + at)
                        a3, b3, c3, d3 = fma(wa, y, a3), fma(wb, y, b3), fma(wc, y, c3), fma(wd, y, d3)
                    shift += plane
                    w += taps * FOUR
                if adding:
                    d0, d1 = add(d0, load(out, to3 + t0)), add(d1, load(out, to3 + t1))
                    d2, d3 = add(d2, load(out, to3 + t2)), add(d3, load(out, to3 + t3))
                    c0, c1 = add(c0, load(out, to2 + t0)), add(c1, load(out, to2 + t1))
                    c2, c3 = add(c2, load(out, to2 + t2)), add(c3, load(out, to2 + t3))
                    b0, b1 = add(b0, load(out, to1 + t0)), add(b1, load(out, to1 + t1))
                    b2, b3 = add(b2, load(out, to1 + t2)), add(b3, load(out, to1 + t3))
                    a0, a1 = add(a0, load(out, to0 + t0)), add(a1, load(out, to0 + t1))
                    a2, a3 = add(a2, load(out, to0 + t2)), add(a3, load(out, to0 + t3))
                # Vectors behind a class's last are the last again.
                store(out, to3 + t0, d0), store(out, to3 + t1, d1), store(out, to3 + t2, d2), store(out, to3 + t3, d3)
                store(out, to2 + t0, c0), store(out, to2 + t1, c1), store(out, to2 + t2, c2), store(out, to2 + t3, c3)
                store(out, to1 + t0, b0), store(out, to1 + t1, b1), store(out, to1 + t2, b2), store(out, to1 + t3, b3)
                store(out, to0 + t0, a0), store(out, to0 + t1, a1), store(out, to0 + t2, a2), store(out, to0 + t3, a3)


@kernel
def correlate(x, start, plane, channels, g, given, out_plane, outs, taps, tables, table, batch, sums, out, to):
    """The gradient ``out`` (outs, channels, taps), from ``to`` on, on a convolution's weights, all of it.

    ``x`` is what was read, and ``g``, from ``given`` on, the gradient on what came of it, 0 in samples behind the
    last. Sixteen sums, of four outputs with four channels, stay in registers over a segment: a few rows of pairs of
    pixels that one tap connects. ``sums`` (taps, 16, 16) is scratch.
    """
    last_out, last_channel, segments = outs - ONE, channels - ONE, tables[table]
    for o in range(numpy.uint64(0), outs, FOUR):
        ga, gb = given + o * out_plane, given + min(o + ONE, last_out) * out_plane
        gc, gd = given + min(o + TWO, last_out) * out_plane, given + min(o + THREE, last_out) * out_plane
        for c in range(numpy.uint64(0), channels, FOUR):
            x0, x1 = start + c * plane, start + min(c + ONE, last_channel) * plane
            x2, x3 = start + min(c + TWO, last_channel) * plane, start + min(c + THREE, last_channel) * plane
            for q in range(taps * LANES * LANES):
                sums[q] = 0
            for segment in range(segments):
                entry = table + ONE + THREE * segment
                a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = splat(numpy.float32(0))
                c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = splat(numpy.float32(0))
                for pair in range(tables[entry + ONE], tables[entry + TWO], 2):
                    source, target = tables[pair], tables[pair + ONE]
                    for s in range(numpy.uint64(0), batch, LANES):
                        at, of = source + s, target + s
                        y0, y1, y2, y3 = load(x, x0 + at), load(x, x1 + at), load(x, x2 + at), load(x, x3 + at)
                        d = load(g, ga + of)
                        a0, a1, a2, a3 = fma(d, y0, a0), fma(d, y1, a1), fma(d, y2, a2), fma(d, y3, a3)
                        d = load(g, gb + of)
                        b0, b1, b2, b3 = fma(d, y0, b0), fma(d, y1, b1), fma(d, y2, b2), fma(d, y3, b3)
                        d = load(g, gc + of)
                        c0, c1, c2, c3 = fma(d, y0, c0), fma(d, y1, c1), fma(d, y2, c2), fma(d, y3, c3)
                        d = load(g, gd + of)
                        d0, d1, d2, d3 = fma(d, y0, d0), fma(d, y1, d1), fma(d, y2, d2), fma(d, y3, d3)
                place = tables[entry] * LANES * LANES
                for found in (a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3):
                    store(sums, place, add(found, load(sums, place)))
                    place += LANES
            for tap in range(taps):
                store(sums, tap * LANES, totals(_rows(sums, tap * LANES * LANES)))
            for p in range(min(FOUR, outs - o)):
                for q in range(min(FOUR, channels - c)):
                    at = to + ((o + p) * channels + c + q) * taps
                    for tap in range(taps):
                        out[at + tap] = sums[tap * LANES + p * FOUR + q]


@kernel
def _rows(sums, at):
    """Sixteen vectors that lie one behind the other."""
    b, c, d = at + FOUR * LANES, at + numpy.uint64(8) * LANES, at + numpy.uint64(12) * LANES
    e, f, g = ONE * LANES, TWO * LANES, THREE * LANES
    return (
        *(load(sums, at), load(sums, at + e), load(sums, at + f), load(sums, at + g)),
        *(load(sums, b), load(sums, b + e), load(sums, b + f), load(sums, b + g)),
        *(load(sums, c), load(sums, c + e), load(sums, c + f), load(sums, c + g)),
        *(load(sums, d), load(sums, d + e), load(sums, d + f), load(sums, d + g)),
    )


@kernel
def outer_products(x, start, channels, g, given, outs, padded, tables, table, scratch, out, to):
    """The gradient ``out`` (outs, channels), from ``to`` on, on the weights of a linear layer; see `correlate`.

    With features as the innermost axis it is a convolution, which reads as many channels as there are samples.
    ``scratch`` is for ``g`` as its weights, what was read, turned, and the gradient in rows of whole vectors.
    """
    wide = (channels + LANES - ONE) // LANES * LANES
    turned = ((outs + THREE) // FOUR * FOUR * (padded + ONE) + LANES - ONE) // LANES * LANES
    found = turned + padded * wide
    packed(g, given, given, numpy.uint64(0), outs, padded, ONE, numpy.uint64(0), scratch)
    for s in range(numpy.uint64(0), padded, LANES):
        # The last square may begin among what the one before has had.
        for c in range(numpy.uint64(0), channels if channels >= LANES else numpy.uint64(0), LANES):
            first = min(c, channels - LANES)
            turn(x, start + first * padded + s, padded, scratch, turned + s * wide + first, wide)
        for c in range(channels if channels < LANES else numpy.uint64(0)):
            for lane in range(LANES):
                scratch[turned + (s + lane) * wide + c] = x[start + c * padded + s + lane]
    convolve(scratch, turned, wide, padded, scratch, ONE, tables, table, scratch, found, wide, outs, numpy.uint64(0))
    for o in range(outs):
        for c in range(channels):
            out[to + o * channels + c] = scratch[found + o * wide + c]
