"""How a process computes: on one thread, in memory that it keeps."""

from __future__ import annotations

from contextlib import suppress


def one_thread() -> None:
    """Let torch use one thread: results must not depend on how many cores are free. Memory that is freed is kept."""
    import torch

    torch.set_num_threads(1)
    keep_memory()


def keep_memory() -> None:
    """Let the allocator keep what is freed: a training takes the same again at every step (glibc only).

    Otherwise large tensors go back to the system, and each step pays for fresh pages: an eighth of its time.
    """
    import ctypes

    mmap_threshold, trim_threshold = -3, -1
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, 2**30)
        library.mallopt(trim_threshold, 2**31 - 1)
