"""Perceptrons with two hidden layers, for samples of any shape."""

from __future__ import annotations

import math

from torch import nn

from lossforge.models.imported import Shape


def mlp(shape: Shape, classes: int, width: int) -> nn.Module:
    """Two hidden layers of ``16 * width`` units with ReLU (Rumelhart, Hinton & Williams, Nature 323, 1986)."""
    return _perceptron(math.prod(shape), 16 * width, 16 * width, classes)


def mlp_12_8(shape: Shape, classes: int, width: int) -> nn.Module:
    """Hidden layers of 12 and 8 units with ReLU, initialised as Keras's ``Dense`` does it.

    Weights are uniform within ± sqrt(6 / (inputs + outputs)) (Glorot & Bengio, AISTATS 2010), biases 0. It is the
    network of many tutorials on small tables, few enough units that a whole layer may be dead at the start.
    """
    network = _perceptron(math.prod(shape), 12, 8, classes)
    for module in network:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def _perceptron(inputs: int, first: int, second: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, classes),
    )
