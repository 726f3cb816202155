"""What a search judges: a formula, or a sum in which losses of the library stand by name; and its text, both ways."""

from __future__ import annotations

from dataclasses import replace

from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression
from lossforge.losses.compiled import LossSpec
from lossforge.losses.fusions import Fusion
from lossforge.losses.library import named_sum, sum_spec

Candidate = Expression | Fusion
"""Both have a ``size``, and ``str`` gives text that `parse_candidate` reads back."""


def parse_candidate(text: str) -> Candidate:
    """Read a candidate. Raises FormulaError or LossError.

    >>> type(parse_candidate("focal + 0.5 * dice")).__name__, type(parse_candidate("-y_true * y_pred")).__name__
    ('Fusion', 'Expression')
    """
    found = named_sum(text)
    return parse_formula(text) if found is None else found


def candidate_spec(text: str, head: str, label_smoothing: float = 0.0) -> LossSpec:
    """What is trained of a candidate's text behind a head; smoothing of its own comes before ``label_smoothing``."""
    found = named_sum(text)
    if found is None:
        return LossSpec(text, label_smoothing)
    spec = sum_spec(found, head=head)
    return spec if spec.label_smoothing else replace(spec, label_smoothing=label_smoothing)
