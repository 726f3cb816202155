"""A small convolutional network for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHARED = 4
"""Networks that read one batch in the first convolution; cuDNN and oneDNN are slow for more outputs of one input."""

State = dict[str, Tensor]
Grouped = Callable[..., Tensor]


class SmallCNN(nn.Sequential):
    """Two 3×3 convolutions with BatchNorm and ReLU, one pooling between them, one linear head.

    About 10,000 weights at ``width=16`` on 8×8 images. The head starts at a tenth of PyTorch's usual
    size: the first predictions are near uniform, where losses differ least in where they start.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int) -> None:
        channels, height, breadth = shape
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(2),  # before ReLU: the same numbers, and a quarter of the work
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((min(4, height // 2), min(4, breadth // 2))) if height > 8 else nn.Identity(),
            nn.Flatten(),
        )
        head = nn.LazyLinear(classes)
        self.append(head)
        self.eval()
        self(torch.zeros(1, *shape))
        self.train()
        with torch.no_grad():
            head.weight.mul_(0.1)
            head.bias.zero_()

    @property
    def grouped(self) -> Grouped | None:
        """`in_groups`, or None where another activation is in ReLU's place: one that may not know replicas apart."""
        return self.in_groups if type(self[3]) is nn.ReLU and type(self[6]) is nn.ReLU else None

    def in_groups(self, params: State, buffers: State, x: Tensor, training: bool) -> Tensor:
        """Logits ``(K, B, classes)`` of K networks with stacked parameters on ``x``, shape ``(S, B, C, H, W)``.

        S divides K: each batch is for K / S networks in a row. The same computation as K calls of the network, with
        the replicas as groups of the convolutions (the first reads a batch once for up to four); BatchNorm over K·C
        channels is exactly each replica's own. Running statistics change in place.
        """
        replicas, batch = len(params["0.weight"]), x.shape[1]
        while replicas // len(x) > _SHARED and replicas % (2 * len(x)) == 0:
            x = x.repeat_interleave(2, 0)
        groups = len(x)
        h = x.transpose(0, 1).flatten(1, 2)
        for layer, module in self._modules.items():
            if isinstance(module, nn.Conv2d):
                h = functional.conv2d(h, params[f"{layer}.weight"].flatten(0, 1), padding=1, groups=groups)
                groups = replicas
            elif isinstance(module, nn.BatchNorm2d):
                mean, variance = (buffers[f"{layer}.running_{name}"].view(-1) for name in ("mean", "var"))
                weight, bias = (params[f"{layer}.{name}"].flatten() for name in ("weight", "bias"))
                h = functional.batch_norm(h, mean, variance, weight, bias, training, 0.1)
            elif isinstance(module, nn.Flatten):
                h = h.reshape(batch, replicas, -1).transpose(0, 1)
            elif isinstance(module, nn.Linear):
                h = torch.baddbmm(params[f"{layer}.bias"][:, None], h, params[f"{layer}.weight"].transpose(1, 2))
            elif module is not None:
                h = module(h)
        return h


def small_cnn(shape: tuple[int, int, int], classes: int, width: int) -> nn.Module:
    """`SmallCNN` by the registry's name."""
    return SmallCNN(shape, classes, width)
