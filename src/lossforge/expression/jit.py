"""How the CPU kernels are compiled: by numba, once a machine; the result is kept beside the sources."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

_IMPORT = re.compile(rb"^ *from lossforge\.([\w.]+) import", re.MULTILINE)


def _sources() -> list[Path]:
    """Every ``*_kernel.py`` and what they import of lossforge: compiled code holds its numbers, such as opcodes."""
    package = Path(__file__).parents[1]
    left = [Path(__file__), *package.rglob("*_kernel.py")]
    found: set[Path] = set()
    while left:
        path = left.pop()
        if path not in found and path.is_file():
            found.add(path)
            names = (name.decode().replace(".", "/") for name in _IMPORT.findall(path.read_bytes()))
            left += [package / f"{name}.py" for name in names]
    return sorted(found)


def _digest() -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in _sources())).hexdigest()


_STAMP = (_digest(), 0)
"""What compiled code is valid for: all that kernels are made from. numba would look at a function's own file alone."""


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
