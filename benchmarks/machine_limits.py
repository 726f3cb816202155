"""What a machine could do and what a training needs: for the figures of `throughput.py`."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.evaluation.evaluate import network
from lossforge.spaces.schema import RecipeSection, TaskSection


def peak_rate(device: str, cores: int, dtype: torch.dtype = torch.float32, side: int = 0) -> float:
    """Operations a second of a large matrix product: the best of several, on all cores."""
    side = side or (2048 if device == "cpu" else 8192)
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        c = a @ b
        float(c[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    return 2 * side**3 / best


def step_operations(task: TaskSection, recipe: RecipeSection) -> float:
    """Operations of the matrix products and convolutions of one step of one network."""
    data = load_task(task, "cpu")
    prepare = Preparation(task.augmentation, data.scale, data.shape)
    with FlopCounterMode(display=False) as step:
        network(task, data, 0)(prepare(data.train.x[: recipe.batch_size])).sum().backward()
    return float(step.get_total_flops())


def training_operations(task: TaskSection, recipe: RecipeSection) -> float:
    """Operations of the matrix products and convolutions of one training: its steps and its one evaluation."""
    data = load_task(task, "cpu")
    model = network(task, data, 0)
    prepare = Preparation(task.augmentation, data.scale, data.shape)
    with FlopCounterMode(display=False) as scored, torch.no_grad():
        model.eval()(prepare(data.validation.x[: recipe.batch_size]))
    steps = recipe.epochs * max(1, len(data.train) // recipe.batch_size)
    return step_operations(task, recipe) * steps + scored.get_total_flops() * len(data.validation) / recipe.batch_size
