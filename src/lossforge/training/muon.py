"""Muon's matrices in stacked parameters: one of shape (K, out, in) is K matrices, each orthogonalised by itself.

`torch.optim.Muon` takes plain matrices only; a stacked bias (K, n) would pass for one, and mix the replicas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPS = 1e-7


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearly the nearest orthogonal matrices to ``(K, m, n)``: singular values from 0.7 to 1.2, by Newton-Schulz.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; here in float32.
    """
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=_EPS)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: Tensor = wide.mT if matrices.shape[1] > matrices.shape[2] else wide
    return result


def is_matrix(stacked: Tensor) -> bool:
    """Whether a stacked parameter, ``(K, ...)``, is matrices: linear layers, and convolutions as out × all the rest."""
    return stacked.ndim >= 3 and min(stacked.shape[1], math.prod(stacked.shape[2:])) > 1
