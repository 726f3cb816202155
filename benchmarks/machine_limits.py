"""What a machine could do and what a training needs: for the figures of `throughput.py`."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.evaluation.evaluate import network
from lossforge.spaces.schema import RecipeSection, TaskSection


def peak_rate(device: str, cores: int) -> float:
    """Operations a second of a large float32 matrix product: the best of several, on all cores."""
    side = 2048 if device == "cpu" else 8192
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    a, b = torch.randn(2, side, side, device=device)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        c = a @ b
        float(c[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    return 2 * side**3 / best


def training_operations(task: TaskSection, recipe: RecipeSection) -> float:
    """Operations of the matrix products and convolutions of one training: its steps and its one evaluation."""
    data = load_task(task, "cpu")
    model = network(task, data, 0)
    prepare = Preparation(task.augmentation, data.scale, data.shape)
    with FlopCounterMode(display=False) as step:
        model(prepare(data.train.x[: recipe.batch_size])).sum().backward()
    with FlopCounterMode(display=False) as scored, torch.no_grad():
        model.eval()(prepare(data.validation.x[: recipe.batch_size]))
    steps = recipe.epochs * max(1, len(data.train) // recipe.batch_size)
    return step.get_total_flops() * steps + scored.get_total_flops() * len(data.validation) / recipe.batch_size
