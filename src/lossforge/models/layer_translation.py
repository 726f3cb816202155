"""How the layers and functions of torch are translated for the kernels: one function a kind, in two tables."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.layer_list import Convolution, Geometry, Norm, Pair, Windows
from lossforge.models.layer_notes import Boxes, Notes, check, pair, planes


def _convolution(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    check(module.groups == 1, name, "its convolution is in groups")
    check(module.padding_mode == "zeros", name, f"its padding is {module.padding_mode}")
    (channels, *size), (outs, *out) = planes(notes.tensor(argument)), planes(result)
    transposed = isinstance(module, nn.ConvTranspose2d)
    padding = module.padding
    if isinstance(padding, str):
        check(padding == "valid" or all(size % 2 for size in module.kernel_size), name, f"its padding is {padding}")
        reach = [d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        padding = reach if padding == "same" else (0, 0)
    geometry = Geometry(
        pair(out if transposed else size),
        pair(size if transposed else out),
        pair(module.kernel_size),
        pair(module.stride),
        pair(padding),
        pair(module.dilation),
    )
    bias = None if module.bias is None else f"{name}.bias"
    x = notes.value(argument)
    notes.layers.append(
        Convolution(x, notes.give(result), channels, outs, geometry, f"{name}.weight", bias, transposed)
    )


def _linear(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    check(result.ndim == 2, name, f"it reads tensors of shape {tuple(notes.tensor(argument).shape)}")
    bias = None if module.bias is None else f"{name}.bias"
    x = notes.value(argument)
    geometry = Geometry((1, 1), (1, 1), (1, 1))
    notes.layers.append(
        Convolution(x, notes.give(result), module.in_features, module.out_features, geometry, f"{name}.weight", bias)
    )


def _norm(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    whole = module.affine and module.track_running_stats and module.momentum is not None
    check(whole, name, "it is a BatchNorm without weights, running statistics or momentum")
    notes.combine(argument, result, norm=Norm(name, module.eps, module.momentum))


def _relu(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    if module.inplace:
        notes.alone(argument)
    notes.combine(argument, result, rectified=True)


def _same(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    notes.same(argument)


def _flatten(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    _reshaped(notes, argument, result)


def _reshaped(notes: Notes, argument: Any, result: Tensor) -> None:
    before = notes.tensor(argument)
    whole = len(result) == len(before) and result[0].numel() == before[0].numel()
    flat = result.ndim == 2 or (result.ndim == 4 and result.shape[1:] == before.shape[1:])
    check(whole and flat, str(notes.node), f"it makes {tuple(before.shape)} {tuple(result.shape)}")
    notes.same(argument)


def _ranges(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> list[list[int]]:
    """For each place of ``out`` the places of ``size`` in its window."""
    starts = [place * stride - padding for place in range(out)]
    return [[at for at in range(s, s + kernel * dilation, dilation) if 0 <= at < size] for s in starts]


def _boxes(size: Pair, rows: list[list[int]], columns: list[list[int]], divisors: Sequence[int]) -> Boxes:
    """Windows from their rows and columns; a divisor of 0 is the number of pixels."""
    boxes = [tuple(i * size[1] + j for i in row for j in column) for row in rows for column in columns]
    return tuple((divisor or max(1, len(box)), box) for divisor, box in zip(divisors, boxes, strict=True))


def _slide(
    notes: Notes,
    kind: str,
    argument: Any,
    result: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    *,
    padded_counts: bool = False,
    divisor: int | None = None,
) -> None:
    size, out = (pair(planes(one)[1:]) for one in (notes.tensor(argument), result))
    kernel, padding, dilation = pair(kernel), pair(padding), pair(dilation)
    stride = pair(stride) if stride not in (None, (), []) else kernel
    rows, columns = (
        _ranges(size[side], out[side], kernel[side], stride[side], padding[side], dilation[side]) for side in (0, 1)
    )
    divisors = [divisor or 0] * (out[0] * out[1])
    if padded_counts and divisor is None:
        # Torch counts pixels of the padding, but not those behind it.
        heights, widths = (
            [
                min(place * stride[side] - padding[side] + kernel[side], size[side] + padding[side])
                - (place * stride[side] - padding[side])
                for place in range(out[side])
            ]
            for side in (0, 1)
        )
        divisors = [height * width for height in heights for width in widths]
    notes.slide(kind, argument, result, _boxes(size, rows, columns, divisors))


def _max_pool(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    _slide(notes, "largest", argument, result, module.kernel_size, module.stride, module.padding, module.dilation)


def _average_pool(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    _slide(
        notes, "mean", argument, result, module.kernel_size, module.stride, module.padding,
        padded_counts=module.count_include_pad, divisor=module.divisor_override,
    )  # fmt: skip


def _adaptive(notes: Notes, argument: Any, result: Tensor) -> None:
    size, out = (planes(one)[1:] for one in (notes.tensor(argument), result))
    rows, columns = (
        [list(range(at * n // m, -(-(at + 1) * n // m))) for at in range(m)] for n, m in zip(size, out, strict=True)
    )
    notes.slide("mean", argument, result, _boxes(pair(size), rows, columns, [0] * (out[0] * out[1])))


def _adaptive_pool(notes: Notes, module: Any, name: str, argument: Any, result: Tensor) -> None:
    _adaptive(notes, argument, result)


MODULES: dict[type, Callable[[Notes, Any, str, Any, Tensor], None]] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.ReLU: _relu,
    nn.Identity: _same,
    nn.Flatten: _flatten,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
}


def _added(notes: Notes, nodes: Any, result: Tensor, x: Any, y: Any) -> None:
    alike = isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape == y.shape
    check(alike, str(notes.node), "it adds what differs in shape")
    notes.combine(nodes[0], result, second=notes.value(nodes[1]))


def _added_in_place(notes: Notes, nodes: Any, result: Tensor, x: Any, y: Any) -> None:
    notes.alone(nodes[0])
    _added(notes, nodes, result, x, y)


def _relu_function(notes: Notes, nodes: Any, result: Tensor, x: Any, inplace: bool = False) -> None:
    if inplace:
        notes.alone(nodes[0])
    notes.combine(nodes[0], result, rectified=True)


def _reshape_function(notes: Notes, nodes: Any, result: Tensor, *_: Any, **__: Any) -> None:
    _reshaped(notes, nodes[0], result)


def _joined_channels(notes: Notes, nodes: Any, result: Tensor, tensors: Any, dim: int = 0) -> None:
    check(dim == 1 or (result.ndim == 4 and dim == -3), str(notes.node), f"it joins along axis {dim}")
    outs, *size = planes(result)
    parts = [(notes.value(node), planes(notes.tensor(node))[0]) for node in nodes[0]]
    y, lead = notes.give(result), 0
    for x, channels in parts:
        windows = tuple((1, (pixel,)) for pixel in range(math.prod(size)))
        notes.layers.append(Windows(x, y, "mean", channels, outs, pair(size), pair(size), windows, lead))
        lead += channels


def _padded(
    notes: Notes, nodes: Any, result: Tensor, x: Tensor, pad: Any, mode: str = "constant", value: float | None = None
) -> None:
    check(x.ndim == 4 and mode == "constant" and not value, str(notes.node), f"its padding is {mode}")
    left, _, top, _, lead, _ = (*pad, 0, 0, 0, 0, 0, 0)[:6]
    (channels, *size), (outs, *out) = planes(x), planes(result)
    check(lead >= 0 and len(pad) <= 6 and outs >= channels, str(notes.node), "it pads by less than nothing")
    rows, columns = _ranges(size[0], out[0], 1, 1, top), _ranges(size[1], out[1], 1, 1, left)
    windows = _boxes(pair(size), rows, columns, [1] * math.prod(out))
    notes.slide("mean", nodes[0], result, windows, lead)


def _sliced(notes: Notes, nodes: Any, result: Tensor, x: Tensor, index: Any) -> None:
    whole = isinstance(index, tuple) and all(isinstance(part, slice) for part in index) and x.ndim == 4 == result.ndim
    check(whole and len(result) == len(x) and result.shape[1] == x.shape[1], str(notes.node), f"it takes {index}")
    _, *size = planes(x)
    slices = [*index, slice(None), slice(None)][2:4]
    rows, columns = ([[at] for at in range(n)[part]] for n, part in zip(size, slices, strict=True))
    notes.slide("mean", nodes[0], result, _boxes(pair(size), rows, columns, [1] * (len(rows) * len(columns))))


def _mean(notes: Notes, nodes: Any, result: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False) -> None:
    axes = sorted(axis % x.ndim for axis in dim) if isinstance(dim, tuple | list) else None
    check(x.ndim == 4 and axes == [2, 3], str(notes.node), f"it is the mean over {dim}")
    _adaptive(notes, nodes[0], result)


def _max_pool_function(
    notes: Notes, nodes: Any, result: Tensor, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> None:  # fmt: skip
    _slide(notes, "largest", nodes[0], result, kernel_size, stride, padding, dilation)


def _average_pool_function(
    notes: Notes, nodes: Any, result: Tensor, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> None:  # fmt: skip
    _slide(
        notes, "mean", nodes[0], result, kernel_size, stride, padding, padded_counts=count_include_pad,
        divisor=divisor_override,
    )  # fmt: skip


def _adaptive_function(notes: Notes, nodes: Any, result: Tensor, x: Tensor, output_size: Any) -> None:
    _adaptive(notes, nodes[0], result)


FUNCTIONS: dict[Any, Callable[..., None]] = {
    **dict.fromkeys((operator.add, torch.add, "add"), _added),
    operator.iadd: _added_in_place,
    **dict.fromkeys((functional.relu, torch.relu, "relu"), _relu_function),
    **dict.fromkeys((torch.flatten, torch.reshape, "flatten", "view", "reshape"), _reshape_function),
    **dict.fromkeys((torch.cat, torch.concat), _joined_channels),
    functional.pad: _padded,
    operator.getitem: _sliced,
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((functional.max_pool2d, torch.max_pool2d), _max_pool_function),
    functional.avg_pool2d: _average_pool_function,
    functional.adaptive_avg_pool2d: _adaptive_function,
}
