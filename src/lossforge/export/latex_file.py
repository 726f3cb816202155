"""Losses as a LaTeX document: formula, scale, recipe and what came of the re-validation; amsmath alone is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lossforge.export.latex import latex, words
from lossforge.export.torch_module import Export
from lossforge.expression.formula import parse_formula

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"\(\times\)",
    "±": r"\(\pm\)",
    "≤": r"\(\leq\)",
    "℘": r"\(\wp\)",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_HEADS = {
    "softmax": r"\hat{y} = \operatorname{softmax}(z)",
    "sigmoid": r"\hat{y} = \sigma(z)",
    "binary": r"\hat{y} = (1 - \sigma(z), \sigma(z))",
}


def escaped(text: str) -> str:
    """A text as LaTeX prints it.

    >>> escaped("50 % of x_1")
    '50 \\\\% of x\\\\_1'
    """
    return re.sub(r"[\\~^×±≤℘&%$#_{}]", lambda found: _SPECIAL[found[0]], text)


def latex_document(losses: Sequence[Export], origin: str) -> str:
    """A document that compiles as it is; each loss stands in a section, its formula in an equation."""
    body = "\n\n".join(_section(one) for one in losses)
    return (
        "% Written by lossforge; \\input the parts that you need, or compile it whole.\n"
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{amsmath}\n"
        "\\title{Loss functions discovered by lossforge}\n\\date{}\n\\begin{document}\n\\maketitle\n\n"
        f"{escaped(origin)}\n\n{body}\n\n\\end{{document}}\n"
    )


def _section(loss: Export) -> str:
    expression = parse_formula(loss.formula)
    over = "" if expression.of_sample else r"\frac{1}{C} \sum_{c=1}^{C} " if loss.class_mean else r"\sum_{c=1}^{C} "
    factor = f"{loss.scale:.6g} \\cdot " if loss.scale != 1 else ""
    lines = [
        f"\\section*{{{escaped(loss.name)}}}",
        r"\begin{equation}",
        f"\\ell = {factor}{over}\\left[ {latex(expression)} \\right], \\qquad {_HEADS[loss.head]}",
        r"\end{equation}",
        f"In words: {escaped(words(expression))}, for each class"
        + (f", times {loss.scale:.6g} for {loss.classes} classes." if loss.classes else "."),
        *map(escaped, loss.provenance),
    ]
    if loss.recipe:
        items = "\n".join(f"  \\item {escaped(one)}" for one in loss.recipe)
        lines += ["Trained as validated:", f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"]
    return "\n\n".join(lines)
