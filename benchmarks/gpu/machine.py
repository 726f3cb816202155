"""Part 1: what the machine is, what is installed on it, and the roof that everything else is measured by."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from gpu.parts import Case, Settings, Tell

PACKAGES = {
    "torch": "torch",
    "triton": "triton",
    "numpy": "numpy",
    "numba": "numba",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "sympy": "sympy",
    "deap": "deap.tools",
    "pydantic": "pydantic",
    "pebble": "pebble",
    "tomli-w": "tomli_w",
    "typer": "typer",
    "rich": "rich",
    "filelock": "filelock",
    "platformdirs": "platformdirs",
    "pillow": "PIL",
    "torchvision": "torchvision",
    "pytest": "pytest",
    "pytest-timeout": "pytest_timeout",
    "hypothesis": "hypothesis",
}
"""What a search and the tests import, by distribution; Ray is not needed."""
_ASKED = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,memory.total,memory.used,power.limit,temperature.gpu"
_TYPES = ("bfloat16", "float32", "tf32")


def cases(settings: Settings) -> list[Case]:
    return [
        Case("device", partial(_device, settings), 40),
        Case("packages", _packages, 40),
        Case("nvidia-smi", partial(_smi, settings), 15),
        *(Case(f"matrix product, {name}", partial(_roof, settings, name), 20) for name in _TYPES),
        Case("copy", partial(_copy, settings), 15),
        Case("launch", partial(_launch, settings), 15),
    ]


def _device(settings: Settings, tell: Tell) -> None:
    import torch

    tell("python", platform.python_version())
    tell("torch", torch.__version__)
    tell("cuda", torch.version.cuda)
    tell("gpu", torch.cuda.is_available())
    tell("processor", _processor())
    tell("cores", len(os.sched_getaffinity(0)))
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU; with --dry-run every part runs on a CPU, in small")
    if settings.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        tell("name", properties.name)
        tell("gib", properties.total_memory / 2**30)
        tell("multiprocessors", properties.multi_processor_count)
        tell("capability", f"{properties.major}.{properties.minor}")
        tell("cudnn", torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    else:
        tell("name", _processor())


def _processor() -> str:
    from lossforge.store.run_folder import hardware

    return str(hardware()["processor"])


def _packages(tell: Tell) -> None:
    missing = []
    for package, module in PACKAGES.items():
        try:
            import_module(module)
            tell(package, version(package))
        except (ImportError, PackageNotFoundError) as error:
            missing.append(f"{package} ({error})")
    if missing:
        raise RuntimeError(f"cannot be imported: {'; '.join(missing)}; `make gpu-wheels` fetches what is small")


def _smi(settings: Settings, tell: Tell) -> None:
    if settings.device != "cuda":
        tell("left out", "there is no GPU")
        return
    command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
    for name, value in zip(_ASKED.split(","), answer.split(","), strict=True):
        tell(name, value.strip())


def _roof(settings: Settings, name: str, tell: Tell) -> None:
    """Operations a second of a large matrix product; tf32 is float32 with shorter factors, as an option of torch's."""
    import torch

    from machine_limits import peak_rate

    dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    rate = peak_rate(settings.device, 1 if settings.dry else os.cpu_count() or 1, dtype, 256 if settings.dry else 0)
    torch.set_float32_matmul_precision("highest")
    tell("tflops", rate / 1e12)


def _copy(settings: Settings, tell: Tell) -> None:
    """Bytes a second of a copy within the device's memory, read and written."""
    import torch

    source = torch.empty(2**20 if settings.dry else 2**31, dtype=torch.uint8, device=settings.device).random_()
    target = torch.empty_like(source)
    tell("gb_per_second", 2 * source.numel() / _best(settings, lambda: target.copy_(source)) / 1e9)


def _launch(settings: Settings, tell: Tell) -> None:
    """What one launch costs: many small ones, one after the other, and in a captured graph."""
    import torch

    x, many = torch.zeros(64, device=settings.device), 1000

    def launches() -> None:
        for _ in range(many):
            x.add_(1.0)

    tell("microseconds", 1e6 * _best(settings, launches) / many)
    if settings.device == "cuda":
        from lossforge.training.captured import cuda_graph

        def captured() -> torch.Tensor:
            launches()
            return x

        replay, _ = cuda_graph(captured)
        tell("microseconds_in_a_graph", 1e6 * _best(settings, replay) / many)


def _best(settings: Settings, run: Callable[[], object]) -> float:
    import torch

    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        run()
        if settings.device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best
