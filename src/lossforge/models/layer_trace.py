"""A network as a `LayerList`: `torch.fx` follows its forward, and what is found is translated, or refused by name.

The list is made in training and in evaluation, and both must be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from lossforge.errors import ModelError
from lossforge.models.layer_list import INPUT, LayerList, joined, reads, unfolding
from lossforge.models.layer_notes import Notes
from lossforge.models.layer_translation import FUNCTIONS, MODULES

_BATCH = 3


def layer_list(model: nn.Module, shape: Sequence[int]) -> LayerList:
    """The layers of a network, on the meta device, for samples ``(C, H, W)``.

    Raises ModelError with the name of a layer that the kernels do not know.
    """
    found = []
    for training in (True, False):
        model.train(training)
        found.append(_Reader(model, tuple(shape)).read())
    if found[0] != found[1]:
        raise ModelError("the network has other layers in evaluation than in training")
    return found[0]


class _Reader(fx.Interpreter):
    """Runs a traced network on samples without memory, and takes down what is done."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        for name, module in model.named_modules():
            if module._forward_hooks or module._forward_pre_hooks:
                raise ModelError(f"'{name}' has a hook")
        try:
            traced = fx.symbolic_trace(model)
        except Exception as error:
            raise ModelError(f"its forward cannot be followed: {error}") from error
        super().__init__(traced, garbage_collect_values=False)
        self.traced, self.shape = traced, shape
        self.notes = Notes()
        self.refused: ModelError | None = None

    def read(self) -> LayerList:
        """The list."""
        try:
            with torch.no_grad():
                given = self.run(torch.empty(_BATCH, *self.shape, device="meta"))
        except Exception as error:
            raise self.refused or ModelError(f"its forward cannot be followed: {error}") from error
        notes = self.notes
        (output,) = (node for node in self.traced.graph.nodes if node.op == "output")
        result = notes.values.get(output.args[0])
        if result is None or result == INPUT:
            raise ModelError("it gives something else than one tensor of what its layers compute")
        layers = joined(notes.layers, result)
        needed = {result}
        for layer in reversed(layers):
            if layer.y not in needed:
                raise ModelError("it computes something that nobody reads")
            needed.update(reads(layer))
        channels, height, width = self.shape
        shapes = (channels, height, width), tuple(given.shape[1:])
        return unfolding(LayerList(tuple(layers), tuple(notes.sizes), result, *shapes))

    def run_node(self, n: fx.Node) -> Any:
        """A node's result on the meta device; layers are taken down."""
        result = super().run_node(n)
        try:
            self._take_down(n, result)
        except ModelError as error:
            self.refused = error  # fx adds a stack of its own to what is raised here
            raise
        return result

    def _take_down(self, node: fx.Node, result: Any) -> None:
        notes = self.notes
        notes.node, notes.results = node, self.env
        if node.op == "placeholder":
            if notes.values:
                raise ModelError("it takes more than one argument")
            notes.values[node] = notes.new(result)
        elif node.op == "get_attr":
            raise ModelError(f"it reads its own '{node.target}'")
        elif node.op == "output" or not isinstance(result, Tensor):
            return
        elif node.op == "call_module":
            name = str(node.target)
            module = self.traced.get_submodule(name)
            if type(module) not in MODULES:
                raise ModelError(f"no kernel for '{name}', {type(module).__name__}")
            if next(module.parameters(), None) is not None:
                notes.once(name)
            MODULES[type(module)](notes, module, name, node.args[0], result)
        elif node.target not in FUNCTIONS:
            raise ModelError(f"no kernel for {getattr(node.target, '__name__', node.target)}")
        else:
            args, kwargs = self.fetch_args_kwargs_from_env(node)
            FUNCTIONS[node.target](notes, node.args, result, *args, **kwargs)
