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
from lossforge.expression.primitives import GUARDS, Guards
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

_SCRATCH = 3
"""Registers that the kernel adds: logits, values and gradients of a block."""


@lru_cache(maxsize=4096)
def assembled(expression: Expression, guards: Guards = GUARDS) -> Assembled:
    """Kept, since the screens ask about a loss one after another."""
    return assemble_one(joint_program(expression, guards=guards))


class Interpreter:
    """K losses as data.

    Args:
        losses: as expressions, or assembled.
        label_smoothing: for each loss, in [0, 1); none unless given.
        guards: sizes of the guards, which no loss that is trained has others of.
    """

    def __init__(
        self,
        losses: Sequence[Expression] | Bytecode,
        label_smoothing: Sequence[float] | None = None,
        guards: Guards = GUARDS,
    ) -> None:
        import numpy

        if not isinstance(losses, Bytecode):
            losses = join([assembled(expression, guards) for expression in losses])
        self.bytecode: Bytecode = losses
        given = [0.0] * len(losses) if label_smoothing is None else list(label_smoothing)
        if len(given) != len(losses):
            raise ValueError(f"label_smoothing must have a number for each of {len(losses)} losses, not {len(given)}")
        self.smoothing = numpy.array(given, dtype=numpy.float64)

    def __len__(self) -> int:
        return len(self.bytecode)

    def take(self, places: Sequence[int]) -> Interpreter:
        """The losses at these places, in this order; nothing is assembled anew."""
        return Interpreter(self.bytecode.take(places), self.smoothing[list(places)].tolist())

    def padded(self) -> Interpreter:
        """The same losses in tables that have as much `room` as those of many others."""
        return Interpreter(self.bytecode.padded(), self.smoothing.tolist())

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
        *arrays, _ = self.tables[str(like.dtype).removeprefix("torch.")]
        return tuple(map(torch.from_numpy, (*arrays, self.smoothing)))

    def value_and_gradient(self, logits: Tensor, target: Tensor, *, terms: bool = False) -> tuple[Tensor, Tensor]:
        """Losses ``(K, N)``, summed over classes, and their gradients ``(K, N, C)`` on the logits.

        ``logits`` are ``(K, N, C)``, or ``(N, C)`` for all losses alike, in float32 or float64 (on CUDA also in a
        half type, for results in float32); ``target`` holds class indices ``(K, N)`` or ``(N,)``, or probabilities
        in a shape like the logits'. With ``terms`` the losses come as ``(K, N, C)``, not summed. Raises ValueError
        for shapes that do not fit.
        """
        import torch

        k = len(self)
        if target.dtype == torch.bool or target.is_complex():
            raise ValueError(
                f"targets must be class indices or probabilities, not {str(target.dtype).removeprefix('torch.')}"
            )
        scores = logits.detach() if logits.dim() == 3 else logits.detach()[None]
        if scores.dim() != 3 or scores.shape[0] not in (1, k):
            raise ValueError(f"logits must be (N, C) or ({k}, N, C), not {tuple(logits.shape)}")
        if not scores.is_cuda and scores.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"logits must be float32 or float64 on a CPU, not {str(scores.dtype).removeprefix('torch.')}"
            )
        if scores.shape[2] < 1:
            raise ValueError(f"logits must have a class at least, not shape {tuple(logits.shape)}")
        target = target.detach() if target.is_floating_point() else target.detach().long()
        target = target if target.dim() == (3 if target.is_floating_point() else 2) else target[None]
        expected = scores.shape[1:] if target.is_floating_point() else scores.shape[1:2]
        if target.shape[1:] != expected or target.shape[0] not in (1, k):
            raise ValueError(f"targets for logits {tuple(logits.shape)} cannot be {tuple(target.shape[1:])}")
        if scores.is_cuda:
            from lossforge.expression.triton_kernel import launch

            return launch(self.device_tables(scores), self.bytecode.slots, scores, target, terms)
        if not target.is_floating_point() and target.numel():
            # The kernel writes at these places without a look.
            low, high = (int(end) for end in target.aminmax())
            if low < 0 or high >= scores.shape[2]:
                wrong = low if low < 0 else high
                raise ValueError(f"class indices must be in [0, {scores.shape[2]}), but one is {wrong}")
        target = target.to(scores.dtype) if target.is_floating_point() else target
        loss = torch.empty(k, scores.shape[1], dtype=scores.dtype)
        gradient = torch.empty(k, *scores.shape[1:], dtype=scores.dtype)
        elementwise = torch.empty(k if terms else 0, *scores.shape[1:], dtype=scores.dtype)
        self.run_arrays(scores.numpy(), target.numpy(), loss.numpy(), gradient.numpy(), elementwise.numpy())
        return (elementwise if terms else loss), gradient

    def run_arrays(
        self,
        logits: NDArray[Any],
        target: NDArray[Any],
        loss: NDArray[Any],
        gradient: NDArray[Any],
        terms: NDArray[Any],
    ) -> None:
        """The same on numpy arrays of three dimensions (labels: two), all of one floating type."""
        import numpy

        from lossforge.expression.cpu_kernel import run

        indices = target.dtype.kind != "f"
        run(
            *self.tables[logits.dtype.name],
            numpy.ascontiguousarray(logits),
            numpy.ascontiguousarray(target, dtype=numpy.int64) if indices else numpy.empty((1, 0), numpy.int64),
            numpy.empty((1, 0, 0), logits.dtype) if indices else numpy.ascontiguousarray(target, dtype=logits.dtype),
            self.smoothing.astype(logits.dtype),
            loss,
            gradient,
            terms,
        )
