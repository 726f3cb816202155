"""Muon on stacked parameters: a parameter of shape (K, out, in) is K matrices, each orthogonalised by itself.

`torch.optim.Muon` takes plain matrices only; a stacked bias (K, n) would pass for one, and mix the replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, optim

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


class StackedMuon(optim.Optimizer):
    """Muon with Nesterov momentum for matrices, AdamW for the rest, on stacked parameters ``(K, ...)``.

    A matrix's step has the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so that one
    learning rate and one weight decay serve both.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        params = list(params)
        matrices = [param for param in params if is_matrix(param)]
        rest = [param for param in params if not is_matrix(param)]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "matrices": True, "betas": (0.95, 0.999)},
            {"params": rest, "matrices": False, "betas": (0.9, 0.999)},
        ]
        groups = [group for group in groups if group["params"]]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "betas": (0.9, 0.999)})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            update = _muon if group["matrices"] else _adam
            for param in group["params"]:
                if param.grad is not None:
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    param.sub_(group["lr"] * update(param.grad, self.state[param], *group["betas"]))


def _muon(gradient: Tensor, state: dict[str, Any], momentum: float, _: float) -> Tensor:
    """The direction of a matrix, of the parameter's shape."""
    velocity = state.setdefault("velocity", torch.zeros_like(gradient))
    velocity.lerp_(gradient, 1 - momentum)
    matrices = gradient.lerp(velocity, momentum).flatten(2)
    size = 0.2 * math.sqrt(max(matrices.shape[1:]))
    return size * orthogonalised(matrices).view_as(gradient)


def _adam(gradient: Tensor, state: dict[str, Any], beta1: float, beta2: float) -> Tensor:
    """Adam's direction (Kingma & Ba, ICLR 2015)."""
    mean = state.setdefault("mean", torch.zeros_like(gradient))
    square = state.setdefault("square", torch.zeros_like(gradient))
    # Products of the betas so far: a schedule may change them.
    left = [old * beta for old, beta in zip(state.get("left", (1.0, 1.0)), (beta1, beta2), strict=True)]
    state["left"] = left
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    direction: Tensor = mean / (1 - left[0]) / ((square / (1 - left[1])).sqrt() + 1e-8)
    return direction
