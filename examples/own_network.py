"""A search for a loss for a network of your own: python own_network.py [KEY=VALUE ...]."""

from __future__ import annotations

import math
import sys

from torch import nn

import lossforge


def network(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """Any module that maps ``(N, *shape)`` to logits ``(N, classes)``; it draws its weights from torch's generator."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 4 * width),
        nn.BatchNorm1d(4 * width),
        nn.GELU(),
        nn.Linear(4 * width, classes),
    )


if __name__ == "__main__":  # worker processes import this file again
    run = lossforge.search("smoke", overrides=["task.model=own_network:network", *sys.argv[1:]])
    print(run.path)
    for entry in run.hall_of_fame[:3]:
        print(f"{entry.told_gain}  {entry.formula}")
