"""Mean and deviation that samples are normalised by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation ``(C,)`` of the training part, of values as `Preparation` scales them first."""

    mean: Tensor
    std: Tensor
