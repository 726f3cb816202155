"""Rules that change the weights of a sum in the course of a training, as text: ``dwa(focal + dice, temperature=2.0)``.

- ``uncertainty``: Kendall, Gal & Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and
  semantics", CVPR 2018.
- ``dwa``: dynamic weight average; Liu, Johns & Davison, "End-to-end multi-task learning with attention", CVPR 2019.
- ``gradnorm``: Chen et al., "GradNorm: Gradient normalization for adaptive loss balancing in deep multitask networks",
  ICML 2018.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.errors import LossError

MOST_TERMS = 16
"""Losses that such a rule weighs, at most."""
RULES: dict[str, tuple[str, float]] = {
    "uncertainty": ("", 0.0),
    "dwa": ("temperature", 2.0),
    "gradnorm": ("alpha", 1.5),
}
"""The parameter of each rule, "" for none, and its published default."""

_HEAD = re.compile(rf"\s*({'|'.join(RULES)})\s*\(", re.ASCII)
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([^=,]+?)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Weighting:
    """A rule by name, and the value of its parameter (0 for a rule without one)."""

    method: str
    value: float = 0.0

    def around(self, parts: Sequence[str]) -> str:
        """The text of the rule around those of what it weighs."""
        name, _ = RULES[self.method]
        return f"{self.method}({', '.join([*parts, *([f'{name}={self.value!r}'] if name else [])])})"


def weighting(method: str, value: float | None = None) -> Weighting:
    """A rule; ``value`` None: as published. Raises LossError for a value out of its range."""
    name, default = RULES[method]
    value = default if value is None else float(value)
    low = 0.0 if method == "gradnorm" else 1e-3
    if name and not low <= value <= 1e3:
        raise LossError(f"{method}: {name} must be in [{low:g}, 1000], not {value!r}")
    return Weighting(method, value)


def parse_weighting(text: str) -> tuple[Weighting, tuple[str, ...]] | None:
    """The rule that stands around all of a text, and the texts of its arguments; None where there is none.

    Raises LossError where its parameter cannot be read.

    >>> parse_weighting("dwa(focal + dice(e=1), temperature=3)")
    (Weighting(method='dwa', value=3.0), ('focal + dice(e=1)',))
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    inside = _arguments(text[head.end() :])
    if inside is None:
        return None
    method, value = head[1], None
    parts = []
    for argument in inside:
        given = _ARGUMENT.fullmatch(argument)
        if given is None:
            parts.append(argument.strip())
            continue
        name = RULES[method][0]
        if given[1] != name or value is not None:
            known = f"its parameter is {name}, once" if name else "it has none"
            raise LossError(f"{method} is given a parameter '{given[1]}'; {known}")
        try:
            value = float(given[2])
        except ValueError:
            raise LossError(f"{method}: {name} must be a number, not {given[2]!r}") from None
    return weighting(method, value), tuple(parts)


def _arguments(text: str) -> list[str] | None:
    """What stands between commas up to the bracket that ends the text; None where another ends it."""
    depth, found = 0, [""]
    for place, character in enumerate(text):
        if depth == 0 and character == ")":
            return found if not text[place + 1 :].strip() else None
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and character == ",":
            found.append("")
        else:
            found[-1] += character
    return None
