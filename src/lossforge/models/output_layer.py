"""The layer of a network that its logits come out of: what is found, and how one neuron becomes two."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lossforge.errors import ModelError
from lossforge.models.imported import Shape


def output_layer(model: nn.Module, shape: Shape) -> str:
    """Name of the linear layer (``nn.Linear``, or a convolution of a dense network) that gives the logits.

    It is the last one that a sample of ``shape``, ``(C, H, W)``, goes through, whatever the order in which the network
    lists its layers. The network is left as it was. Raises ModelError where it has none, or where what comes out of it
    is not what the network gives.
    """
    called: list[tuple[str, Tensor]] = []

    def kept(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, given, found: called.append((name, found))

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [module.register_forward_hook(kept(name)) for name, module in layers]
    training = model.training
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            dtype = next((weight.dtype for weight in model.parameters()), torch.float32)
            logits = model.eval()(torch.zeros(1, *shape, device=device, dtype=dtype))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if not called or called[-1][1].shape != logits.shape or not torch.equal(called[-1][1], logits):
        raise ModelError(
            "task.model: its logits do not come out of a linear layer (nn.Linear or nn.Conv2d), which task.probe, "
            "task.output_init = 'matched' and recipe.output_rate ask for; leave those keys out, or take another network"
        )
    return called[-1][0]


def as_two_neurons(model: nn.Module, shape: Shape) -> nn.Module:
    """A network of one logit as one of two, whose second logit less the first is that logit.

    Each of the two has half of the weights, the first with the sign turned: their difference is the one's to the bit. A
    step of SGD or Adam on the cross-entropy behind a softmax then moves their difference by twice what it moves the one
    neuron by behind a sigmoid; half the rate there (``recipe.output_rate``) makes the two the same training, as long as
    no weights decay. Raises ModelError as `output_layer` does.
    """
    name = output_layer(model, shape)
    one = model.get_submodule(name)
    if not isinstance(one, nn.Linear) or one.out_features != 1:
        raise ModelError("task.output_init: 'matched' is for networks that end in an nn.Linear, one logit a sample")
    # On the meta device no numbers are drawn.
    two = nn.Linear(one.in_features, 2, bias=one.bias is not None, device="meta", dtype=one.weight.dtype)
    two.weight = nn.Parameter(torch.cat([-one.weight, one.weight]).detach() / 2)
    if one.bias is not None:
        two.bias = nn.Parameter(torch.cat([-one.bias, one.bias]).detach() / 2)
    model.set_submodule(name, two)
    return model
