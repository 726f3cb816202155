"""What numpy itself has no function for; shipped with every export to numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def _sigmoid(x: Any) -> Any:
    """1 / (1 + e**-x), without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def _erf(x: Any) -> Any:
    """The error function."""
    return np.vectorize(math.erf, otypes=[float])(x)


def _one_hot(indices: Any, classes: int) -> Any:
    """1.0 at each index along a new last axis, else 0."""
    return (np.arange(classes) == np.asarray(indices)[..., None]) * 1.0


def _stop(x: Any) -> Any:
    """The value alone, which no gradient goes through."""
    return x
