"""What is taken down of a network while it is followed: its layers and the values between them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from lossforge.errors import ModelError
from lossforge.models.layer_list import INPUT, Combination, Layer, Pair, Windows

Boxes = tuple[tuple[int, tuple[int, ...]], ...]
"""Windows: see `layer_list.Windows`."""


class Notes:
    """Layers so far, the sizes of values for one sample, and which value each node of the network's graph is.

    ``node`` is the one that is being translated, and ``results`` has what each node gives on the meta device.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.sizes: list[int] = []
        self.values: dict[fx.Node, int] = {}
        self.results: dict[fx.Node, Any] = {}
        self.node: fx.Node
        self.used: set[str] = set()

    def new(self, result: Tensor) -> int:
        """A value for a tensor ``(B, ...)``."""
        self.sizes.append(result[0].numel())
        return len(self.sizes) - 1

    def value(self, node: Any) -> int:
        """The value of an argument. Raises ModelError where it is none."""
        if not isinstance(node, fx.Node) or node not in self.values:
            raise ModelError(f"no kernel for '{self.node}', which takes a number or another tensor")
        return self.values[node]

    def tensor(self, node: Any) -> Tensor:
        """What an argument is on the meta device."""
        found: Tensor = self.results[node]
        return found

    def give(self, result: Tensor) -> int:
        """The value of this node's result, a new one."""
        self.values[self.node] = self.new(result)
        return self.values[self.node]

    def same(self, argument: Any) -> None:
        """This node's result is its argument; planes of channels are features as they lie."""
        self.values[self.node] = self.value(argument)

    def alone(self, node: Any) -> None:
        """Refuse to overwrite what others read too."""
        if self.value(node) == INPUT or len(node.users) > 1:
            raise ModelError(f"'{self.node}' overwrites what others read")

    def once(self, name: str) -> None:
        """Refuse a layer with weights that is called a second time."""
        if name in self.used:
            raise ModelError(f"'{name}' is called twice")
        self.used.add(name)

    def combine(self, argument: Any, result: Tensor, **details: Any) -> None:
        """Take a `Combination` down."""
        shape = planes(result)
        x = self.value(argument)
        self.layers.append(Combination(x, self.give(result), shape[0], shape[1:], **details))

    def slide(self, kind: Any, argument: Any, result: Tensor, boxes: Boxes, lead: int = 0) -> None:
        """Take `Windows` down, each channel for itself; none where they give nothing but the image that they read."""
        (channels, *size), (outs, *out) = planes(self.tensor(argument)), planes(result)
        alike = outs == channels and size == out
        if alike and all(box == (1, (pixel,)) for pixel, box in enumerate(boxes)):
            self.same(argument)
            return
        x = self.value(argument)
        y = self.give(result)
        filled = outs > channels
        self.layers.append(Windows(x, y, kind, channels, outs, pair(size), pair(out), boxes, lead, filled))


def planes(tensor: Tensor) -> tuple[int, int, int]:
    """Channels, height and width of a tensor ``(B, C, H, W)`` or ``(B, F)``."""
    if tensor.ndim == 2:
        return tensor.shape[1], 1, 1
    if tensor.ndim != 4:
        raise ModelError(f"no kernel for tensors of shape {tuple(tensor.shape)}")
    return tensor.shape[1], tensor.shape[2], tensor.shape[3]


def pair(value: Any) -> Pair:
    """Two whole numbers, from those or from one for both."""
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def check(fine: bool, name: str, what: str) -> None:
    """Raise ModelError that names a layer, unless it is fine."""
    if not fine:
        raise ModelError(f"no kernel for '{name}': {what}")
