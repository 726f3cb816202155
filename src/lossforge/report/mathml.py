"""Formulas as MathML, which browsers typeset without a script, from the LaTeX that `lossforge.export.latex` writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import ClassVar

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\d+(?:\.\d+)?|[A-Za-z]|\S")
_NAMES = {
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "tanh": "tanh",
    "max": "max",
    "min": "min",
    "exp": "exp",
    "arg": "arg",
}
_SYMBOLS = {"sigma": "σ", "pi": "π", "tau": "τ"}
_OPERATORS = {"cdot": "·", "sum": "∑", "le": "≤", "ge": "≥", "in": "∈", "times": "×"}
_CELL_ENDS = ("&", "\\\\", "\\end")
_SPACES = {"quad": "1em", "qquad": "2em", ",": "0.17em", ";": "0.28em", " ": "0.25em"}


def mathml(latex: str, *, block: bool = True) -> str:
    r"""MathML of LaTeX; what of it is not known stands there as text.

    >>> mathml("2 + y", block=False)
    '<math><mrow><mn>2</mn><mo>+</mo><mi>y</mi></mrow></math>'
    """
    display = ' display="block"' if block else ""
    return f"<math{display}>{_Reader(latex).row(())}</math>"


class _Reader:
    def __init__(self, latex: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(latex)
        self._place = 0
        self._texts = iter(re.findall(r"\\(?:text|operatorname)\{((?:[^{}\\]|\\.)*)\}", latex))

    def row(self, ends: tuple[str, ...]) -> str:
        """Everything up to one of the ends, which is left."""
        parts: list[str] = []
        while self._peek() is not None and self._peek() not in ends:
            if self._peek() in ("^", "_"):
                kind = "msup" if self._next() == "^" else "msub"
                base = parts.pop() if parts else "<mrow></mrow>"
                parts.append(f"<{kind}>{base}{self._argument()}</{kind}>")
            else:
                parts.append(self._one(first=not parts or parts[-1].startswith("<mo")))
        return f"<mrow>{''.join(parts)}</mrow>"

    def _peek(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self) -> str:
        token = self._tokens[self._place]
        self._place += 1
        return token

    def _argument(self) -> str:
        if self._peek() != "{":
            return self._one(first=True) if self._peek() is not None else "<mrow></mrow>"
        self._next()
        found = self.row(("}",))
        if self._peek() == "}":
            self._next()
        return found

    def _braced_text(self) -> str:
        """The text of an argument that is no formula; its tokens are skipped."""
        depth = 0
        while self._peek() is not None:
            depth += {"{": 1, "}": -1}.get(self._next(), 0)
            if depth == 0:
                break
        return re.sub(r"\\(.)", r"\1", next(self._texts, ""))

    def _one(self, *, first: bool) -> str:
        token = self._next()
        if token.startswith("\\"):
            return self._command(token[1:])
        if token == "{":
            self._place -= 1
            return self._argument()
        if token == "-":
            return '<mo form="prefix">−</mo>' if first else "<mo>−</mo>"
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        return f"<mi>{token}</mi>" if token.isalpha() else f"<mo>{escape(token)}</mo>"

    def _command(self, name: str) -> str:
        rule = self._rules.get(name)
        if rule is not None:
            return rule(self)
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"/>'
        if name in _OPERATORS:
            return f"<mo>{_OPERATORS[name]}</mo>"
        if name in _SYMBOLS:
            return f"<mi>{_SYMBOLS[name]}</mi>"
        if name in _NAMES:
            applied = "" if self._peek() in ("^", "_") else "<mo>&#8289;</mo>"
            return f"<mi>{_NAMES[name]}</mi>{applied}"
        return f"<mtext>{escape(name)}</mtext>"

    def _accent(self) -> str:
        return f'<mover accent="true">{self._argument()}<mo stretchy="false">^</mo></mover>'

    def _fenced(self) -> str:
        opening = self._next() if self._peek() is not None else "("
        inside = self.row(("\\right",))
        closing = ")"
        if self._peek() == "\\right":
            self._next()
            closing = self._next() if self._peek() is not None else ")"
        fences = (f'<mo fence="true" stretchy="true">{escape(one)}</mo>' for one in (opening, closing))
        return f"<mrow>{next(fences)}{inside}{next(fences)}</mrow>"

    def _cases(self) -> str:
        self._argument()  # the environment's name
        rows = "".join(self._case_rows())
        return f'<mrow><mo fence="true" stretchy="true">{{</mo><mtable columnalign="left left">{rows}</mtable></mrow>'

    def _case_rows(self) -> Iterator[str]:
        while self._peek() is not None:
            cells = []
            while True:
                cells.append(f"<mtd>{self.row(_CELL_ENDS)}</mtd>")
                if self._peek() != "&":
                    break
                self._next()
            yield f"<mtr>{''.join(cells)}</mtr>"
            if self._peek() is None or self._next() == "\\end":
                break
        if self._peek() == "{":
            self._argument()

    _rules: ClassVar[Mapping[str, Callable[[_Reader], str]]] = {
        "frac": lambda self: f"<mfrac>{self._argument()}{self._argument()}</mfrac>",
        "sqrt": lambda self: f"<msqrt>{self._argument()}</msqrt>",
        "hat": _accent,
        "left": _fenced,
        "begin": _cases,
        "text": lambda self: f"<mtext>{escape(self._braced_text())}</mtext>",
        "operatorname": lambda self: f"<mi>{escape(self._braced_text())}</mi><mo>&#8289;</mo>",
    }
