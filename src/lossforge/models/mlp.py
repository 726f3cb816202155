"""A perceptron with two hidden layers, for samples of any shape."""

from __future__ import annotations

import math

from torch import nn

from lossforge.models.imported import Shape


def mlp(shape: Shape, classes: int, width: int) -> nn.Module:
    """Two hidden layers of ``16 * width`` units with ReLU (Rumelhart, Hinton & Williams, Nature 323, 1986)."""
    hidden = 16 * width
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
