"""What the special functions have in common: parameters fixed or learned, a map into the domain, and precision.

Each is a function on a domain, computed to the rounding of the working precision there, behind a map that takes every
input into the domain. Half precision is computed in float32, and given back as it came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lossforge.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Number = float | Tensor
"""A fixed parameter, or what is made of it: a float. A learned one: a float64 tensor without axes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an activation. A fixed one lies in [low, high], a learned one between them."""

    name: str
    default: float
    low: float
    high: float
    meaning: str
    learnable: bool = True
    """Whether it can be learned; what cannot is a whole number."""

    def check(self, value: float, owner: str) -> float:
        """The value, or ModelError where it is outside its range."""
        if not self.low <= value <= self.high:
            raise ModelError(f"{owner}: {self.name} must be from {self.low:g} to {self.high:g}, not {value:g}")
        if not self.learnable and value != int(value):
            raise ModelError(f"{owner}: {self.name} is a whole number, not {value:g}")
        return value


class SpecialFunction(nn.Module):
    """An activation whose parameters are fixed numbers or learned.

    A learned parameter is ``low + (high - low) * sigmoid(raw_NAME)``: it stays within its range whatever the optimiser
    does (weight decay draws it to the middle). Every place of a network has its own.

    Args:
        values: the parameters; a learned one begins there. Those that are missing have their defaults.
        learned: names of the learned ones.

    Raises ModelError for a value outside its range, and for a name that it does not have.
    """

    NAME: ClassVar[str]
    PARAMETERS: ClassVar[tuple[Parameter, ...]]
    DOMAIN: ClassVar[str]
    """Where the function is defined and computed, in words."""
    MAP: ClassVar[str]
    """The map that takes any input ``x`` into the domain, as a formula."""

    def __init__(self, values: Mapping[str, float] | None = None, learned: Collection[str] = ()) -> None:
        super().__init__()
        known = {one.name: one for one in self.PARAMETERS}
        for name in (*(values or {}), *learned):
            if name not in known:
                raise ModelError(f"{self.NAME}: it has no parameter '{name}' (known: {', '.join(known)})")
        self.values: dict[str, float] = {}
        for name, one in known.items():
            value = one.check(float((values or {}).get(name, one.default)), self.NAME)
            self.values[name] = value
            if name not in learned:
                continue
            if not one.learnable:
                raise ModelError(f"{self.NAME}: {name} is a whole number and cannot be learned")
            if not one.low < value < one.high:
                raise ModelError(f"{self.NAME}: a learned {name} must begin between {one.low:g} and {one.high:g}")
            share = (value - one.low) / (one.high - one.low)
            self.register_parameter(f"raw_{name}", nn.Parameter(torch.tensor(math.log(share / (1 - share)))))
        self.learned = frozenset(learned)

    def number(self, name: str) -> Number:
        """The parameter: a float, or where it is learned a float64 tensor with its gradient."""
        if name not in self.learned:
            return self.values[name]
        one = next(one for one in self.PARAMETERS if one.name == name)
        raw: Tensor = getattr(self, f"raw_{name}")
        return one.low + (one.high - one.low) * raw.double().sigmoid()

    def into_domain(self, x: Tensor) -> Tensor:
        """The map that takes any float32 or float64 ``x`` into the domain, element by element."""
        raise NotImplementedError

    def function(self, z: Tensor) -> Tensor:
        """The function at float32 or float64 ``z`` of the domain, element by element."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The function behind its map, any shape; the result has the type of ``x``."""
        working = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return self.function(self.into_domain(working)).to(x.dtype)

    def extra_repr(self) -> str:
        """The parameters, as they are written in ``task.activation``."""
        return ", ".join(
            f"{name}=learned {value:g}" if name in self.learned else f"{name}={value:g}"
            for name, value in self.values.items()
        )


def softly_bounded(x: Tensor, low: float, high: float) -> Tensor:
    """``high * tanh(x / high)`` for positive ``x``, ``low * tanh(x / low)`` for negative ones: within [low, high].

    ``low < 0 < high``. Near zero it is ``x``; it is twice continuously differentiable, and its slope is in [0, 1].
    """
    if low == -high:
        return high * (x / high).tanh()
    bound = torch.where(x < 0, x.new_full((), low), x.new_full((), high))
    return bound * (x / bound).tanh()


def cast(number: Number, like: Tensor) -> Number:
    """A number in the type of ``like``; one that is fixed stays a float."""
    return number.to(like.dtype) if isinstance(number, Tensor) else number


def float64(number: Number) -> Tensor:
    """A number as a float64 tensor, on a CPU where it is fixed."""
    return number if isinstance(number, Tensor) else torch.tensor(number, dtype=torch.float64, device="cpu")


@cache
def constant(make: Callable[..., NDArray[Any]], device: torch.device, *arguments: int) -> Tensor:
    """``make(*arguments)`` as a tensor on a device; made once, since a step that a GPU captured may not copy to it."""
    with torch.inference_mode(False):
        return torch.from_numpy(make(*arguments)).to(device)
