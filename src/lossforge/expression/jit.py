"""How the CPU kernels are compiled: by numba, once a machine; the result is kept beside the sources.

What is kept is trusted only where it is whole: numba hands a damaged file to the linker, which ends the process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

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


class _WholeFiles(IndexDataCacheFile):
    """numba's index and data files, each with the sha256 of its content at its end.

    One that is damaged, or cannot be read, is as none: the function is compiled again, and the file replaced.
    """

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        content = BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def _load_index(self) -> dict[Any, Any]:
        return dict(super()._load_index()) if _is_whole(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_whole(Path(self._data_path(name))):
            raise OSError("damaged")  # which numba takes for missing
        return super()._load_data(name)


class _Cache(FunctionCache):
    """numba's cache, in files that are checked. Where nothing can be written, nothing is kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _WholeFiles(self._cache_path, self._impl.filename_base, _STAMP)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk, or a folder that has gone
            super().save_overload(sig, data)


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    size = hashlib.sha256().digest_size
    return len(content) > size and hashlib.sha256(content[:-size]).digest() == content[-size:]


def compiler(*fastmath: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function; ``fastmath`` names what LLVM may assume besides fused products."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", *fastmath}}

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = njit(**options)(function)
        with suppress(RuntimeError):  # nowhere to keep the compiled code: it is compiled anew in every process
            compiled._cache = _Cache(function)  # type: ignore[attr-defined]
        return compiled

    return compile_function


def is_kept(compiled: Callable[..., Any]) -> bool:
    """Whether the machine code of a function from `compiler` is kept for this machine, of these very sources."""
    cache = getattr(compiled, "_cache", None)
    if not isinstance(cache, _Cache):
        return False
    machine = compiled.targetctx.codegen().magic_tuple()  # type: ignore[attr-defined]
    return any(processor == machine for _, processor, _ in cache._cache_file._load_index())


def folder_of(compiled: Callable[..., Any]) -> Path | None:
    """Where the machine code of a function is kept; None where nothing can be written, or numba compiles nothing."""
    cache = getattr(compiled, "_cache", None)
    return Path(cache.cache_path) if isinstance(cache, _Cache) else None
