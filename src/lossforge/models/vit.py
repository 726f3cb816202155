"""A vision transformer (Dosovitskiy et al., ICLR 2021) of the small size (DeiT-S; Touvron et al., ICML 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.models.imported import Shape

_DEPTH, _HEADS = 12, 6


class _Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens, size)``, both ways. Written out: torch's fused kernels have no rule for vmap."""
        query, key, value = self.qkv(x).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        attended: Tensor = self.out((weights @ value).transpose(1, 2).flatten(2))
        return attended


class _Block(nn.Module):
    """Attention and a perceptron, each after a LayerNorm and beside the identity."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size, eps=1e-6)
        self.attention = _Attention(size)
        self.norm2 = nn.LayerNorm(size, eps=1e-6)
        self.perceptron = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens, size)``, both ways."""
        x = x + self.attention(self.norm1(x))
        h: Tensor = x + self.perceptron(self.norm2(x))
        return h


class VisionTransformer(nn.Module):
    """Patches of ``patch`` pixels a side, a class token, learned positions, ``_DEPTH`` blocks, a linear head.

    Images that patches do not fill are padded with zeros on the right and below.
    """

    def __init__(self, shape: Shape, classes: int, size: int, patch: int) -> None:
        super().__init__()
        channels, height, width = shape
        rows, columns = -(-height // patch), -(-width // patch)
        self.padding = (0, columns * patch - width, 0, rows * patch - height)
        self.patches = nn.Conv2d(channels, size, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, size))
        self.positions = nn.Parameter(torch.zeros(1, 1 + rows * columns, size))
        self.blocks = nn.Sequential(*(_Block(size) for _ in range(_DEPTH)))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.head = nn.Linear(size, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, classes)``."""
        h = self.patches(functional.pad(x, self.padding)).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(h))[:, 0])
        return logits


def patch_size(height: int, width: int) -> int:
    """Pixels of a patch's side: 2 up to 16 pixels, 4 up to 64 (CIFAR: 8×8 patches), 8 up to 128, then 16."""
    largest = max(height, width)
    return next((patch for limit, patch in ((16, 2), (64, 4), (128, 8)) if largest <= limit), 16)


def vit_small(shape: Shape, classes: int, width: int) -> nn.Module:
    """12 blocks of 6 heads on tokens of ``24 * width`` numbers: 384 at width 16, as published."""
    return VisionTransformer(shape, classes, 24 * width, patch_size(*shape[1:]))
