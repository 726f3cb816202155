"""The exported file: one Python module that needs torch alone, with a class for every loss."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from lossforge.export.latex import latex, words
from lossforge.expression.branches import class_functions
from lossforge.expression.codegen import Emitted, emit, function_source
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.compiled import LossSpec, WeightedFusionLoss
from lossforge.losses.heads import HEADS
from lossforge.losses.library import LIBRARY
from lossforge.losses.soft_labels import hard_labels_only
from lossforge.losses.terms import TERMS, Term
from lossforge.losses.weighting_rules import Weighting

_RULED = WeightedFusionLoss.__name__


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
    shell = _shell(_term_files(losses))
    origin = quotable(origin)
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


def _text(name: str) -> str:
    return files("lossforge.losses").joinpath(f"{name}.py").read_text(encoding="utf-8")


def _inside(name: str) -> str:
    """A file of ours without its head."""
    return _FIRST.split(_text(name), maxsplit=1)[1].rstrip() + "\n"


def _shell(terms: Sequence[str]) -> str:
    """What lossforge itself trains with, as one text: each file of its own in place of its import, then ``terms``.

    What those import of others is imported by the first file already.
    """

    def inside(name: str) -> str:
        """The file without its head, behind what it imports of ours."""
        above = "".join(inside(other) + "\n\n" for other in _OWN_IMPORT.findall(_text(name)))
        return above + _inside(name)

    first = _text("drop_in")
    shell = _OWN_IMPORT.sub(lambda found: f"\n\n{inside(found[1])}", first[first.index("from __future__") :]).rstrip()
    if not terms:
        return shell
    shell = shell.replace(
        "from collections.abc import Callable\n", "from collections.abc import Callable, Mapping, Sequence\n", 1
    )
    return "\n\n\n".join([shell, *(_inside(f"term_losses/{name}").rstrip() for name in terms)])


def _term_files(losses: Sequence[Export]) -> list[str]:
    """Names of the files that the losses' terms need, in the order in which they can be read.

    Which file has a module is known by the module itself.
    """
    specs = [part for loss in losses for part in _within(LossSpec(loss.formula))]
    used = {TERMS[term.name].module.__module__.rpartition(".")[2] for spec in specs for _, term in spec.terms}
    changing = any(LossSpec(loss.formula).weighted is not None for loss in losses)
    summed = changing or any(spec.is_term and _is_sum(spec) for spec in specs)
    return [
        *(["base", *sorted(used)] if used else []),
        *(["weighted_sum"] if summed else []),
        *(["changing_weights"] if changing else []),
    ]


def _within(spec: LossSpec) -> tuple[LossSpec, ...]:
    """What a rule for weights weighs; a loss without one alone."""
    return (spec,) if spec.weighted is None else spec.weighted[1]


def _is_sum(spec: LossSpec) -> bool:
    terms = spec.terms
    return spec.elementwise is not None or len(terms) > 1 or terms[0][0] != 1


def _loss_source(loss: Export) -> str:
    spec = LossSpec(loss.formula)
    if spec.weighted is not None:
        return _changing_source(loss, *spec.weighted)
    if spec.is_term:
        return _term_source(loss, spec)
    expression = parse_formula(loss.formula)
    lines = [
        f"{format_formula(expression)}",
        "",
        *_wrapped("In words: " + words(expression) + "."),
        f"LaTeX: {latex(expression)}",
        *([] if loss.smoothing or expression.crosses_classes else class_functions(expression).lines()),
    ]
    return _formula_source(
        loss, expression, loss.name, f"_{loss.name.lower()}", [*lines, *_told(loss)], _constants(loss)
    )


def _formula_source(
    loss: Export, expression: Expression, name: str, function: str, lines: list[str], constants: str
) -> str:
    """A function and a class for a formula."""
    program = HEADS[loss.head].program
    emitted = emit(expression, program)
    return (
        f"{function_source(expression, function, program)}\n\n"
        f"class {name}(DropInLoss):\n"
        f"{_docstring(lines)}"
        f"    class_mean = {loss.class_mean}\n"
        f"    uses_log = {emitted.uses_log}\n"
        f"{_about(expression, emitted)}"
        f"{constants}\n"
        "    def elementwise_function(self) -> Callable[..., Tensor]:\n"
        f"        return {function}"
    )


_INIT = """    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float | None = None,
        class_share: Tensor | None = None,
    ) -> None:
"""
_PASSED = (
    "            weight=weight,\n            ignore_index=ignore_index,\n            reduction=reduction,\n"
    "            label_smoothing=label_smoothing,\n            class_share=class_share,\n        )"
)


def _term_source(loss: Export, spec: LossSpec) -> str:
    """A class for a term, or for a weighted sum with terms; the formula in it has a class of its own."""
    lines = [*_wrapped(spec.formula), ""]
    formula = None if spec.elementwise is None else parse_formula(spec.elementwise.formula)
    if formula is not None:
        lines += [*_wrapped(f"{format_formula(formula)}, in words: {words(formula)}."), f"LaTeX: {latex(formula)}"]
    for weight, term in spec.terms:
        times = "" if weight == 1 and not _is_sum(spec) else f"{weight!r} times "
        lines += _wrapped(f"{times}{term}: {LIBRARY[term.name].summary}.")
    doc = _docstring([*lines, *_told(loss)])
    constants = _constants(loss, of_formula=False)
    if not _is_sum(spec):
        term = spec.terms[0][1]
        return (
            f"class {loss.name}({TERMS[term.name].module.__name__}):\n{doc}{constants}\n{_INIT}"
            f"        super().__init__(\n            {str(term)!r},\n            {dict(term.parameters)!r},\n"
            f"            head={loss.head!r},\n{_PASSED}"
        )
    made = [f"({weight!r}, {_made(term, loss.head)})" for weight, term in spec.terms]
    above = ""
    if formula is not None:
        inner = f"_{loss.name}Formula"
        told = [f"The formula in {loss.name}."]
        own = replace(loss, formula=format_formula(formula), scale=1.0, classes=0, smoothing=0.0, class_mean=False)
        above = _formula_source(own, formula, inner, f"_{loss.name.lower()}", told, _constants(own)) + "\n\n\n"
        made.insert(0, f"(1.0, {inner}())")
    parts = "".join(f"            {one},\n" for one in made)
    return (
        f"{above}class {loss.name}(FusionLoss):\n{doc}{constants}\n{_INIT}"
        f"        parts: list[tuple[float, DropInLoss]] = [\n{parts}        ]\n"
        f"        super().__init__(\n            {spec.formula!r},\n            parts,\n"
        f"            head={loss.head!r},\n{_PASSED}"
    )


_UPDATED = {
    "uncertainty": "Give criterion.parameters() to the optimiser beside the network's.",
    "dwa": "Call criterion.end_epoch() at the end of each epoch.",
    "gradnorm": "Give criterion.parameters() to the optimiser, without weight decay; at each step call "
    "criterion.balance(weight) between the loss and backward, with the weight of the layer that gives the logits.",
}


def _changing_source(loss: Export, rule: Weighting, specs: Sequence[LossSpec]) -> str:
    """A class for a sum whose weights change, behind one for each formula in it."""
    above, made, lines = [], [], _wrapped(loss.formula)
    lines += ["", *_wrapped(f"Its weights change by '{rule.method}': see {_RULED}. {_UPDATED[rule.method]}"), ""]
    for number, spec in enumerate(specs, 1):
        formula = None if spec.elementwise is None else parse_formula(spec.elementwise.formula)
        if formula is not None:
            inner = f"_{loss.name}Formula{number}"
            told = [f"Formula {number} of {loss.name}."]
            own = replace(loss, formula=format_formula(formula), scale=1.0, classes=0, smoothing=0.0, class_mean=False)
            function = f"_{loss.name.lower()}_{number}"
            above.append(_formula_source(own, formula, inner, function, told, _constants(own)) + "\n\n\n")
            lines += _wrapped(f"{number}: {format_formula(formula)}, in words: {words(formula)}.")
        pieces = [] if formula is None else [f"(1.0, {inner}())"]
        for weight, term in spec.terms:
            pieces.append(f"({weight!r}, {_made(term, loss.head)})")
            lines += _wrapped(f"{number}: {weight!r} times {term}: {LIBRARY[term.name].summary}.")
        alone = pieces[0] if len(pieces) == 1 else None
        whole = f"(1.0, FusionLoss({spec.formula!r}, [{', '.join(pieces)}], head={loss.head!r}))"
        made.append(alone or whole)
    parts = "".join(f"            {one},\n" for one in made)
    return (
        f"{''.join(above)}class {loss.name}({_RULED}):\n{_docstring([*lines, *_told(loss)])}"
        f"{_constants(loss, of_formula=False)}\n{_INIT}"
        f"        parts: list[tuple[float, DropInLoss]] = [\n{parts}        ]\n"
        f"        super().__init__(\n            {loss.formula!r},\n            parts,\n            {rule.method!r},\n"
        f"            {rule.value!r},\n            head={loss.head!r},\n{_PASSED}"
    )


def _made(term: Term, head: str) -> str:
    return f"{TERMS[term.name].module.__name__}({str(term)!r}, {dict(term.parameters)!r}, head={head!r})"


def _docstring(lines: list[str]) -> str:
    text = textwrap.indent("\n".join(lines), "    ").lstrip()
    return f'    r"""{text}\n    """\n\n'


def _told(loss: Export) -> list[str]:
    """Where it is from, at which scale it trains, and how it was trained."""
    lines = [line for text in loss.provenance for line in _wrapped(quotable(text))] + _scaling(loss)
    if loss.recipe:
        lines += ["", "Trained as validated:", ""]
        lines += [line for text in loss.recipe for line in _item(quotable(text))]
    return lines


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


def _constants(loss: Export, *, of_formula: bool = True) -> str:
    """Lines of the class body for what is not the shell's default."""
    lines = []
    if loss.classes:
        lines += [f"scale = {loss.scale!r}", f"classes = {loss.classes}"]
    if loss.smoothing:
        lines.append(f"smoothing = {loss.smoothing!r}")
    if loss.head != "softmax" and of_formula:  # all others are told their head
        lines.append(f"head = {loss.head!r}")
    if of_formula and hard_labels_only(loss.formula, loss.classes or (2 if loss.head == "binary" else 10), loss.head):
        lines.append("hard_labels = True")
    return "".join(f"    {line}\n" for line in lines)


def _about(expression: Expression, emitted: Emitted) -> str:
    """Lines of the class body for a formula whose elements do not stand alone."""
    if not emitted.about:
        return "    of_sample = True\n" if expression.of_sample else ""
    needs = f"    needs = {tuple(sorted(emitted.needs))!r}\n" if emitted.needs else ""
    return f"    about = True\n    of_sample = {expression.of_sample}\n{needs}"


def quotable(text: str) -> str:
    """Text from a run's files, made harmless inside a docstring: it can end neither the string nor the line's code."""
    text = text.replace("\\", "/").replace('"', "'")
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, 108, initial_indent="- ", subsequent_indent="  ", break_long_words=False) or [""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, break_long_words=False) or [""]
