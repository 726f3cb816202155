"""The population interpreter: K different losses as data, in one call: values and gradients on the logits.

On a CPU the loops are numba's (`cpu_kernel`); on CUDA it is one Triton kernel (`triton_kernel`). Nothing is
compiled for a loss: its program is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from lossforge.expression.adjoint import joint_program
from lossforge.expression.bytecode import Assembled, Bytecode, assemble_one, join
from lossforge.expression.heads import check_head
from lossforge.expression.protection import GUARDS, Guards
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

_SCRATCH = 3
"""Registers that the kernel adds: logits, values and gradients of a block."""


@lru_cache(maxsize=4096)
def assembled(expression: Expression, guards: Guards = GUARDS, head: str = "softmax") -> Assembled:
    """Kept, since the screens ask about a loss one after another."""
    if head == "softmax" and not expression.of_sample:  # asked for as the screens ask: made once
        return assemble_one(joint_program(expression, guards=guards))
    return assemble_one(joint_program(expression, guards=guards, head=head, spread=True))


class Interpreter:
    """K losses as data.

    Args:
        losses: as expressions, or assembled.
        label_smoothing: for each loss, in [0, 1); none unless given.
        guards: sizes of the guards, which no loss that is trained has others of.
        head: what makes probabilities of the logits; see `lossforge.expression.heads`.
    """

    def __init__(
        self,
        losses: Sequence[Expression] | Bytecode,
        label_smoothing: Sequence[float] | None = None,
        guards: Guards = GUARDS,
        head: str = "softmax",
    ) -> None:
        import numpy

        self.head = check_head(head)
        if not isinstance(losses, Bytecode):
            losses = join([assembled(expression, guards, self._way) for expression in losses])
        self.bytecode: Bytecode = losses
        given = [0.0] * len(losses) if label_smoothing is None else list(label_smoothing)
        if len(given) != len(losses):
            raise ValueError(f"label_smoothing must have a number for each of {len(losses)} losses, not {len(given)}")
        self.smoothing = numpy.array(given, dtype=numpy.float64)
        self._untold: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.bytecode)

    @property
    def _way(self) -> str:
        """The head that programs are made for: one neuron is two, of which the first always says 0."""
        return "softmax" if self.head == "binary" else self.head

    @cached_property
    def needs(self) -> frozenset[str]:
        """What the losses read besides logits and target: "progress", "class_share"."""
        return frozenset().union(*self.bytecode.needs)

    def take(self, places: Sequence[int]) -> Interpreter:
        """The losses at these places, in this order; nothing is assembled anew."""
        return Interpreter(self.bytecode.take(places), self.smoothing[list(places)].tolist(), head=self.head)

    def padded(self) -> Interpreter:
        """The same losses in tables that have as much `room` as those of many others."""
        return Interpreter(self.bytecode.padded(), self.smoothing.tolist(), head=self.head)

    @property
    def room(self) -> tuple[int, int, int]:
        """Losses, steps and registers: tables with the same of all three can stand in each other's place."""
        return len(self), len(self.bytecode.numbers), self.bytecode.slots

    @cached_property
    def tables(self) -> dict[str, tuple[Any, ...]]:
        """What the CPU kernels read, by the name of the floating type."""
        import numpy

        code = self.bytecode
        return {
            name: (
                code.code,
                code.numbers.astype(name),
                code.starts,
                code.outputs,
                code.constants.astype(name),
                code.slots + _SCRATCH,
            )
            for name in (numpy.dtype("float32").name, numpy.dtype("float64").name)
        }

    @cached_property
    def _on_device(self) -> dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]]:
        return {}

    def device_tables(self, like: Tensor) -> tuple[Tensor, ...]:
        """What the Triton kernel reads, on a tensor's device; copied there once, so that a call is one launch."""
        import torch

        number_type = torch.float64 if like.dtype == torch.float64 else torch.float32
        known = self._on_device.get((like.device, number_type))
        if known is None:
            code = self.bytecode
            arrays = (code.code, code.numbers, code.starts, code.outputs, code.constants, self.smoothing)
            known = self._on_device[like.device, number_type] = tuple(
                torch.as_tensor(array).to(like.device, number_type if array.dtype.kind == "f" else torch.int32)
                for array in arrays
            )
        return known

    def shared_tables(self, like: Tensor) -> tuple[Tensor, ...]:
        """What the kernel for such a tensor reads, to be read and overwritten by tables of the same `room`."""
        import torch

        if like.is_cuda:
            return self.device_tables(like)
        kind = str(like.dtype).removeprefix("torch.")
        *arrays, _ = self.tables[kind]
        return tuple(map(torch.from_numpy, (*arrays, self._smoothing[kind])))

    def value_and_gradient(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        terms: bool = False,
        progress: float | Tensor | None = None,
        class_share: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Losses ``(K, N)``, summed over classes, and their gradients ``(K, N, C)`` on the logits.

        ``logits`` are ``(K, N, C)``, or ``(N, C)`` for all losses alike, in float32 or float64 (on CUDA also in a
        half type, for results in float32); ``target`` holds class indices ``(K, N)`` or ``(N,)``, or probabilities
        in a shape like the logits'. With ``terms`` the losses come as ``(K, N, C)``, not summed; one that is a number
        a sample is divided among the classes. ``progress``, a number or ``(K,)``, and ``class_share``, ``(C,)`` or
        ``(K, C)``, are what losses with such leaves need. The head binary has one logit, ``(K, N, 1)``, and in a float
        target of that shape the probability of class 1; its terms are two. Raises ValueError for shapes that do not
        fit, and where something is missing.
        """
        import torch

        k = len(self)
        logits, target = checked(k, logits, target, self.head)
        if self.head == "binary":
            logits, target = two_columns(logits, target)
        told = () if self._nothing_told(progress, class_share) else self.context(logits, progress, class_share)
        if logits.is_cuda:
            from lossforge.expression.triton_kernel import launch

            at, shares = told or self.untold(logits)
            loss, gradient = launch(
                self.device_tables(logits), self.bytecode.slots, logits, target, terms, at, shares, self.of_one
            )
            return loss, gradient[..., 1:] if self.head == "binary" else gradient
        target = target.to(logits.dtype) if target.is_floating_point() else target
        loss = torch.empty(k, logits.shape[1], dtype=logits.dtype)
        gradient = torch.empty(k, *logits.shape[1:], dtype=logits.dtype)
        elementwise = torch.empty(k if terms else 0, *logits.shape[1:], dtype=logits.dtype)
        arrays = (part.numpy() for part in (logits, target, loss, gradient, elementwise, *told))
        self.run_arrays(*arrays)
        return (elementwise if terms else loss), gradient[..., 1:] if self.head == "binary" else gradient

    @property
    def of_one(self) -> bool:
        """Whether each class has a probability of its own."""
        return self.head == "sigmoid"

    def context(
        self, logits: Tensor, progress: float | Tensor | None, class_share: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``progress`` ``(K or 1,)`` and ``class_share`` ``(K or 1, C)`` as the kernels read them, beside the logits.

        Raises ValueError where a shape does not fit.
        """
        import torch

        options: dict[str, Any] = {
            "dtype": torch.float64 if logits.dtype == torch.float64 else torch.float32,
            "device": logits.device,
        }
        classes = logits.shape[-1]
        at = torch.as_tensor(0.0 if progress is None else progress, **options).reshape(-1)
        shares = torch.full((1, classes), 1 / classes, **options) if class_share is None else class_share.to(**options)
        shares = shares if shares.dim() == 2 else shares[None]
        if len(at) not in (1, len(self)) or shares.shape[1:] != (classes,) or len(shares) not in (1, len(self)):
            raise ValueError(
                f"progress must be one number or {len(self)}, and class_share ({classes},) or "
                f"({len(self)}, {classes}), not {tuple(at.shape)} and {tuple(shares.shape)}"
            )
        return at.contiguous(), shares.contiguous()

    def _nothing_told(self, progress: float | Tensor | None, class_share: Tensor | None) -> bool:
        """Whether neither is given. Raises ValueError where a loss needs one that is not."""
        for name, given in (("progress", progress), ("class_share", class_share)) if self.needs else ():
            if given is None and name in self.needs:
                raise ValueError(f"a loss depends on {name}: give {name}=")
        return progress is None and class_share is None

    def untold(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What the Triton kernel is given where nothing is read; made once, so that a call is one launch."""
        key = logits.shape[-1], logits.device, logits.dtype
        if key not in self._untold:
            self._untold[key] = self.context(logits, None, None)
        return self._untold[key]

    def run_arrays(
        self,
        logits: NDArray[Any],
        target: NDArray[Any],
        loss: NDArray[Any],
        gradient: NDArray[Any],
        terms: NDArray[Any],
        progress: NDArray[Any] | float = 0.5,
        class_share: NDArray[Any] | None = None,
    ) -> None:
        """The same on numpy arrays of three dimensions (labels: two), all of one floating type; two columns if binary.

        ``class_share`` are equal ones unless given.
        """
        import numpy

        from lossforge.expression.cpu_kernel import run

        indices = target.dtype.kind != "f"
        kind = logits.dtype.name
        nothing_labels, nothing_targets = _nothing(kind)
        run(
            *self.tables[kind],
            numpy.ascontiguousarray(logits),
            numpy.ascontiguousarray(target, dtype=numpy.int64) if indices else nothing_labels,
            nothing_targets if indices else numpy.ascontiguousarray(target, dtype=kind),
            self._smoothing[kind],
            self._told(logits.shape[2], progress, class_share, kind),
            loss,
            gradient,
            terms,
        )

    @cached_property
    def _smoothing(self) -> dict[str, NDArray[Any]]:
        return {kind: self.smoothing.astype(kind) for kind in ("float32", "float64")}

    def _told(
        self, classes: int, progress: NDArray[Any] | float, class_share: NDArray[Any] | None, kind: str
    ) -> NDArray[Any]:
        """What the kernel reads beside logits and targets; see `lossforge.expression.cpu_kernel.run`."""
        import numpy

        if class_share is None and isinstance(progress, float):
            return _usual(self.of_one, progress, classes, kind)
        shares = numpy.atleast_2d(numpy.full(classes, 1 / classes) if class_share is None else class_share)
        moments = numpy.atleast_1d(progress)
        told = numpy.empty((max(len(moments), len(shares)), 2 + classes), kind)
        told[:, 0], told[:, 1], told[:, 2:] = self.of_one, moments, shares
        return told


@lru_cache(maxsize=64)
def _usual(of_one: bool, progress: float, classes: int, kind: str) -> NDArray[Any]:
    import numpy

    return numpy.array([[float(of_one), progress, *[1 / classes] * classes]], dtype=kind)


@lru_cache(maxsize=2)
def _nothing(kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels, and targets, that are not there."""
    import numpy

    return numpy.empty((1, 0), numpy.int64), numpy.empty((1, 0, 0), kind)


def checked(losses: int, logits: Tensor, target: Tensor, head: str) -> tuple[Tensor, Tensor]:
    """Logits ``(K or 1, N, C)`` and targets ``(K or 1, N)`` or ``(K or 1, N, C)``. Raises ValueError."""
    import torch

    if target.dtype == torch.bool or target.is_complex():
        raise ValueError(
            f"targets must be class indices or probabilities, not {str(target.dtype).removeprefix('torch.')}"
        )
    scores = logits.detach() if logits.dim() == 3 else logits.detach()[None]
    if scores.dim() != 3 or scores.shape[0] not in (1, losses):
        raise ValueError(f"logits must be (N, C) or ({losses}, N, C), not {tuple(logits.shape)}")
    if not scores.is_cuda and scores.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits must be float32 or float64 on a CPU, not {str(scores.dtype).removeprefix('torch.')}")
    if scores.shape[2] < 1:
        raise ValueError(f"logits must have a class at least, not shape {tuple(logits.shape)}")
    target = target.detach() if target.is_floating_point() else target.detach().long()
    target = target if target.dim() == (3 if target.is_floating_point() else 2) else target[None]
    expected = scores.shape[1:] if target.is_floating_point() else scores.shape[1:2]
    if target.shape[1:] != expected or target.shape[0] not in (1, losses):
        raise ValueError(f"targets for logits {tuple(logits.shape)} cannot be {tuple(target.shape[1:])}")
    if not scores.is_cuda and not target.is_floating_point() and target.numel():
        # The kernel writes at these places without a look.
        classes = 2 if head == "binary" else scores.shape[2]
        low, high = (int(end) for end in target.aminmax())
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise ValueError(f"class indices must be in [0, {classes}), but one is {wrong}")
    return scores, target


def two_columns(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """One neuron as two: the logits ``(K, N, 2)`` are 0 and z, a float target has both probabilities."""
    import torch

    if logits.shape[2] != 1:
        raise ValueError(f"the head binary has one logit a sample, not {logits.shape[2]}")
    logits = torch.cat([torch.zeros_like(logits), logits], 2)
    return logits, torch.cat([1 - target, target], 2) if target.is_floating_point() else target
