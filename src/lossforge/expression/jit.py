"""How the CPU kernels are compiled: by numba, once a machine; the result is kept beside the sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_KERNELS = (
    "expression/jit.py",
    "expression/vector_math.py",
    "expression/program_kernel.py",
    "expression/cpu_kernel.py",
    "screening/descent_kernel.py",
    "models/plane_kernel.py",
    "models/small_cnn_kernel.py",
)


def _digest() -> str:
    package = Path(__file__).parents[1]
    return hashlib.sha256(b"".join((package / name).read_bytes() for name in _KERNELS)).hexdigest()


_STAMP = (_digest(), 0)
"""What compiled code is valid for: all the kernels' sources. numba would look at the file of a function alone."""


def compiler(*fastmath: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function; ``fastmath`` names what LLVM may assume besides fused products."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", *fastmath}}

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled: Callable[..., Any] = njit(cache=True, **options)(function)
            compiled._cache._cache_file._source_stamp = _STAMP  # type: ignore[attr-defined]
        except RuntimeError:  # nowhere to keep the compiled code: it is compiled anew in every process
            compiled = njit(**options)(function)
        return compiled

    return compile_function
