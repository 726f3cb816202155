"""How the CPU kernels are compiled: by numba, once a machine; the result is kept beside the sources."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit

_KERNELS = (
    "expression/jit.py",
    "expression/vector_math.py",
    "expression/program_kernel.py",
    "expression/cpu_kernel.py",
    "screening/descent_kernel.py",
)


def _drop_stale() -> None:
    """Forget kernels compiled before a source of theirs changed: numba looks at the file of the function alone."""
    package = Path(__file__).parents[1]
    with suppress(OSError):
        newest = max((package / name).stat().st_mtime for name in _KERNELS)
        for folder in {(package / name).parent / "__pycache__" for name in _KERNELS}:
            for index in folder.glob("*_kernel.*.nbi"):
                if index.stat().st_mtime < newest:
                    index.unlink()


def compiler(*fastmath: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function; ``fastmath`` names what LLVM may assume besides fused products."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", *fastmath}}

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled: Callable[..., Any] = njit(cache=True, **options)(function)
        except RuntimeError:  # nowhere to keep the compiled code: it is compiled anew in every process
            compiled = njit(**options)(function)
        return compiled

    return compile_function


_drop_stale()
