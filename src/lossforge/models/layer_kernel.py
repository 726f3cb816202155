"""A network forward and backward on a CPU, from a list of its layers: the list is data, so nothing is compiled for it.

One network after the other, so that each stays in the nearer caches. `layer_program` makes the list; how planes lie is
told in `convolution_kernel`.
"""

from __future__ import annotations

import numpy

from lossforge.models.convolution_kernel import ONE, convolve, correlate, kernel, outer_products, packed
from lossforge.models.plane_kernel import (
    accumulated,
    averaged,
    behind,
    behind_averaged,
    behind_largest,
    combined,
    largest,
    spread,
    statistics,
)

CONVOLVE, COMBINE, LARGEST, AVERAGE = range(4)
"""What a layer does."""
TRAIN, EVALUATE, AGAIN = range(3)
"""How a list is gone through: with statistics of the batch, with given ones, or what was not kept once more."""

_WHOLE = (
    *("op", "x", "second", "y", "channels", "outs", "taps"),
    *("x_pixels", "y_pixels", "x_plane", "y_plane", "second_plane"),
    *("weight", "bias", "biased", "across", "flat", "again", "ahead", "back", "pairs"),
    *("normed", "channel", "beside", "rectified", "lead", "filled", "to_x", "to_second", "add_x", "add_second"),
)
LAYER = numpy.dtype([*((name, numpy.uint64) for name in _WHOLE), ("epsilon", numpy.float32)])
"""One layer. ``x``, ``second`` and ``y`` are numbers of values, ``ahead``, ``back`` and ``pairs`` places of tables.

A plane may take more room than its pixels. ``weight`` and ``bias`` are places among a network's parameters,
``channel`` one among its statistics. 0 or 1 are ``biased``, ``normed``, ``beside`` (there is a ``second``),
``rectified``, ``across`` (a transposed convolution), ``flat`` (a linear layer), ``again`` (computed again on the way
back), ``filled`` (channels before ``lead`` and behind are set to 0), ``to_x`` and ``to_second``, whether a gradient is
wanted there, and ``add_x`` and ``add_second``, whether there is one already.
"""
VALUE = numpy.dtype([(name, numpy.uint64) for name in ("at", "step", "gradient", "gradient_step")])
"""Where the planes of a value stand in memory, and those of its gradient: for network k by so many steps further."""


@kernel
def _places(values, k, batch, places, slopes):
    """Where the values of network ``k`` are, and their gradients; the first value is that of its samples."""
    for v in range(values.shape[0]):
        places[v] = values[v].at + (batch if v == 0 else k) * values[v].step
        slopes[v] = values[v].gradient + k * values[v].gradient_step


@kernel
def _normal(layer, k, c, how, memory, at, runs, length, padded, weights, found):
    """What channel ``c``, from ``at`` on, is multiplied with, and what is added then, by BatchNorm if there is one."""
    if not layer.normed:
        return numpy.float32(1), numpy.float32(0)
    channel = layer.channel + c
    if how == TRAIN:
        found[0, k, channel], found[1, k, channel] = statistics(memory, at, runs, length, padded)
    scale = weights[k, layer.weight + c] / numpy.sqrt(found[1, k, channel] + layer.epsilon)
    return scale, weights[k, layer.bias + c] - found[0, k, channel] * scale


@kernel
def _ahead(program, k, how, places, padded, batch, tables, memory, weights, found, scratch):
    """All layers of network ``k``, in turn. ``found`` (2, K, channels): means and variances of BatchNorms."""
    whole = batch == padded
    for number in range(program.shape[0]):
        layer = program[number]
        x, y, other = places[layer.x], places[layer.y], places[layer.second]
        plane, out_plane = layer.x_plane, layer.y_plane
        runs = ONE if whole else layer.x_pixels
        length = layer.x_pixels * padded if whole else batch
        if layer.op == CONVOLVE:
            if how != AGAIN or layer.again:
                packed(
                    weights[k], layer.weight, layer.bias, layer.biased, layer.outs, layer.channels, layer.taps,
                    layer.across, scratch,
                )  # fmt: skip
                convolve(
                    memory, x, plane, layer.channels, scratch, layer.taps, tables, layer.ahead,
                    memory, y, out_plane, layer.outs, numpy.uint64(0),
                )  # fmt: skip
        elif layer.op == COMBINE:
            for c in range(layer.channels):
                scale, shift = _normal(layer, k, c, how, memory, x + c * plane, runs, length, padded, weights, found)
                combined(
                    memory, x + c * plane, scale, shift, layer.beside, other + c * layer.second_plane, layer.rectified,
                    memory, y + c * out_plane, runs, length, padded,
                )  # fmt: skip
        else:
            to = y + layer.lead * out_plane
            if layer.filled:
                for q in range(y, to):
                    memory[q] = 0
                for q in range(to + layer.channels * out_plane, y + layer.outs * out_plane):
                    memory[q] = 0
            for c in range(layer.channels):
                if layer.op == LARGEST:
                    scale, shift = _normal(
                        layer, k, c, how, memory, x + c * plane, runs, length, padded, weights, found
                    )
                    largest(
                        memory, x + c * plane, scale, shift, layer.rectified, tables, layer.ahead,
                        memory, to + c * out_plane, padded,
                    )  # fmt: skip
                else:
                    averaged(memory, x + c * plane, tables, layer.ahead, memory, to + c * out_plane, padded)


@kernel
def forward(program, values, tables, memory, weights, found, working, each, batch, padded, how, scratch):
    """Values of K networks from samples: network k has the ``k // each``-th batch of them.

    ``memory`` has all values, ``weights`` (K, N) the parameters, ``found`` (2, K, channels) means and variances of
    BatchNorms, filled in training. Who is not ``working`` (K,) is passed over. ``batch`` samples take ``padded``
    places. ``scratch`` is for the weights of a convolution.
    """
    places = numpy.empty(values.shape[0], numpy.uint64)
    slopes = numpy.empty(values.shape[0], numpy.uint64)
    for k in range(numpy.uint64(working.shape[0])):
        if working[k]:
            _places(values, k, k // each, places, slopes)
            _ahead(program, k, how, places, padded, batch, tables, memory, weights, found, scratch)


@kernel
def _behind_combined(
    layer, k, x, y, g, to_x, to_second, padded, batch, tables, memory, weights, found, slopes, gradients, plane_scratch
):  # fmt: skip
    """Back through BatchNorm, and addition and ReLU, or the pooling, behind it."""
    whole, plane, out_plane = batch == padded, layer.x_plane, layer.y_plane
    runs = ONE if whole else layer.x_pixels
    length = layer.x_pixels * padded if whole else batch
    count = numpy.float32(runs * length)
    zero = numpy.float32(0)
    for c in range(layer.channels):
        middle, inverse, scale, shift = zero, numpy.float32(1), numpy.float32(1), zero
        if layer.normed:
            at = layer.channel + c
            middle = found[0, k, at]
            inverse = numpy.float32(1) / numpy.sqrt(found[1, k, at] + layer.epsilon)
            scale, shift = _normal(layer, k, c, AGAIN, memory, x, runs, length, padded, weights, found)
        of, given, rectified = y + (layer.lead + c) * out_plane, g + (layer.lead + c) * out_plane, layer.rectified
        if layer.op == LARGEST:
            # Not in the same place as what comes of it: such a loop would not become vector instructions.
            chosen = plane_scratch + layer.x_pixels * padded
            for q in range(chosen, chosen + layer.x_pixels * padded):
                slopes[q] = 0
            behind_largest(
                memory, x + c * plane, scale, shift, rectified, tables, layer.ahead, memory, of, slopes, given,
                slopes, chosen, padded,
            )  # fmt: skip
            given, rectified = chosen, numpy.uint64(0)
        total, moment = behind(
            memory, x + c * plane, middle, rectified, memory, of, slopes, given,
            slopes, plane_scratch, runs, length, padded,
        )  # fmt: skip
        if layer.to_second:
            accumulated(
                slopes,
                plane_scratch,
                layer.add_second,
                slopes,
                to_second + c * layer.second_plane,
                runs,
                length,
                padded,
            )
        constant, slope = zero, zero
        if layer.normed:
            moment *= inverse
            gradients[k, layer.weight + c], gradients[k, layer.bias + c] = moment, total
            constant, slope = scale * total / count, scale * inverse * moment / count
        if layer.to_x:
            spread(
                memory, x + c * plane, middle, slopes, plane_scratch, scale, constant, slope, layer.add_x,
                slopes, to_x + c * plane, runs, length, padded,
            )  # fmt: skip


@kernel
def _behind_convolution(layer, k, x, g, to_x, padded, tables, memory, weights, slopes, gradients, scratch, sums):
    """Back through a convolution: the gradients on its weights and on what it read."""
    plane, out_plane = layer.x_plane, layer.y_plane
    if layer.flat:
        outer_products(
            memory, x, layer.channels, slopes, g, layer.outs, padded, tables, layer.pairs, sums,
            gradients[k], layer.weight,
        )  # fmt: skip
    elif layer.across:
        correlate(
            slopes, g, out_plane, layer.outs, memory, x, plane, layer.channels, layer.taps, tables, layer.pairs,
            padded, sums, gradients[k], layer.weight,
        )  # fmt: skip
    else:
        correlate(
            memory, x, plane, layer.channels, slopes, g, out_plane, layer.outs, layer.taps, tables, layer.pairs,
            padded, sums, gradients[k], layer.weight,
        )  # fmt: skip
    if layer.biased:
        for o in range(layer.outs):
            total = numpy.float32(0)
            for q in range(g + o * out_plane, g + o * out_plane + layer.y_pixels * padded):
                total += slopes[q]
            gradients[k, layer.bias + o] = total
    if layer.to_x:
        packed(
            weights[k], layer.weight, layer.bias, numpy.uint64(0), layer.channels, layer.outs, layer.taps,
            ONE - layer.across, scratch,
        )  # fmt: skip
        convolve(
            slopes, g, out_plane, layer.outs, scratch, layer.taps, tables, layer.back,
            slopes, to_x, plane, layer.channels, layer.add_x,
        )  # fmt: skip


@kernel
def _behind_means(layer, g, to_x, padded, tables, slopes):
    """Back through means of windows."""
    if not layer.add_x:
        for q in range(to_x, to_x + layer.channels * layer.x_plane):
            slopes[q] = 0
    for c in range(layer.channels):
        given = g + (layer.lead + c) * layer.y_plane
        behind_averaged(tables, layer.ahead, slopes, given, slopes, to_x + c * layer.x_plane, padded)


@kernel
def backward(
    program, values, tables, memory, weights, found, working, each, batch, padded, slopes, plane, gradients, scratch,
    sums,
):  # fmt: skip
    """Gradients ``(K, N)`` on the parameters; the arguments before ``slopes`` are those of `forward`, in training.

    ``slopes`` has the gradients on what the networks gave, 0 in samples behind the last, and room for those on all
    other values, and from ``plane`` on for two planes. All but costly convolutions is computed again: that takes less
    time than to write it down for all networks and to read it back.
    """
    places = numpy.empty(values.shape[0], numpy.uint64)
    targets = numpy.empty(values.shape[0], numpy.uint64)
    for k in range(numpy.uint64(working.shape[0])):
        if not working[k]:
            continue
        _places(values, k, k // each, places, targets)
        _ahead(program, k, AGAIN, places, padded, batch, tables, memory, weights, found, scratch)
        for number in range(program.shape[0]):
            layer = program[program.shape[0] - 1 - number]
            x, y, g = places[layer.x], places[layer.y], targets[layer.y]
            to_x, to_second = targets[layer.x], targets[layer.second]
            if layer.op == CONVOLVE:
                _behind_convolution(
                    layer, k, x, g, to_x, padded, tables, memory, weights, slopes, gradients, scratch, sums
                )
            elif layer.op != AVERAGE:
                _behind_combined(
                    layer, k, x, y, g, to_x, to_second, padded, batch, tables, memory, weights, found, slopes,
                    gradients, plane,
                )  # fmt: skip
            elif layer.to_x:
                _behind_means(layer, g, to_x, padded, tables, slopes)
