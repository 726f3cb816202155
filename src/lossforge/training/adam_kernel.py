"""Adam's step of K networks on a CPU, in one pass over their weights: see `lossforge.training.optimizers`."""

from __future__ import annotations

import numpy

from lossforge.expression.jit import compiler

kernel = compiler()


@kernel
def adam_step(flat, gradient, mean, square, sizes, rates, kept_shares, numbers):
    """Change ``flat``, ``mean`` and ``square`` by a gradient; all float32, in the order of a `Layout`.

    ``sizes`` are numbers of each parameter in one network. Of each network, ``rates`` ``(K,)`` is the step's size, and
    ``kept_shares`` ``(K,)`` what decoupled decay leaves of a weight. ``numbers``: the decay that is added to the
    gradient, the gradient's share of the mean, that of its square, the root's and the mean's correction, and epsilon.
    """
    decay, share, square_share = numbers[0], numbers[1], numbers[2]
    root_correction, mean_correction, epsilon = numbers[3], numbers[4], numbers[5]
    square_kept = numpy.float32(1) - square_share
    start = numpy.uint64(0)
    for size in sizes:
        for lane in range(len(rates)):
            rate, kept = rates[lane] * mean_correction, kept_shares[lane]
            end = start + size
            for i in range(start, end):
                w = flat[i]
                g = gradient[i] + decay * w
                m = mean[i] + share * (g - mean[i])
                v = square_kept * square[i] + square_share * (g * g)
                mean[i] = m
                square[i] = v
                flat[i] = kept * w - rate * (m / (numpy.sqrt(v) * root_correction + epsilon))
            start = end
