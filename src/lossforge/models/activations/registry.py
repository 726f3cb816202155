"""Activations by name, with parameters as they are written in ``task.activation``, and their way into a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossforge.errors import ModelError, offered

if TYPE_CHECKING:
    from torch import nn

    from lossforge.models.activations.base import SpecialFunction

USUAL = "relu"
"""The activation of a network whose task names none."""


@dataclass(frozen=True, slots=True)
class NamedActivation:
    """One known activation; the class is ``lossforge.models.activations.MODULE:CLASS``, or torch's own."""

    name: str
    module: str
    kind: str
    summary: str
    source: str


ACTIVATIONS: dict[str, NamedActivation] = {
    one.name: one
    for one in (
        NamedActivation(USUAL, "", "ReLU", "max(x, 0)", "Nair & Hinton 2010"),
        NamedActivation("jacobi_sn", "jacobi", "JacobiSN", "Jacobi elliptic sn(u | m), odd", "DLMF 22"),
        NamedActivation("jacobi_cn", "jacobi", "JacobiCN", "Jacobi elliptic cn(u | m), even", "DLMF 22"),
        NamedActivation("jacobi_dn", "jacobi", "JacobiDN", "Jacobi elliptic dn(u | m), even", "DLMF 22"),
        NamedActivation("lerch", "lerch", "Lerch", "Lerch transcendent Φ(z, s, a)", "DLMF 25.14"),
        NamedActivation("weierstrass", "weierstrass", "Weierstrass", "fractal Σ aⁿ cos(bⁿπx)", "Weierstrass 1872"),
        NamedActivation("weierstrass_p", "weierstrass_p", "WeierstrassP", "elliptic ℘(z; m)", "DLMF 23"),
        NamedActivation("mittag_leffler", "mittag_leffler", "MittagLeffler", "E_{α,β}(z)", "DLMF 10.46"),
    )
}
"""Every activation by name."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_WHOLE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(([^()]*)\))?\s*")
_PART = re.compile(rf"\s*([A-Za-z_]\w*)\s*=\s*(learned)?\s*({_NUMBER})?\s*")


def make_activation(text: str) -> nn.Module:
    """The module that a text names: ``lerch``, ``lerch(s=2)``, ``lerch(s=learned, a=learned 0.5)``.

    ``learned`` begins at the default, or at the number after it. Raises ModelError.

    >>> make_activation("jacobi_sn(m=0.3)")
    JacobiSN(m=0.3)
    """
    name, values, learned = _parsed(text)
    if name == USUAL:
        from torch import nn

        return nn.ReLU()
    try:
        return _class(name)(values, learned)
    except ModelError as error:
        raise ModelError(f"task.activation: {error}") from None


def is_usual(text: str) -> bool:
    """Whether it is ReLU, which networks have anyway."""
    return text.strip() == USUAL


def replace_relu(network: nn.Module, make: Callable[[], nn.Module]) -> int:
    """Put a new activation in each place of torch's ReLU module; returns how many. A shared module stays shared."""
    from torch import nn

    made: dict[int, nn.Module] = {}
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if type(child) is nn.ReLU:
                if id(child) not in made:
                    made[id(child)] = make()
                parent._modules[name] = made[id(child)]
    return len(made)


def _class(name: str) -> type[SpecialFunction]:
    import importlib

    one = ACTIVATIONS[name]
    found: type[SpecialFunction] = getattr(
        importlib.import_module(f"lossforge.models.activations.{one.module}"), one.kind
    )
    return found


def _parsed(text: str) -> tuple[str, dict[str, float], set[str]]:
    match = _WHOLE.fullmatch(text)
    if match is None:
        raise ModelError(f"task.activation: '{text}' is not written as name, or name(parameter=0.5, other=learned)")
    name, inside = match[1], match[2] or ""
    if name not in ACTIVATIONS:
        raise ModelError(f"task.activation: '{name}' is not an activation{offered(name, ACTIVATIONS)}")
    values: dict[str, float] = {}
    learned: set[str] = set()
    for part in inside.split(",") if inside.strip() else ():
        found = _PART.fullmatch(part)
        if found is None or not (found[2] or found[3]):
            raise ModelError(f"task.activation: '{part.strip()}' is not written as parameter=0.5 or parameter=learned")
        if found[1] in values or found[1] in learned:
            raise ModelError(f"task.activation: {name} is given {found[1]} twice")
        if name == USUAL:
            raise ModelError(f"task.activation: {name} has no parameter '{found[1]}'")
        if found[3]:
            values[found[1]] = float(found[3])
        if found[2]:
            learned.add(found[1])
    return name, values, learned
