"""A training step that is captured once as a CUDA graph and replayed: for every step, and for all cohorts of its kind.

A step of small networks is hundreds of launches, and each costs the processor more time than the GPU. A captured step
has memory of its own. A cohort's state is copied there, its losses are data that the interpreter reads, and what comes
of its steps is copied back; so one capture serves cohorts of any losses, seeds and rates.

Before it is used, a captured step is compared with the same step taken one launch after the other. Where they differ,
as with layers that draw random numbers, or where a network cannot be captured, steps are taken launch by launch.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from lossforge.training.optimizers import Number

KEPT = 6
"""Captured steps that a process keeps, where memory allows it; each holds what a cohort's step takes."""
_WARM_UPS = 3
_TOLERANCE = 1e-2
"""Largest difference of two steps, as a share of the step."""

StepFunction = Callable[[Tensor, Tensor, Sequence[float]], Tensor]
"""``(x (S, B, C, H, W), targets (K, B), numbers) -> logits``: trains on a batch. The numbers are the optimiser's."""

Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
"""Makes a step without arguments one to be replayed: returns that, and the memory of the step's logits."""


class Stepping(Protocol):
    """What can be captured: a cohort on its way; see `lossforge.training.train`."""

    @property
    def kind(self) -> tuple[Any, ...] | None:
        """The same for cohorts that a captured step may stand for; None where it cannot be captured."""

    def in_step(self) -> list[Tensor]:
        """All that a step reads or changes, losses too, always in the same order; the first is the flat weights."""

    def norms(self, flat: Tensor) -> Tensor:
        """Norm ``(K,)`` of each replica's part of flat weights."""

    def twin(self) -> Stepping:
        """The same with memory of its own."""

    def step_on(self, x: Tensor, targets: Tensor, numbers: Sequence[Number]) -> Tensor:
        """Train on a batch and return the logits. It depends on tensors alone, and changes them in place."""


class CapturedStep:
    """A step with memory of its own."""

    def __init__(self, run: Stepping, x: Tensor, targets: Tensor, numbers: Sequence[float], capture: Capture) -> None:
        self.twin = run.twin()
        self.x, self.targets = x.clone(), targets.clone()
        self.numbers = torch.tensor(numbers, device=x.device)
        self._replay, self._logits = capture(lambda: self.twin.step_on(self.x, self.targets, self.numbers.unbind()))

    @contextmanager
    def standing_for(self, run: Stepping) -> Iterator[StepFunction]:
        """Within it, the function that is given takes the run's steps; behind it the run has what came of them."""
        _copy(run, self.twin)
        try:
            yield self._step
        finally:
            _copy(self.twin, run)

    def _step(self, x: Tensor, targets: Tensor, numbers: Sequence[float]) -> Tensor:
        self.x.copy_(x)
        self.targets.copy_(targets)
        self.numbers.copy_(torch.tensor(numbers), non_blocking=True)
        self._replay()
        return self._logits

    def agrees(self, run: Stepping, x: Tensor, targets: Tensor, numbers: Sequence[float], wanted: Tensor) -> bool:
        """Whether a replay brings a copy of the run to ``wanted``, flat weights that a step of launches gave."""
        replayed = run.twin()
        with self.standing_for(replayed) as step:
            step(x, targets, numbers)
        found, before = replayed.in_step()[0], run.in_step()[0]
        off = run.norms(wanted - found)
        size = run.norms(wanted - before)
        lost = ~run.norms(wanted).isfinite()
        return bool(torch.where(lost, ~run.norms(found).isfinite(), off <= _TOLERANCE * size).all())


def _copy(source: Stepping, destination: Stepping) -> None:
    for theirs, mine in zip(source.in_step(), destination.in_step(), strict=True):
        mine.copy_(theirs)


_captured: OrderedDict[tuple[Any, ...], CapturedStep | None] = OrderedDict()


@contextmanager
def stepping(
    run: Stepping, x: Tensor, targets: Tensor, numbers: Sequence[float], capture: Capture | None = None
) -> Iterator[StepFunction]:
    """Within it, a function that takes the run's steps, on batches such as this one: captured where that can be.

    ``capture`` is how; CUDA graphs on a GPU unless given, and nothing on a CPU.
    """
    if capture is None:
        capture = cuda_graph if x.is_cuda else None
    step = None if capture is None else _known(run, x, targets, numbers, capture)
    if step is None:
        yield run.step_on
        return
    with step.standing_for(run) as function:
        yield function


def forget() -> bool:
    """Give the memory of all captured steps back; whether there were any."""
    held = any(_captured.values())
    _captured.clear()
    return held


def _known(
    run: Stepping, x: Tensor, targets: Tensor, numbers: Sequence[float], capture: Capture
) -> CapturedStep | None:
    """The captured step for this kind of run and batch; captured now if there is none. None where it cannot be."""
    if run.kind is None:
        return None
    key = (*run.kind, x.shape, x.dtype, targets.shape, x.device)
    if key not in _captured:
        while len(_captured) >= KEPT:
            _captured.popitem(last=False)
        # An attempt takes steps, which may draw random numbers; the run must not notice.
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            _captured[key] = _attempt(run, x, targets, numbers, capture)
    _captured.move_to_end(key)
    return _captured[key]


def _attempt(
    run: Stepping, x: Tensor, targets: Tensor, numbers: Sequence[float], capture: Capture
) -> CapturedStep | None:
    try:
        # Before the capture, which keeps its memory, so that it is not needed twice at a time.
        launched = run.twin()
        launched.step_on(x, targets, numbers)
        wanted = launched.in_step()[0].clone()
        del launched
        step = CapturedStep(run, x, targets, numbers, capture)
        if step.agrees(run, x, targets, numbers, wanted):
            return step
        reason = "a replay differs from the step itself"
    except RuntimeError as error:  # want of memory is one
        reason = str(error).strip().splitlines()[0]
    warnings.warn(f"training steps are not captured as a CUDA graph, and so slower: {reason}", stacklevel=2)
    return None


def cuda_graph(step: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Capture a step on the present device. What it allocates stays allocated for the replays."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):  # libraries load, kernels compile, and memory is taken, before anything is recorded
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.empty_cache()  # a graph's memory is its own
    graph = torch.cuda.CUDAGraph()
    # Threads that fetch samples meanwhile may allocate.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        logits = step()
    return graph.replay, logits
