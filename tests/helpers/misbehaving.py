"""A network that does what a search must survive, as a user's own could: its width says what.

It happens when the network is trained, and not when it is tried out on two samples.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import torch
from torch import nn

HANG, CRASH, HOG, CRASH_ONCE, SLOW = range(101, 106)
"""Widths; with any other it behaves."""
NETWORK = "tests.helpers.misbehaving:network"
FOLDER = "LOSSFORGE_TEST_FOLDER"
"""Where the one that crashes once remembers that it did."""


class Misbehaving(nn.Module):
    """A linear network, and what its width asks for."""

    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 2:
            misbehave(self.width)
        return self.linear(x.flatten(1))


def network(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    return Misbehaving(shape[0] * shape[1] * shape[2], classes, width)


def misbehave(width: int) -> None:
    if width == HANG:
        time.sleep(600)
    if width == CRASH:
        os._exit(3)
    if width == HOG:
        eat()
    if width == CRASH_ONCE:
        marker = Path(os.environ[FOLDER]) / "crashed"
        if not marker.exists():
            marker.touch()
            os._exit(3)
    if width == SLOW:
        time.sleep(0.02)


def eat() -> None:
    """Allocate without bound, up to 1 GiB more than is used now: what the system then refuses is a MemoryError."""
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    kept = []
    try:
        while True:
            kept.append(bytearray(2**26))
    finally:
        kept.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)
