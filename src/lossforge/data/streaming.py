"""Batches of a part that is too large for the device: gathered ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from torch import Tensor

_WORKERS = 2
_AHEAD = 4
"""Batches that are under way while one is trained on."""


def prefetched(gather: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """``gather`` of each batch, in order; worker threads are up to four batches ahead.

    Threads, not processes: a worker process of a search may not have children, and a gather leaves
    Python's lock alone while it copies.
    """
    left = iter(batches)
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[Tensor]] = deque(pool.submit(gather, batch) for batch in islice(left, _AHEAD))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(gather, batch) for batch in islice(left, 1))
        finally:
            pool.shutdown(cancel_futures=True)
