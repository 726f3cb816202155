"""The exported file for numpy, jax and Keras: a function, or a class, for every loss, on what is shipped above them."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from importlib.resources import files

from lossforge.export.array_code import statements
from lossforge.export.latex import latex, words
from lossforge.export.torch_module import Export, quotable
from lossforge.expression.adjoint import joint_program
from lossforge.expression.formula import parse_formula
from lossforge.expression.program import value_program
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.heads import HEADS

_HEADERS = {
    "numpy": "Each is called with logits and targets: discovered1(logits, target); discovered1_gradient gives the\n"
    "gradient on the logits. This file needs numpy alone.",
    "jax": "Each is called with logits and targets: discovered1(logits, target); jax.grad differentiates it. This\n"
    "file needs jax alone.",
    "keras": "Each is a keras.losses.Loss on logits: model.compile(loss=Discovered1()). This file needs Keras 3\n"
    "alone, on any of its back ends.",
}


def array_module_source(losses: Sequence[Export], origin: str, dialect: str) -> str:
    """Source of the module in ``numpy``, ``jax`` or ``keras``."""
    head = f'"""Loss functions discovered by lossforge.\n\n{quotable(origin)}\n\n{_HEADERS[dialect]}\n"""\n\n'
    make = _keras_loss if dialect == "keras" else _array_loss
    names = [one.name if dialect == "keras" else name for one in losses for name in _names(one, dialect)]
    parts = [head + _shell(dialect), *(make(one, dialect) for one in losses), f"__all__ = {sorted(set(names))!r}"]
    source = "\n\n\n".join(part.rstrip() for part in parts) + "\n"
    ast.parse(source)  # whatever came from files stands inside docstrings
    return source


def _names(loss: Export, dialect: str) -> list[str]:
    own = loss.name.lower()
    return [own, *([f"{own}_gradient"] if dialect == "numpy" else [])]


def _shell(dialect: str) -> str:
    """What stands above the losses: imports first, then functions."""
    if dialect == "keras":
        return _after_docstring(_text("keras_losses"))
    own, common = _after_docstring(_text(f"{dialect}_dialect")), _after_docstring(_text("array_losses"))
    imports = own[: own.index("def _sigmoid")].rstrip()
    imports = imports.replace(
        "from typing import Any", "from collections.abc import Callable\nfrom typing import Any, NamedTuple"
    )
    functions = own[own.index("def _sigmoid") :].rstrip()
    return f"{imports}\n\n\n{functions}\n\n\n{common[common.index('LEAST_LOG = ') :]}"


def _text(name: str) -> str:
    return files("lossforge.export.shells").joinpath(f"{name}.py").read_text(encoding="utf-8")


def _after_docstring(text: str) -> str:
    return text[text.index("from __future__") :]


def told_lines(loss: Export, expression: Expression) -> list[str]:
    """What a docstring says: the formula, its words, where it is from, at which scale, and how it was trained."""
    lines = [format_formula(expression), "", f"In words: {words(expression)}.", f"LaTeX: {latex(expression)}"]
    lines += [quotable(one) for one in loss.provenance]
    if loss.classes:
        what = "labels" if loss.head == "sigmoid" else "classes"
        lines += [
            f"Its scale, {loss.scale!r}, gives its gradient cross-entropy's size near a uniform start, for "
            f"{loss.classes} {what}: cross-entropy's learning rates are the ones to begin with."
        ]
    if loss.recipe:
        lines += ["", "Trained as validated:", "", *(f"- {quotable(one)}" for one in loss.recipe)]
    return lines


def _docstring(loss: Export, expression: Expression) -> str:
    told = told_lines(loss, expression)
    lines = [piece for line in told for piece in (textwrap.wrap(line, 108, break_long_words=False) or [""])]
    return 'r"""' + "\n".join(lines).rstrip() + '\n"""'


def _array_loss(loss: Export, dialect: str) -> str:
    expression = parse_formula(loss.formula)
    program = HEADS[loss.head].program
    own = loss.name.lower()
    body = "\n".join(statements(value_program(expression, program), dialect))
    parts = [f"def _{own}(leaves: Leaves) -> Any:\n{textwrap.indent(body, '    ')}"]
    gradient = "None"
    if dialect == "numpy":
        gradient = f"_{own}_slope"
        slope = "\n".join(statements(joint_program(expression, head=program, spread=True), dialect, 1))
        parts.append(f"def {gradient}(leaves: Leaves) -> Any:\n{textwrap.indent(slope, '    ')}")
    needs = value_program(expression, program).needs
    parts.append(
        f"_{own.upper()} = Loss(\n    {own!r},\n    _{own},\n    {gradient},\n    scale={loss.scale!r},\n"
        f"    head={loss.head!r},\n    smoothing={loss.smoothing!r},\n    of_sample={expression.of_sample},\n"
        f"    class_mean={loss.class_mean},\n    needs={tuple(sorted(needs))!r},\n)"
    )
    told = textwrap.indent(_docstring(loss, expression), "    ")
    parts.append(
        f"def {own}(logits: Any, target: Any, **arguments: Any) -> Any:\n{told}\n"
        f"    return value(_{own.upper()}, logits, target, **arguments)"
    )
    if dialect == "numpy":
        parts.append(
            f"def {own}_gradient(logits: Any, target: Any, **arguments: Any) -> Any:\n"
            f'    """The gradient of {own} on the logits, in closed form."""\n'
            f"    return gradient(_{own.upper()}, logits, target, **arguments)"
        )
    return "\n\n\n".join(parts)


def _keras_loss(loss: Export, dialect: str) -> str:
    expression = parse_formula(loss.formula)
    program = value_program(expression, HEADS[loss.head].program)
    body = textwrap.indent("\n".join(statements(program, dialect)), "        ")
    told = textwrap.indent(_docstring(loss, expression), "    ")
    return (
        f"class {loss.name}(DiscoveredLoss):\n{told}\n\n    scale = {loss.scale!r}\n    head = {loss.head!r}\n"
        f"    smoothing = {loss.smoothing!r}\n    of_sample = {expression.of_sample}\n"
        f"    class_mean = {loss.class_mean}\n    needs = {tuple(sorted(program.needs))!r}\n\n"
        f"    def formula(self, leaves: dict[str, Any]) -> Any:\n"
        f'        """The loss of every sample and class."""\n{body}'
    )
