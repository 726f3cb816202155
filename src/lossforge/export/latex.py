"""LaTeX and words for a formula, exactly as the tree stands."""

from __future__ import annotations

from collections.abc import Mapping

from lossforge.expression.branches import ClassFunctions
from lossforge.expression.tree import CONSTANT, Expression, format_number

_LEAF_LATEX = {"y_pred": r"\hat{y}", "y_true": "y"}
_LEAF_WORDS = {"y_pred": "the predicted probability", "y_true": "the target"}
_FUNCTIONS = {
    "log": r"\log\left|{0}\right|",
    "exp": r"e^{{{0}}}",
    "sin": r"\sin\left({0}\right)",
    "cos": r"\cos\left({0}\right)",
    "tanh": r"\tanh\left({0}\right)",
    "abs": r"\left|{0}\right|",
    "sign": r"\operatorname{{sign}}\left({0}\right)",
    "sqrt": r"\sqrt{{\left|{0}\right|}}",
    "sigmoid": r"\sigma\left({0}\right)",
    "erf": r"\operatorname{{erf}}\left({0}\right)",
    "div": r"\frac{{{0}}}{{{1}}}",
    "aq": r"\frac{{{0}}}{{\sqrt{{1 + \left({1}\right)^{{2}}}}}}",
    "max": r"\max\left({0}, {1}\right)",
    "min": r"\min\left({0}, {1}\right)",
}
_WORDS = {
    "add": "{0} plus {1}",
    "sub": "{0} minus {1}",
    "mul": "{0} times {1}",
    "div": "{0} divided by {1}",
    "neg": "minus {0}",
    "square": "the square of {0}",
    "sqrt": "the square root of {0}",
    "log": "the logarithm of {0}",
    "exp": "e to the power of {0}",
    "sin": "the sine of {0}",
    "cos": "the cosine of {0}",
    "tanh": "the hyperbolic tangent of {0}",
    "abs": "the absolute value of {0}",
    "sign": "the sign of {0}",
    "max": "the larger of {0} and {1}",
    "min": "the smaller of {0} and {1}",
    "sigmoid": "the sigmoid of {0}",
    "erf": "the error function of {0}",
    "aq": "the analytic quotient of {0} and {1}",
}
_RAISED = frozenset({"square", "exp", "div", "aq"})
"""What an exponent cannot follow without brackets."""
_SUM, _OPEN, _PRODUCT, _SIGN, _ATOM = range(1, 6)
"""How tightly a text binds. Open: it ends in a logarithm without brackets, which would swallow a factor after it."""


def latex(expression: Expression) -> str:
    r"""LaTeX of the elementwise loss, with ``\hat{y}`` for y_pred and ``y`` for y_true."""
    return _latex(expression, _LEAF_LATEX)[0]


def latex_in_p(expression: Expression) -> str:
    """LaTeX of an expression of y_pred alone, with ``p`` for it."""
    return _latex(expression, {"y_pred": "p"})[0]


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
    if node.op in leaves:
        return leaves[node.op], _ATOM
    parts = [_latex(arg, leaves) for arg in node.args]
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
    return _FUNCTIONS[node.op].format(*(text for text, _ in parts)), _ATOM


def _last_factor(node: Expression, text: str, precedence: int) -> tuple[str, int]:
    """What nothing follows: a logarithm needs no brackets there, and leaves the whole open."""
    return (text, precedence) if node.op == "log" else (_paren(text, precedence, _ATOM), _ATOM)


def _paren(text: str, precedence: int, needed: int) -> str:
    return text if precedence >= needed else rf"\left({text}\right)"


def words(expression: Expression) -> str:
    """The formula as a person would read it aloud, with brackets where it would be ambiguous."""
    if expression.op == CONSTANT:
        return format_number(expression.value)
    if expression.op in _LEAF_WORDS:
        return _LEAF_WORDS[expression.op]
    parts = [words(arg) if not arg.args else f"({words(arg)})" for arg in expression.args]
    return _WORDS[expression.op].format(*parts)
