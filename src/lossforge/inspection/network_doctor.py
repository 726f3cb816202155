"""How a network will be run on this machine, why, and at which share of the machine's peak."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lossforge.errors import LossforgeError

if TYPE_CHECKING:
    from torch import nn

    from lossforge.spaces.schema import SearchSpace

_CLASSES = 10
_STEPS = 5
_SIDE = 1024
"""Rows and columns of the matrices whose product is the peak."""


def examine_network(
    name: str, data: str = "", data_dir: str = "", resize: int | None = None, overrides: list[str] | None = None
) -> list[dict[str, str]]:
    """Back end, memory format, precision, time of a step and share of the peak of a network, as `doctor.examine` does.

    On the data set ``data``, or on random samples of the size that the network is made for. ``overrides`` are
    ``"task.KEY=VALUE"`` and ``"recipe.KEY=VALUE"`` texts, as of a search. Some steps are trained.
    """
    from lossforge.data.places import using_data_folder
    from lossforge.spaces.load import apply_overrides, validate_space

    task: dict[str, Any] = {"model": name, "data": data or "digits"} | ({"resize": resize} if resize else {})
    table: dict[str, Any] = {"name": "doctor", "task": task}
    try:
        apply_overrides(table, overrides or [])
        with using_data_folder(data_dir):
            told = _told(validate_space(table, "--set"), on_data=bool(data))
    except LossforgeError as error:
        told = [("network", "bad", str(error))]
    return [{"check": check, "state": state, "told": text} for check, state, text in told]


def _told(space: SearchSpace, *, on_data: bool) -> list[tuple[str, str, str]]:
    import torch

    from lossforge.evaluation.precision import check_precision, has_bfloat16
    from lossforge.evaluation.threads import one_thread
    from lossforge.executors.devices import resolve_device
    from lossforge.models.registry import build_model
    from lossforge.training.backends import gainful_lanes, make_backend

    device = resolve_device(space.execution.device)
    recipe, task = space.recipe, space.task[0]
    check_precision(recipe, device)
    shape, classes, dense = _samples(space, on_data=on_data)
    model = build_model(task.model, shape, classes, task.width, 0, dense=dense, activation=task.activation)
    size = "×".join(map(str, shape))
    weights = sum(weight.numel() for weight in model.parameters())
    told = [
        (
            "network",
            "good",
            f"{task.model} of width {task.width}: {weights:,} weights on {size}, {classes} classes",
        )
    ]
    kind = "cpu" if device == "cpu" else "cuda"
    empty = model.to("meta")
    lanes = recipe.lanes
    if kind == "cpu":
        one_thread()
        lanes = min(
            lanes,
            gainful_lanes(
                make_backend(recipe.backend, empty, lanes, kind, shape, recipe.batch_size).name, empty, shape
            ),
        )
    backend = make_backend(recipe.backend, empty, lanes, kind, shape, recipe.batch_size).name
    told.append(
        ("back end", "good", f"{backend}, {lanes} networks at once: {_reason(backend, empty, lanes, kind, shape)}")
    )
    if backend == "loop" and kind == "cpu":
        told.append(("memory format", "good", _format(empty, shape)))
    half = has_bfloat16(device)
    told.append(
        ("precision", "good", recipe.precision)
        if recipe.precision != "float32" or not half
        else ("precision", "note", "float32; this machine has bfloat16 too: recipe.precision = 'bf16'")
    )
    seconds, operations = _step(space, shape, classes, lanes, device, dense=dense)
    rate, peak = operations / seconds, _peak(device, recipe.precision)
    told.append(
        (
            "training",
            "good",
            f"a step of {recipe.batch_size} samples takes {1000 * seconds:.3g} ms a network: {rate / 1e9:.0f} of "
            f"{peak / 1e9:.0f} billion operations a second, {rate / peak:.0%} of the peak of "
            f"{'a core' if kind == 'cpu' else torch.cuda.get_device_name()}",
        )
    )
    return told


def _samples(space: SearchSpace, *, on_data: bool) -> tuple[tuple[int, int, int], int, bool]:
    """Shape, classes, and whether every pixel has one: the data's, or what the network is made for."""
    from lossforge.models.registry import MODELS

    task = space.task[0]
    if on_data:
        from lossforge.data.datasets import load_task

        data = load_task(task, "cpu")
        return data.shape, data.classes, data.segmentation
    known = MODELS.get(task.model)
    side = 32 if known is None else max(32, known.smallest)
    dense = known is not None and known.dense
    return ((64, 1, 1) if known is not None and known.module == "mlp" else (3, side, side)), _CLASSES, dense


def _reason(backend: str, model: nn.Module, lanes: int, device: str, shape: tuple[int, int, int]) -> str:
    from lossforge.training.backends import HEAVY, weights_times_pixels

    size = weights_times_pixels(model, shape)
    if backend == "vmap":
        return f"every layer once for all of them, for its {size:,} weights times pixels are at most {HEAVY:,}"
    if backend != "loop":
        return "kernels of our own know all of its layers" if device == "cpu" else "it has a grouped form"
    if lanes == 1:
        return "there is only one"
    if device == "cpu" and size > HEAVY:
        return f"one after the other, for its {size:,} weights times pixels are more than {HEAVY:,}"
    return "one after the other, since vmap cannot run it, or the recipe says so"


def _format(model: nn.Module, shape: tuple[int, int, int]) -> str:
    from lossforge.models.fused_norm import NormReLU, in_channels_last
    from lossforge.training.backends import LARGE

    if shape[1] * shape[2] < LARGE:
        return f"torch's usual: samples have fewer than {LARGE} pixels"
    fused = in_channels_last(model)
    if fused is None:
        return "torch's usual: it has no convolutions, or a BatchNorm without ReLU, which rounds worse in channels_last"
    count = sum(isinstance(module, NormReLU) for module in fused.modules())
    return f"channels_last; {count} of its BatchNorms and the ReLUs behind them are one operation each"


def _step(
    space: SearchSpace, shape: tuple[int, int, int], classes: int, lanes: int, device: str, *, dense: bool
) -> tuple[float, float]:
    """Seconds and operations of a step of one network among ``lanes``."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lossforge.data.splits import Part
    from lossforge.losses.compiled import LossSpec
    from lossforge.losses.heads import HEADS
    from lossforge.models.registry import build_model
    from lossforge.training.plan import Plan, Replica
    from lossforge.training.train import train_cohort

    recipe, task = space.recipe, space.task[0]
    count = recipe.batch_size
    labels = (count, *shape[1:]) if dense else (count,)
    part = Part(torch.rand(count, *shape, device=device), torch.randint(classes, labels, device=device))

    def build(seed: int) -> nn.Module:
        return build_model(task.model, shape, classes, task.width, seed, dense=dense, activation=task.activation)

    formula = HEADS["softmax"].cross_entropy_formula

    def seconds(steps: int) -> float:
        own = recipe.model_copy(
            update={"steps": steps, "epochs": 1, "stop_at": 0.0, "heats": 1, "match_gradient": False}
        )
        plan = Plan(part, part.first(2), classes, own, 1, 0.0, build)
        started = _now(device)
        train_cohort(plan, [Replica(LossSpec(formula), seed, 1e-3) for seed in range(lanes)])
        return _now(device) - started

    seconds(1)
    # Two lengths: what is beside the steps is no part of them.
    taken = max(1e-9, seconds(_STEPS + 1) - seconds(1)) / _STEPS / lanes
    with FlopCounterMode(display=False) as counted:
        build(0).to(device)(part.x).sum().backward()
    return taken, float(counted.get_total_flops())


def _peak(device: str, precision: str) -> float:
    """Operations a second of a matrix product, the best of some, on one core or the GPU."""
    import torch

    side = _SIDE if device == "cpu" else 8 * _SIDE
    a, b = torch.randn(2, side, side, device=device).to(getattr(torch, precision))
    best = float("inf")
    for _ in range(6):
        started = _now(device)
        a @ b
        best = min(best, _now(device) - started)
    return 2.0 * side**3 / best


def _now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()
