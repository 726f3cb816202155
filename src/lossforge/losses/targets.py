"""Targets as people give them, and what is counted of them; shipped with the heads in every export.

This file needs torch alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(indices: Tensor, logits: Tensor, dim: int) -> Tensor:
    """1 at each sample's index along ``dim`` and else 0, in the shape and type of the logits."""
    return torch.zeros_like(logits).scatter(dim, indices.unsqueeze(dim), 1.0)


def is_soft(target: Tensor) -> bool:
    """Whether a target is neither 0 nor 1, where that can be looked at."""
    if not target.is_floating_point() or target.device.type != "cpu":
        return False
    return bool(((target != 0) & (target != 1)).any())


def are_classes(target: Tensor, classes: int, ignore_index: int) -> bool:
    """Whether every index is that of a class, and no sample left out, where that can be looked at.

    On a GPU to ask would be to wait for it.
    """
    if not target.is_cpu or 0 <= ignore_index < classes or torch.compiler.is_compiling():
        return False
    if target.dtype is torch.bool:
        return True
    try:
        low, high = target.aminmax()
        return low.item() >= 0 and high.item() < classes
    except RuntimeError:  # no sample, torch.func.vmap, or tensors without values
        return False


def reduced(each: Tensor, kept: Tensor | None, reduction: str) -> Tensor:
    """The losses of the samples by ``reduction``; those not kept (None: all are) do not count."""
    if kept is not None:
        each = torch.where(kept, each, 0.0)
    if reduction == "none":
        return each
    if reduction == "sum":
        return each.sum()
    return each.mean() if kept is None else each.sum() / kept.sum()


def class_indices(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Class indices as int64. Raises ValueError where one is neither in [0, classes) nor ``ignore_index``.

    They are widened before they are compared with anything: in uint8, -100 is 156. Values are looked at on a CPU
    alone; elsewhere torch's own check of an index tells.
    """
    indices = target.long()
    if target.dtype == torch.uint64:
        indices = indices.masked_fill(indices < 0, torch.iinfo(torch.int64).max)  # beyond int64, and no -100
    low, high = ends(indices)
    if low < 0 or high >= classes:
        outside = indices[((indices < 0) | (indices >= classes)) & (indices != ignore_index)]
        if outside.numel():
            raise ValueError(
                f"class indices must be in [0, {classes}), or ignore_index = {ignore_index} for what does not count, "
                f"but one is {int(outside[0])}"
            )
    return indices


def ends(whole: Tensor) -> tuple[int, int]:
    """The least and the largest value; zeros where they cannot be looked at, or that would be to wait for a GPU."""
    if torch.compiler.is_compiling() or whole.device.type != "cpu" or whole.numel() == 0:
        return 0, 0
    try:
        low, high = (int(end) for end in whole.aminmax())
    except RuntimeError:  # torch.func.vmap, or tensors without values
        return 0, 0
    return low, high


def dim_of(logits: Tensor) -> int:
    """Where the logits' classes lie. Raises ValueError for what are no logits."""
    if not logits.is_floating_point() or logits.dim() < 1:
        raise ValueError(f"logits must be floating point, (N, C) or (N, C, d1, ...), not {seen(logits)}")
    dim = 0 if logits.dim() == 1 else 1
    if logits.shape[dim] == 0:
        raise ValueError(f"logits must have a class at least, not {seen(logits)}")
    return dim


def check_weight(weight: Tensor | None, classes: int) -> None:
    """Raise ValueError where there is not a weight for each class."""
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight must have shape ({classes},), not {tuple(weight.shape)}")


def seen(tensor: Tensor) -> str:
    """A tensor's type and shape, in words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
