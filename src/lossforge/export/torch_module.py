"""The exported file: one Python module that needs torch alone, with a class for every loss."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from importlib.resources import files

from lossforge.errors import LossError
from lossforge.export.latex import latex, words
from lossforge.expression.branches import class_functions
from lossforge.expression.codegen import Emitted, emit, function_source
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.heads import HEADS
from lossforge.losses.soft_labels import hard_labels_only
from lossforge.losses.terms import parse_term


@dataclass(frozen=True, slots=True)
class Export:
    """One loss to export: its class's name, its formula, and lines that say where it is from and how it scored.

    ``recipe`` says how it was trained, a line a fact. ``scale`` is what the formula is multiplied by for ``classes``
    (0: as it is written, for any number). ``smoothing`` is the label smoothing that it was trained with, ``head`` what
    makes probabilities of logits.
    """

    name: str
    formula: str
    provenance: tuple[str, ...] = ()
    class_mean: bool = False
    recipe: tuple[str, ...] = ()
    scale: float = 1.0
    classes: int = 0
    smoothing: float = 0.0
    head: str = "softmax"


def module_source(losses: list[Export], origin: str) -> str:
    """Source of the module: the shell that lossforge itself trains with, then a function and a class a loss."""
    shell = _shell()
    origin = _quotable(origin)
    names = ", ".join(repr(loss.name) for loss in losses)
    head = (
        f'"""Loss functions discovered by lossforge.\n\n{origin}\n\n'
        "Each class is called like torch.nn.CrossEntropyLoss: criterion(logits, target). This file needs torch "
        'alone.\n"""\n\n'
    )
    parts = [head + shell, *(_loss_source(loss) for loss in losses), f"__all__ = [{names}]"]
    source = "\n\n\n".join(parts) + "\n"
    ast.parse(source)  # whatever came from files stands inside docstrings
    return source


_OWN_IMPORT = re.compile(r"^from lossforge\.losses\.(\w+) import .*\n", re.MULTILINE)
_FIRST = re.compile(r"^(?=[A-Z_]+ =|def |class )", re.MULTILINE)


def _shell() -> str:
    """What lossforge itself trains with, as one text: each file of its own in place of its import.

    What those import of others is imported by the first file already.
    """
    room = files("lossforge.losses")

    def text(name: str) -> str:
        return room.joinpath(f"{name}.py").read_text(encoding="utf-8")

    def inside(name: str) -> str:
        """The file without its head, behind what it imports of ours."""
        whole = text(name)
        above = "".join(inside(other) + "\n\n" for other in _OWN_IMPORT.findall(whole))
        return above + _FIRST.split(whole, maxsplit=1)[1].rstrip() + "\n"

    first = text("drop_in")
    return _OWN_IMPORT.sub(lambda found: f"\n\n{inside(found[1])}", first[first.index("from __future__") :]).rstrip()


def _loss_source(loss: Export) -> str:
    if parse_term(loss.formula) is not None:
        raise LossError(f"{loss.formula} cannot be exported: only formulas can; it is used as lossforge.loss(...)")
    expression = parse_formula(loss.formula)
    function = f"_{loss.name.lower()}"
    lines = [
        f"{format_formula(expression)}",
        "",
        *_wrapped("In words: " + words(expression) + "."),
        f"LaTeX: {latex(expression)}",
        *([] if loss.smoothing or expression.crosses_classes else class_functions(expression).lines()),
    ]
    lines += [line for text in loss.provenance for line in _wrapped(_quotable(text))]
    lines += _scaling(loss)
    if loss.recipe:
        lines += ["", "Trained as validated:", ""]
        lines += [line for text in loss.recipe for line in _item(_quotable(text))]
    docstring = textwrap.indent("\n".join(lines), "    ").lstrip()
    program = HEADS[loss.head].program
    emitted = emit(expression, program)
    return (
        f"{function_source(expression, function, program)}\n\n"
        f"class {loss.name}(DropInLoss):\n"
        f'    r"""{docstring}\n    """\n\n'
        f"    class_mean = {loss.class_mean}\n"
        f"    uses_log = {emitted.uses_log}\n"
        f"{_about(expression, emitted)}"
        f"{_constants(loss)}\n"
        "    def elementwise_function(self) -> Callable[..., Tensor]:\n"
        f"        return {function}"
    )


def _scaling(loss: Export) -> list[str]:
    if not loss.classes:
        return []
    what = "labels" if loss.head == "sigmoid" else "classes"
    others = "" if loss.head == "binary" else f" For n {what}: {loss.name}().match_classes(n)."
    return [
        "",
        *_wrapped(
            f"scale = {loss.scale!r} gives its gradient cross-entropy's size near a uniform start, for {loss.classes} "
            f"{what}: cross-entropy's learning rates are the ones to begin with.{others}"
        ),
    ]


def _constants(loss: Export) -> str:
    """Lines of the class body for what is not the shell's default."""
    lines = []
    if loss.classes:
        lines += [f"scale = {loss.scale!r}", f"classes = {loss.classes}"]
    if loss.smoothing:
        lines.append(f"smoothing = {loss.smoothing!r}")
    if loss.head != "softmax":
        lines.append(f"head = {loss.head!r}")
    if hard_labels_only(loss.formula, loss.classes or (2 if loss.head == "binary" else 10), loss.head):
        lines.append("hard_labels = True")
    return "".join(f"    {line}\n" for line in lines)


def _about(expression: Expression, emitted: Emitted) -> str:
    """Lines of the class body for a formula whose elements do not stand alone."""
    if not emitted.about:
        return "    of_sample = True\n" if expression.of_sample else ""
    needs = f"    needs = {tuple(sorted(emitted.needs))!r}\n" if emitted.needs else ""
    return f"    about = True\n    of_sample = {expression.of_sample}\n{needs}"


def _quotable(text: str) -> str:
    """Text from a run's files, made harmless inside a docstring: it can end neither the string nor the line's code."""
    text = text.replace("\\", "/").replace('"', "'")
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, 108, initial_indent="- ", subsequent_indent="  ", break_long_words=False) or [""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, break_long_words=False) or [""]
