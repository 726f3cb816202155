"""Where workers train, and how many there are, unless a space says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.errors import ExecutionError

if TYPE_CHECKING:
    from lossforge.spaces.schema import ExecutionSection


def resolve_device(device: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu". Raises ExecutionError for a missing GPU."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ExecutionError("execution.device: 'cuda' was asked for, but torch sees no GPU; use cpu or auto")
    return device


def worker_count(section: ExecutionSection) -> int:
    """Workers of a section: as given, or one a core this process may use."""
    import os

    if section.workers:
        return section.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
