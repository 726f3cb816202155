"""LaTeX and words for a formula, exactly as the tree stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lossforge.expression.branches import ClassFunctions
from lossforge.expression.tree import CONSTANT, PARAMETER, PARAMETERS, Definition, Expression, format_number
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

_LEAF_LATEX = {leaf.name: leaf.latex for leaf in EVERY_LEAF.values()}
_RAISED = frozenset({"square", "exp", "div", "aq"})
"""What an exponent cannot follow without brackets."""
_OPEN_ENDED = frozenset({"sum_c", "mean_c", "max_c", "min_c"})
"""What is written without brackets, and so would swallow a factor after it."""
_SUM, _OPEN, _PRODUCT, _SIGN, _ATOM = range(1, 6)
"""How tightly a text binds. Open: it ends in a logarithm without brackets, which would swallow a factor after it."""


def latex(expression: Expression) -> str:
    r"""LaTeX of the loss of a class, or of a sample, with ``\hat{y}`` for y_pred and ``y`` for y_true."""
    text = _latex(expression, _LEAF_LATEX)[0]
    meanings = [_latex_definition(one) for one in expression.definitions()]
    return rf"{text} \quad \text{{where }} {', '.join(meanings)}" if meanings else text


def _latex_definition(one: Definition) -> str:
    return f"{_called(one.name, PARAMETERS[: one.arity])} = {_latex(one.body, _LEAF_LATEX)[0]}"


def _called(name: str, arguments: Iterable[str]) -> str:
    escaped = name.replace("_", r"\_")
    return rf"\operatorname{{{escaped}}}\left({', '.join(arguments)}\right)"


def latex_in_p(expression: Expression) -> str:
    """LaTeX of an expression of y_pred alone, with ``p`` for it."""
    return _latex(expression, {**_LEAF_LATEX, "y_pred": "p"})[0]


def latex_by_class(functions: ClassFunctions) -> str:
    """LaTeX of a loss as a function of p for the true class, y = 1, and one for every other."""
    true, wrong = latex_in_p(functions.true), latex_in_p(functions.wrong)
    if true == wrong:
        return true
    return rf"\begin{{cases}} {true} & y = 1 \\ {wrong} & y = 0 \end{{cases}}"


def _latex(node: Expression, leaves: Mapping[str, str]) -> tuple[str, int]:
    if node.op == CONSTANT:
        text = format_number(node.value)
        if "e" in text:
            mantissa, exponent = text.split("e")
            text = rf"{mantissa} \cdot 10^{{{int(exponent)}}}"
        return text, _ATOM if node.value >= 0 and "cdot" not in text else _SIGN
    if node.op in leaves or node.op == PARAMETER:
        return leaves[node.op] if node.op in leaves else PARAMETERS[int(node.value)], _ATOM
    parts = [_latex(arg, leaves) for arg in node.args]
    if node.definition is not None:
        return _called(node.op, (text for text, _ in parts)), _ATOM
    if node.op in ("add", "sub"):
        symbol = "+" if node.op == "add" else "-"
        # A sign does not follow a sign: x - (-2).
        right = _paren(*parts[1], _ATOM if parts[1][0].startswith("-") else _OPEN)
        return f"{_paren(*parts[0], _SUM)} {symbol} {right}", _SUM
    if node.op == "mul":
        right, level = _last_factor(node.args[1], *parts[1])
        return rf"{_paren(*parts[0], _PRODUCT)} \cdot {right}", min(level, _PRODUCT)
    if node.op == "neg":
        text, level = _last_factor(node.args[0], *parts[0])
        return f"-{text}", min(level, _SIGN)
    if node.op == "square":
        return f"{_paren(*parts[0], _ATOM + (node.args[0].op in _RAISED))}^{{2}}", _ATOM
    if node.op == "log" and node.args[0].op == "y_pred":
        return rf"\log {leaves['y_pred']}", _OPEN
    return _of_classes(node, parts), _OPEN if node.op in _OPEN_ENDED else _ATOM


def _of_classes(node: Expression, parts: list[tuple[str, int]]) -> str:
    """By the operation's template; a sum over classes takes the whole product behind it, and nothing looser."""
    inside = [_paren(*part, _PRODUCT) if node.op in _OPEN_ENDED else part[0] for part in parts]
    return OPERATIONS[node.op].latex.format(*inside)


def _last_factor(node: Expression, text: str, precedence: int) -> tuple[str, int]:
    """What nothing follows: a logarithm needs no brackets there, and leaves the whole open."""
    return (
        (text, precedence) if node.op == "log" or node.op in _OPEN_ENDED else (_paren(text, precedence, _ATOM), _ATOM)
    )


def _paren(text: str, precedence: int, needed: int) -> str:
    return text if precedence >= needed else rf"\left({text}\right)"


def words(expression: Expression) -> str:
    """The formula as a person would read it aloud, with brackets where it would be ambiguous."""
    if expression.op == CONSTANT:
        return format_number(expression.value)
    if expression.op in EVERY_LEAF:
        return EVERY_LEAF[expression.op].words
    parts = [words(arg) if not arg.args else f"({words(arg)})" for arg in expression.args]
    if expression.definition is not None:
        return f"{expression.op} of {' and '.join(parts)}"
    return OPERATIONS[expression.op].words.format(*parts)
