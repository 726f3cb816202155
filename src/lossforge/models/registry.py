"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossforge.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

Factory = Callable[[tuple[int, int, int], int, int], "nn.Module"]
"""``(sample shape (C, H, W), classes, width) -> network``, drawing its weights from torch's global generator."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One known network; ``smallest`` is the least height and width of an image that it takes."""

    name: str
    summary: str
    smallest: int
    factory: Factory


def _small_cnn(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    from lossforge.models.small_cnn import SmallCNN

    return SmallCNN(shape, classes, width)


MODELS: dict[str, NamedModel] = {
    model.name: model
    for model in (NamedModel("small_cnn", "two convolutions and a linear head; about 10,000 weights", 4, _small_cnn),)
}
"""Every network by name."""


def build_model(name: str, shape: tuple[int, int, int], classes: int, width: int, seed: int) -> nn.Module:
    """A network with weights that depend on ``seed`` alone. Raises ModelError where it does not fit."""
    import torch

    model = MODELS.get(name)
    if model is None:
        raise ModelError(f"task.model: '{name}' is not a network (known: {', '.join(MODELS)})")
    if min(shape[1:]) < model.smallest:
        raise ModelError(f"task.model: '{name}' takes images of {model.smallest}×{model.smallest} or more, not {shape}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.factory(shape, classes, width)
