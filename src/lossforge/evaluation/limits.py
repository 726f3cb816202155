"""What a training may take, and how it computes: memory, determinism."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from lossforge.models.user_code import ending, message_of


@contextmanager
def memory_limit(gigabytes: float, device: str) -> Iterator[None]:
    """Within it this process may take so many GiB (2**30 bytes) more than it has; 0: no limit.

    On a CPU address space is limited (on systems that can): what asks for more gets a MemoryError or torch's
    RuntimeError, and not the whole machine. On a GPU it is the process's share of its memory.
    """
    if not gigabytes:
        yield
        return
    if device != "cpu":
        import torch

        place = torch.device(device).index
        place = torch.cuda.current_device() if place is None else place
        total = torch.cuda.get_device_properties(place).total_memory
        # A worker may have a share of its own.
        before = float(torch.cuda.get_per_process_memory_fraction(place))
        torch.cuda.set_per_process_memory_fraction(min(before, gigabytes * 2**30 / total), place)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(before, place)
        return
    try:
        import resource
    except ImportError:  # not on Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _base() + int(gigabytes * 2**30)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@lru_cache(maxsize=1)
def _base() -> int:
    """Address space before the first limited training: freed memory is kept, and must not raise later limits."""
    return _address_space()


def _address_space() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        pages = int(file.read().split()[0])
    import resource

    return pages * resource.getpagesize()


@contextmanager
def deterministic(wanted: bool, device: str) -> Iterator[None]:
    """Within it a GPU uses kernels that give the same bits every time, where it has them. A CPU always does."""
    if device == "cpu" or not wanted:
        yield
        return
    import os

    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough."""
    text = message_of(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def first_line(error: BaseException) -> str:
    """An error in one line; for want of memory, in plain words."""
    line = message_of(error) or type(error).__name__
    return f"out of memory ({line})" if ran_out_of_memory(error) else line


def reason_of(error: BaseException, path: str) -> str:
    """Why code of the user's own, ``module:function``, failed, in one line with its file and line."""
    return f"{'out of memory: ' if ran_out_of_memory(error) else ''}{ending(error, path)}"
