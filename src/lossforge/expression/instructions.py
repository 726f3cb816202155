"""The one table of instructions: what each computes in torch and numpy, its opcodes in the interpreters, its adjoint.

A kernel has a line for every opcode, by name: `lossforge.expression.program_kernel` (numba) and
`lossforge.expression.triton_kernel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lossforge.expression.protection import BOUND, EPS, Operand, bounded, erf_array, protected, sigmoid_array

GROUPS = ("arithmetic", "function", "guard", "classes")
"""Of instructions: a kernel has a function for each, and opcodes are numbered group by group."""


class Algebra(Protocol):
    """What an adjoint is written with; see `lossforge.expression.adjoint`."""

    def op(self, name: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        """An instruction as it is."""

    def neg(self, a: Operand) -> Operand:
        """-a."""

    def mul(self, a: Operand, b: Operand) -> Operand:
        """The product."""

    def div(self, a: Operand, b: Operand) -> Operand:
        """The quotient, not protected."""


class Step(Protocol):
    """The operands of an instruction."""

    @property
    def a(self) -> Operand:
        """The first."""

    @property
    def b(self) -> Operand:
        """The second."""


Rule = Callable[[Algebra, Step, Operand, Operand], tuple[Operand, Operand]]
"""``(algebra, instruction, its register, adjoint of its value) -> adjoints of a and of b``."""


@dataclass(frozen=True, slots=True)
class InstructionKind:
    """One instruction ``op(a, b)``.

    ``torch`` is a template of its text, ``array`` the same on numpy arrays (given numpy) whose last axis are the
    classes. ``adjoint`` is None where no gradient goes back. ``opcodes`` are its forms in the interpreters (those with
    a number in their name take a constant for one operand), and ``group`` the function of the kernels that has them.
    ``result``: "elementwise", "sample" (one number for all classes), or as its arguments. ``mask``: 1 where true, else
    0. ``needs``: what it reads that comes from outside.
    """

    name: str
    torch: str
    array: Callable[..., Any]
    adjoint: Rule | None
    opcodes: tuple[str, ...]
    group: Literal["arithmetic", "function", "guard", "classes"]
    result: Literal["elementwise", "sample", "argument"] = "argument"
    mask: bool = False
    commutative: bool = False
    needs: Literal["", "progress", "class_share"] = ""


def _div(x: Algebra, step: Step, out: Operand, g: Operand) -> tuple[Operand, Operand]:
    top = x.div(g, step.b)
    return top, x.neg(x.mul(top, out)) if isinstance(step.b, int) else 0.0


def _extremum(sign: float) -> Rule:
    def rule(x: Algebra, step: Step, out: Operand, g: Operand) -> tuple[Operand, Operand]:
        # Where both are equal each gets half, as in torch.
        ends = (step.a, step.b) if sign > 0 else (step.b, step.a)
        return (
            x.mul(g, x.op("share", ends[0], ends[1], inner=True)),
            x.mul(g, x.op("share", ends[1], ends[0], inner=True)),
        )

    return rule


def _masked(mask: str) -> Rule:
    return lambda x, step, out, g: (x.mul(g, x.op(mask, step.a, step.b, inner=True)), 0.0)


def _one_minus_square(x: Algebra, out: Operand) -> Operand:
    return x.op("sub", 1.0, x.mul(out, out))


def _erf(x: Algebra, step: Step, out: Operand, g: Operand) -> tuple[Operand, Operand]:
    bell = x.op("exp", x.neg(x.mul(step.a, step.a)))
    return x.mul(g, x.mul(bell, 2 / math.sqrt(math.pi))), 0.0


def _largest(x: Algebra, step: Step, out: Operand, g: Operand) -> tuple[Operand, Operand]:
    there = x.op("equal", step.a, out)
    return x.mul(g, x.div(there, x.op("sum_c", there))), 0.0


def _arithmetic(name: str, sign: str, array: Callable[..., Any], adjoint: Rule, *forms: str) -> InstructionKind:
    both = name in ("add", "mul")
    return InstructionKind(name, f"{{a}} {sign} {{b}}", array, adjoint, (name, *forms), "arithmetic", commutative=both)


def _function(name: str, array: Callable[..., Any], adjoint: Rule | None) -> InstructionKind:
    return InstructionKind(name, f"torch.{name}({{a}})", array, adjoint, (name,), "function")


def _mask(name: str, torch: str, array: Callable[..., Any]) -> InstructionKind:
    return InstructionKind(name, torch, array, None, (name,), "guard", mask=True)


_TABLE = (
    _arithmetic("add", "+", lambda np, a, b: a + b, lambda x, step, out, g: (g, g), "add_number"),
    _arithmetic("sub", "-", lambda np, a, b: a - b, lambda x, step, out, g: (g, x.neg(g)), "sub_from_number"),
    _arithmetic(
        "mul", "*", lambda np, a, b: a * b, lambda x, step, out, g: (x.mul(g, step.b), x.mul(g, step.a)), "mul_number"
    ),
    _arithmetic("div", "/", lambda np, a, b: a / b, _div, "div_number", "number_div"),
    InstructionKind(
        "maximum",
        "torch.maximum({a}, {b})",
        lambda np, a, b: np.maximum(a, b),
        _extremum(1.0),
        ("maximum",),
        "arithmetic",
        commutative=True,
    ),
    InstructionKind(
        "minimum",
        "torch.minimum({a}, {b})",
        lambda np, a, b: np.minimum(a, b),
        _extremum(-1.0),
        ("minimum",),
        "arithmetic",
        commutative=True,
    ),
    InstructionKind(
        "neg", "-{a}", lambda np, a, b: -a, lambda x, step, out, g: (x.neg(g), 0.0), ("neg",), "arithmetic"
    ),
    _function("sqrt", lambda np, a, b: np.sqrt(a), lambda x, step, out, g: (x.div(x.mul(g, 0.5), out), 0.0)),
    _function("log", lambda np, a, b: np.log(a), lambda x, step, out, g: (x.div(g, step.a), 0.0)),
    _function("exp", lambda np, a, b: np.exp(a), lambda x, step, out, g: (x.mul(g, out), 0.0)),
    _function("sin", lambda np, a, b: np.sin(a), lambda x, step, out, g: (x.mul(g, x.op("cos", step.a)), 0.0)),
    _function("cos", lambda np, a, b: np.cos(a), lambda x, step, out, g: (x.neg(x.mul(g, x.op("sin", step.a))), 0.0)),
    _function("tanh", lambda np, a, b: np.tanh(a), lambda x, step, out, g: (x.mul(g, _one_minus_square(x, out)), 0.0)),
    _function("abs", lambda np, a, b: np.abs(a), lambda x, step, out, g: (x.mul(g, x.op("sign", step.a)), 0.0)),
    _function("sign", lambda np, a, b: np.sign(a), None),
    _function(
        "sigmoid",
        lambda np, a, b: sigmoid_array(np, a),
        lambda x, step, out, g: (x.mul(g, x.mul(out, x.op("sub", 1.0, out))), 0.0),
    ),
    _function("erf", lambda np, a, b: erf_array(np, a), _erf),
    InstructionKind(
        "clamp_min",
        "torch.clamp({a}, min={b})",
        lambda np, a, b: np.maximum(a, b),
        _masked("ge"),
        ("clamp_min",),
        "guard",
    ),
    InstructionKind(
        "clamp_max",
        "torch.clamp({a}, max={b})",
        lambda np, a, b: np.minimum(a, b),
        _masked("le"),
        ("clamp_max",),
        "guard",
    ),
    InstructionKind(
        "bound",
        f"torch.clamp({{a}}, min={-BOUND!r}, max={BOUND!r})",
        lambda np, a, b: bounded(np, a),
        _masked("inside"),
        ("bound",),
        "guard",
    ),
    InstructionKind(
        "protect",
        f"torch.where({{a}} < 0, torch.clamp({{a}}, max={-EPS!r}), torch.clamp({{a}}, min={EPS!r}))",
        lambda np, a, b: protected(np, a),
        _masked("outside"),
        ("protect",),
        "guard",
    ),
    _mask("ge", "({a} >= {b})", lambda np, a, b: a >= b),
    _mask("le", "({a} <= {b})", lambda np, a, b: a <= b),
    _mask("outside", f"(torch.abs({{a}}) >= {EPS!r})", lambda np, a, b: np.abs(a) >= EPS),
    _mask("inside", f"(torch.abs({{a}}) <= {BOUND!r})", lambda np, a, b: np.abs(a) <= BOUND),
    InstructionKind(
        "share",
        "(0.5 * (1.0 + torch.sign({a} - {b})))",
        lambda np, a, b: 0.5 * (1.0 + np.sign(a - b)),
        None,
        ("share",),
        "guard",
    ),
    _mask("equal", "({a} == {b})", lambda np, a, b: a == b),
    InstructionKind(
        "sum_c",
        "torch.sum({a}, about.dim, keepdim=True)",
        lambda np, a, b: a.sum(-1, keepdims=True),
        lambda x, step, out, g: (g, 0.0),
        ("sum_c",),
        "classes",
        result="sample",
    ),
    InstructionKind(
        "max_c",
        "torch.amax({a}, about.dim, keepdim=True)",
        lambda np, a, b: a.max(-1, keepdims=True),
        _largest,
        ("max_c",),
        "classes",
        result="sample",
    ),
    InstructionKind(
        "top_c",
        "torch.zeros_like({a}).scatter(about.dim, torch.argmax({a}, about.dim, keepdim=True), 1.0)",
        lambda np, a, b: np.arange(a.shape[-1]) == a.argmax(-1, keepdims=True),
        None,
        ("top_c",),
        "classes",
        result="elementwise",
    ),
    InstructionKind("stop", "{a}.detach()", lambda np, a, b: a, None, ("stop",), "classes"),
    InstructionKind("logit", "about.logits", lambda np, a, b: a, None, ("logit",), "classes", result="elementwise"),
    InstructionKind(
        "n_classes",
        "about.n_classes",
        lambda np, a, b: a,
        None,
        ("n_classes",),
        "classes",
        result="sample",
    ),
    InstructionKind(
        "progress",
        "about.progress",
        lambda np, a, b: a,
        None,
        ("progress",),
        "classes",
        result="sample",
        needs="progress",
    ),
    InstructionKind(
        "class_share",
        "about.class_share",
        lambda np, a, b: a,
        None,
        ("class_share",),
        "classes",
        result="elementwise",
        needs="class_share",
    ),
)

INSTRUCTIONS: dict[str, InstructionKind] = {kind.name: kind for kind in _TABLE}
"""Every instruction by name."""

FROM_OUTSIDE = ("logit", "n_classes", "progress", "class_share")
"""Instructions without operands: they read what is told beside logits and target."""
