"""A network that does what a search must survive, as a user's own could: its width says what.

It happens when the network is trained, and not when it is tried out on two samples.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy
import torch
from torch import nn

HANG, CRASH, HOG, CRASH_ONCE, SLOW, LEAVE, INTERRUPT, MEDDLE, FORK, END = range(101, 111)
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
    wanted = {
        HANG: lambda: time.sleep(600),
        CRASH: lambda: os._exit(3),
        HOG: eat,
        CRASH_ONCE: crash_once,
        SLOW: lambda: time.sleep(0.02),
        LEAVE: lambda: sys.exit(0),
        INTERRUPT: interrupt,
        MEDDLE: meddle,
        FORK: fork,
        END: end,
    }
    wanted.get(width, lambda: None)()


def crash_once() -> None:
    marker = Path(os.environ[FOLDER]) / "crashed"
    if not marker.exists():
        marker.touch()
        os._exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def fork() -> None:
    if os.fork() == 0:
        raise RuntimeError("the child came back to the search")


def end() -> None:
    """End this process as one that has done its work, with a child left behind."""
    if os.fork() == 0:
        time.sleep(20)
    os._exit(0)


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


def meddle() -> None:
    """Change what one can change of a process, short of ending it."""
    os.chdir("/")
    sys.stdout.close()
    sys.argv.append("--meddled")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("error")
    numpy.seterr(all="raise")
    torch.set_num_threads(2)
    torch.manual_seed(123)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # The new way, after which torch does not tell what the old one would say.
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    # Last, since it is felt at once: what this training gives is its own affair.
    torch.set_default_dtype(torch.float64)
