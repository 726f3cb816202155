"""Where the time of a step goes, by torch's profiler."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from gpu.advice import fastest
from gpu.parts import Case, Settings, Tell
from gpu.steps import StepClock, Variant, measured

ROWS = 25
_STEPS = 10
_KINDS = {
    "convolutions": ("conv", "cudnn", "implicit", "fprop", "dgrad", "wgrad", "xmma", "cutlass", "gemm", "winograd"),
    "batch norm": ("batch_norm", "bn_fw", "bn_bw", "batchnorm"),
    "loss": ("run_", "triton", "softmax", "nll"),
    "samples": ("index", "gather", "pad"),
    "copies and casts": ("copy", "memcpy", "memset", "nchwtonhwc", "nhwctonchw", "cat"),
    "reductions": ("reduce",),
    "pointwise": ("elementwise", "vectorized", "foreach", "multi_tensor"),
}
"""Kinds of kernels, by parts of their names; the first that fits counts."""


def profile_cases(settings: Settings) -> list[Case]:
    return [
        Case("profile, captured", partial(_profiled, settings, True), 40),
        *([] if settings.dry else [Case("profile, launched", partial(_profiled, settings, False), 40)]),
    ]


def _profiled(settings: Settings, graphs: bool, tell: Tell) -> None:
    """Device time of the dearest kernels, a step; how much of the time the device was busy."""
    best = fastest(settings.found_by("throughput_on_device"), "resnet8")
    variant, lanes = (Variant(**best.variant), best.lanes) if best else (Variant(precision="bfloat16"), 32)
    variant, lanes = replace(variant, graphs=graphs), 2 if settings.dry else min(64, lanes)
    on_gpu = settings.device == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU])
    steps = 2 if settings.dry else _STEPS
    clock = StepClock(settings.device, 1e9, steps, begin=profiler.start, end=profiler.stop)
    found = measured(settings, variant, lanes, clock)
    rows = [
        (event.key, event.count / clock.timed, _own_time(event, on_gpu) / clock.timed)
        for event in profiler.key_averages()
        # Calls of CUDA's own functions are events too, to which their kernels' time is added.
        if not on_gpu or event.device_type == DeviceType.CUDA
    ]
    rows = sorted((row for row in rows if row[2] > 0), key=lambda row: -row[2])
    total = sum(microseconds for _, _, microseconds in rows)
    tell("variant", variant.values)
    tell("lanes", lanes)
    tell("milliseconds_a_step", found["milliseconds_a_step"])
    tell("captured", found["captured"])
    tell("device_busy", total / (1e3 * found["milliseconds_a_step"]))
    tell("kernels_a_step", sum(count for _, count, _ in rows))
    kinds: dict[str, float] = {}
    for name, _, microseconds in rows:
        kind = kind_of(name)
        kinds[kind] = kinds.get(kind, 0.0) + microseconds / max(total, 1e-9)
    tell("kinds", dict(sorted(kinds.items(), key=lambda one: -one[1])))
    table = [
        {"kernel": name[:120], "a_step": count, "microseconds": microseconds, "share": microseconds / max(total, 1e-9)}
        for name, count, microseconds in rows[:ROWS]
    ]
    tell("table", table)


def kind_of(kernel: str) -> str:
    """What a kernel is for, by its name."""
    name = kernel.lower()
    return next((kind for kind, parts in _KINDS.items() if any(part in name for part in parts)), "others")


def _own_time(event: Any, on_gpu: bool) -> float:
    """Microseconds in an event itself; torch has renamed it once."""
    if not on_gpu:
        return float(event.self_cpu_time_total)
    name = "self_device_time_total" if hasattr(event, "self_device_time_total") else "self_cuda_time_total"
    return float(getattr(event, name))
