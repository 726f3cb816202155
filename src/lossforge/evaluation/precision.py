"""Which precisions a machine computes in at a gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.errors import ModelError

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection


def has_bfloat16(device: str) -> bool:
    """Whether the device ("cpu", "cuda" ...) multiplies matrices of bfloat16: a CPU by AVX-512 BF16 or AMX."""
    import torch

    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def check_precision(recipe: RecipeSection, device: str) -> None:
    """Raise ModelError where the recipe's precision would only cost time on the device."""
    if recipe.precision == "bfloat16" and not has_bfloat16(device):
        who = "this CPU has neither AVX-512 BF16 nor AMX" if device == "cpu" else "this GPU has no bfloat16"
        raise ModelError(
            f"recipe.precision: {who}, so that '{recipe.precision}' would be slower than float32; use float32"
        )
