"""Part 3: `loss_cost.py` on the device. What does a loss cost against `torch.nn.functional.cross_entropy`?"""

from __future__ import annotations

from functools import cache, partial
from statistics import median
from typing import TYPE_CHECKING

import torch

from gpu.parts import Case, Settings, Tell
from loss_cost import TREES, calls, draw_trees, measured

if TYPE_CHECKING:
    from lossforge.expression.tree import Expression

SHAPES = ((512, 10), (512, 100), (8192, 1000))
NUMBERS = (1, 2, 4, 8, 16, 32, 64)


def cases(settings: Settings) -> list[Case]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shapes = [(rows // 32, classes) for rows, classes in SHAPES] if settings.dry else SHAPES
    return [
        Case("K losses in one call", partial(_calls, settings), 60),
        *(Case(f"{rows}×{classes}", partial(_costs, settings, (rows, classes)), 60) for rows, classes in shapes),
    ]


@cache
def _trees(number: int) -> list[Expression]:
    return draw_trees(number=number)


def _calls(settings: Settings, tell: Tell) -> None:
    """Kernels of one call for K losses, and its cost beside that of one loss."""
    numbers, rounds = (NUMBERS[:3], 1) if settings.dry else (NUMBERS, 30)
    for number, kernels, ratio in calls(_trees(4 if settings.dry else TREES), numbers, rounds, settings.device):
        tell(f"{number} losses", {"kernels": kernels, "cost": ratio})


def _costs(settings: Settings, shape: tuple[int, int], tell: Tell) -> None:
    """Multiples of cross-entropy's time, medians over trees; the dearest beside them."""
    trees = _trees(4 if settings.dry else TREES)
    rounds, repeats = (1, 2) if settings.dry else (7, 10)
    cost = measured(shape, trees, rounds, settings.device, repeats)
    tell("cross_entropy_microseconds", cost.unit)
    tell("cross-entropy as a formula", cost.formula)
    tell("eager", median(cost.eager))
    tell("stand-alone", median(cost.module))
    tell("stand-alone, dearest", max(cost.module))
    tell("interpreter, one a call", median(cost.alone))
    tell("interpreter, all in one call", cost.together)
